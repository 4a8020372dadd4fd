"""How many pods must agree before a sum is opened, and who is masked against whom."""

from collections.abc import Sequence
from typing import Final

from podsql.errors import Error, error

LEAST: Final = 3
"""A sum of fewer pods is never opened: of two, each would know the other's figures."""


def quorum(pods: int, colluders: int) -> int:
    """Pods that must sign one list of survivors; also how many shares give a secret.

    More than (n + c) / 2: each honest pod signs one list a round, the c in league with the
    coordinator sign any. Two different lists with t signatures each would need 2(t - c) honest
    pods of n - c, so t > (n + c) / 2 leaves no second list, and nobody gets both secrets of a pod.
    At least c + 2: two honest pods are then in every sum, and each hides the other.
    """
    return max((pods + colluders) // 2 + 1, colluders + 2, LEAST)


def neighbours(members: Sequence[str], pod: str) -> tuple[str, ...]:
    """The pods that ``pod`` is masked against and deals shares to: all others (complete graph).

    Symmetric, and the same at every pod. A sparse graph (Bell et al., CCS 2020) would change this
    function, and count its quorum by neighbourhood.
    """
    return tuple(member for member in members if member != pod)


def too_few(there: int, least: int) -> Error:
    """A pod's refusal to sum with so few."""
    return error(
        "TOO_FEW_PODS",
        f"a sum over {there} pods is not opened: {least} are needed",
        hint="start again with more pods",
    )
