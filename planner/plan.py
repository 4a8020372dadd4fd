"""A plan: frozen data from statement to rows. No I/O, no clock, no ids: ``explain`` is stable text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from podsql.planner.fragment import (
    Aggregate,
    Binned,
    Disclosure,
    Field,
    Fragment,
    Noised,
    Rows,
)
from podsql.planner.key_lists import KeyList
from podsql.planner.masking import Masking

CLASSES: Final[tuple[Disclosure, ...]] = get_args(Disclosure)
"""Lowest first."""
NORMAL_95: Final = 1.959963984540054
"""Half the width of the 95 % interval of a standard normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A literal of a fragment that earlier stages release: a query of one value, as text."""

    place: int
    """Index in the fragment's literals."""
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One fragment for a set of pods. Its gathered partials become the relation ``name``.

    ``fields`` are the fragment's output columns (declared types, before wire form). The gathered
    relation has ``_pod VARCHAR`` first, then ``fields``; the pods come in canonical (name) order.
    """

    name: str
    pods: tuple[str, ...]
    fragment: Fragment
    fields: tuple[Field, ...]
    merge: str = ""
    """SELECT over the gathered relation that yields the stage's result, for ``explain``."""
    scalars: tuple[Scalar, ...] = ()
    public: bool = False
    """It reads reference tables only."""
    refined: bool = False
    """Its groups are finer than those of the answer: their keys are values that leave beside it."""
    met: bool = False
    """It joins public tables that the statement itself joins elsewhere: a policy may deny that."""
    lists: tuple[KeyList, ...] = ()
    """Under masks, of each key: every pod answers for all these groups, whatever its rows are."""
    units: int = 0
    """Not 0: the pods judge on their total, with so many people behind each cell (``sdc_merged``)."""
    same_as: str = ""
    """An earlier stage that asks the same pods the same: both relations hold its answer."""

    @property
    def masked(self) -> bool:
        """What leaves a pod is seen by nobody: only the sum over all pods is."""
        return isinstance(self.fragment, Aggregate) and self.fragment.masked

    @property
    def disclosure(self) -> Disclosure | None:
        """The most that its partials give away; None if all of it is public."""
        if self.public:
            return None
        fragment = self.fragment
        if isinstance(fragment, Rows):
            return "rows"
        if isinstance(fragment, Noised) or (isinstance(fragment, Binned) and fragment.noisy):
            return "noised"
        found: list[Disclosure] = ["additive"]
        if isinstance(fragment, Aggregate):
            found += [column.disclosure for column in fragment.aggregates]
            if self.refined and fragment.keys:
                found.append("distinct")
        return max(found, key=CLASSES.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One grouped SELECT of the statement: what decides its withheld cells."""

    stages: tuple[str, ...]
    group_keys: tuple[str, ...] = ()
    """Key columns of its stages; none: one group."""
    local_key: str | None = None
    """A group key that is ``_pod`` or a local key: groups in which it is not NULL have rows in one
    pod only."""
    crosses_groups: bool = False
    """What follows combines several groups (window, LIMIT, outer aggregate, set operation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The closing ``WITH (name = value, …)`` of a statement."""

    allow_partial: int | None = None
    withheld: str | None = None
    """``omit``: compute over the released groups only, when a later operator crosses groups."""
    pods: tuple[str, ...] | None = None
    timeout: float | None = None
    purpose: str | None = None
    deterministic: bool = False
    privacy: str | None = None
    """``dp``: an answer with noise, from a privacy budget."""
    epsilon: str = ""
    delta: str = ""
    fresh: bool = False
    """New noise at a new price, where the same statement was answered before."""
    masking: Masking | None = None
    """The pods' partials are added under masks."""


def variance(partial: str) -> str:
    """The place of a number that is known when the pods have answered (no SQL holds a NUL)."""
    return f"\x00{partial}\x00"


def with_relations(relations: Sequence[str], sql: str) -> str:
    """``sql`` behind relations (``name AS (SELECT …)``), which its own WITH may name."""
    if not relations:
        return sql
    own = f", {sql.removeprefix('WITH ')}" if sql.startswith("WITH ") else f" {sql}"
    return f"WITH {', '.join(relations)}{own}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Stages, then ``final``: the SQL the analyst's own DuckDB runs over the stages' relations."""

    statement: str
    stages: tuple[Stage, ...]
    final: str
    columns: tuple[Field, ...]
    """Names and DuckDB types of the answer: those of one pooled database."""
    tables: tuple[str, ...]
    options: Options = field(default_factory=Options)
    streams: bool = False
    """A pure row plan: ``final`` is the identity, so rows may stream past the merge."""
    bars: tuple[int, ...] = ()
    """The outputs that get an error bar."""
    noisy_final: str = ""
    """``final`` with half the width of each bar as further outputs, in which ``variance(p)`` stands
    for the variance of the noise in partial p."""
    blocks: tuple[Block, ...] = ()
    """Grouped SELECTs; stages of none of them release rows."""
    instead: tuple[str, ...] = ()
    """Why plans that give away less were not possible, and what would make them so."""

    @property
    def disclosure(self) -> Disclosure | None:
        """The most that leaves any pod; None if nothing but public tables does."""
        found = [stage.disclosure for stage in self.stages]
        return max((one for one in found if one is not None), key=CLASSES.index, default=None)
