"""How many pods must agree before a sum is opened, and who is masked against whom."""

from collections.abc import Sequence

from podsql.errors import Error, error
from podsql.planner.masking import LEAST


def quorum(pods: int, colluders: int) -> int:
    """Pods that must sign one list of survivors; also how many shares give a secret.

    It is t of n pods, of which c may be in league with a coordinator who tells each pod something
    else. t > (n + c) / 2, so that of two groups of t pods one honest pod is in both:

    - An honest pod signs one list a round and shows shares for it alone. Two lists, each with t
      signatures, would need an honest pod that signed both. So there is one list, and nobody is
      shown both secrets of a pod.
    - An honest pod masks its cells against t dealers. Were all honest ones of these missing from
      the sum, or among pods that signed nothing, the t who signed would be others. So the honest
      pods of a sum hide each other: what comes out is the sum of all of them.

    At least c + 2: then there are two honest pods in every sum.
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
