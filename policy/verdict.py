"""What the gate says of a fragment it allows: what may run, and what is done with the result.

Rule to keep: a verdict tells all that the pod needs; nothing of the fragment is read again after it.
"""

from dataclasses import dataclass

from podsql.planner.fragment import Field
from podsql.policy.binned import BinOrder
from podsql.policy.document import PolicyLimits, Release
from podsql.policy.local_tables import LocalOrder
from podsql.policy.masked import SumOrder
from podsql.policy.merged import MergedOrder
from podsql.policy.models import ModelOrder
from podsql.policy.networks import NetworkOrder
from podsql.policy.noised import NoiseOrder
from podsql.policy.noisy_models import Series
from podsql.policy.psi import PsiOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the pod may run for one fragment. With ``guard``, ``sql`` yields a last column ``_ok``."""

    sql: str
    guard: bool
    fields: tuple[Field, ...]
    """Outputs in order, wire types, without the guard."""
    release: Release
    rounded: bool
    """Counts are rounded to the document's base."""
    min_units: int
    tables: tuple[str, ...]
    protected: tuple[str, ...]
    """Those of ``tables`` that are not public, and the files that their rows come from."""
    limits: PolicyLimits
    max_rows: int
    """0: no rule."""
    keys: int
    """How many of ``fields`` are group keys."""
    policy_hash: str
    cells: int = 0
    """Hidden columns ``_u0``, … with what each unit adds to a figure, for the overlap guard."""
    sets: bool = False
    """Several grouping sets: the last of ``fields`` says which one a group is of."""
    needs_ledger: bool = False
    """The result is released by way of the ledger: it counts or compares what left before."""
    noise: NoiseOrder | None = None
    """Of a noisy release: what to do with the integers that ``sql`` yields."""
    bins: BinOrder | None = None
    """Of a count of bins: how they are joined before they leave."""
    fresh: bool = False
    psi: PsiOrder | None = None
    """Of a count of keys across pods, whose ``sql`` counts this pod's own: what comes after it."""
    model: ModelOrder | None = None
    """Of a round of a model: what its other rounds have in common with it."""
    family: str = ""
    """Of a round of a model: which sums it is."""
    again: str = ""
    """The same round, where its design was judged before over the same data: no column ``_u``."""
    network: NetworkOrder | None = None
    """Of a round of a network, whose rows ``sql`` checks and counts."""
    work: bytes = b""
    """What the engine does after that (``planner/training/local_steps.py``)."""
    figures: int = 0
    """How many figures one group is; 0: one for each field that is no key."""
    series: Series | None = None
    """Of a noisy round of a model: the series of rounds that it is paid for with."""
    masked: bool = False
    """What leaves does so under the masks of a secure sum, or not at all."""
    sums: SumOrder | None = None
    """Of a statement under masks: how its groups become cells."""
    merged: MergedOrder | None = None
    """Of counts that leave on the total of all pods: what they are judged by."""
    local: LocalOrder | None = None
    """Of a table that stays here, whose rows ``sql`` counts: what is written."""

    @property
    def answer(self) -> str:
        """What kind of answer leaves: ``exact``, ``bounded``, ``rounded``, ``noised``, ``masked``."""
        if self.masked and not self.rounded:
            return "masked"
        if self.noise is not None:
            return "noised"
        if self.bins is not None:
            return "bounded"
        return "rounded" if self.rounded else "exact"
