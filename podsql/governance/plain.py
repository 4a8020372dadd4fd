"""Sentences of a policy that several artefacts say."""

from podsql.policy.document import Policy
from podsql.policy.plain_words import RELEASES, output_words


def modes(policy: Policy) -> dict[str, str]:
    """Release of each table, in words; ``*`` is every other table."""
    return {
        name: RELEASES[clause.release or policy.release] for name, clause in policy.tables.items()
    }


def leaving(policy: Policy, *, public: bool = False) -> tuple[str, ...]:
    """What may leave, table by table, and the rules on it; ``public``: none that stays inside."""
    tables = tuple(
        f"{'Every other table' if name == '*' else f'Table {name}'}: {words}."
        for name, words in modes(policy).items()
    )
    kinds = {clause.release or policy.release for clause in policy.tables.values()}
    rules = dict.fromkeys(
        rule for kind in sorted(kinds) for rule in output_words(policy, kind, public=public)
    )
    return (*tables, *rules)
