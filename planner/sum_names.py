"""What the figures of a secure sum are called: both ends of a job compare these."""

from collections.abc import Sequence

from podsql.planner.key_lists import KeyList


def group_figures(
    content: bytes, names: Sequence[str], lists: Sequence[KeyList]
) -> tuple[str, ...]:
    """Of a statement's groups: what every pod is asked, to the byte, its outputs and key lists.

    So no pod can be asked something else than the others, and so be singled out.
    """
    return content.hex(), *names, *(repr(one) for one in lists)
