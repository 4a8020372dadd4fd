"""A plan as data with a stable shape, for programs and pictures: ``podsql/explain/1``.

The shape is documented in docs/statements.md. Rule to keep: a name is added, never changed or
taken away, under one ``schema``.
"""

from typing import Final, Literal

import msgspec

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.explaining import order_texts, why
from podsql.planner.fragment import Aggregate, Binned, Column, Disclosure, Fragment, Noised, Rows
from podsql.planner.measured import Run
from podsql.planner.plan import Plan, Stage

SCHEMA: Final = "podsql/explain/1"
Kind = Literal["aggregate", "rows", "noised", "bins"]


class Leaving(msgspec.Struct, frozen=True, kw_only=True, rename={"disclosure": "class"}):
    """A column that leaves each pod of a stage, and what it gives away."""

    name: str
    type: str
    disclosure: Disclosure
    sql: str


class StageShown(msgspec.Struct, frozen=True, kw_only=True):
    """``per``: what one row that leaves a pod is about. ``first``: only so many rows leave.

    ``gives_away`` is None if all of it is public. ``waits_for``: the literals ($1, …) that earlier
    stages release. ``same_as``: the earlier stage with which it is asked once. ``masked``: nobody sees
    what leaves one pod, only the sum over all.
    """

    name: str
    kind: Kind
    pods: tuple[str, ...]
    why: str
    reads: str
    per: Literal["pod", "group", "row", "bin"]
    leaves: tuple[Leaving, ...]
    grouping_sets: tuple[tuple[str, ...], ...] | None
    order: tuple[str, ...]
    first: int | None
    noise: bool
    merge: str
    gives_away: Disclosure | None = None
    waits_for: tuple[str, ...] = ()
    same_as: str = ""
    masked: bool = False


class AnswerColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the answer; ``type`` is DuckDB's name."""

    name: str
    type: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """``run`` is None unless the statement was run.

    ``instead``: why no plan gives away less, and what would make one possible.
    """

    schema: str = SCHEMA
    stages: tuple[StageShown, ...]
    final: str
    answer: tuple[AnswerColumn, ...]
    run: Run | None
    gives_away: Disclosure | None = None
    instead: tuple[str, ...] = ()


def explanation(plan: Plan, catalog: Catalog, run: Run | None = None) -> Explanation:
    """What the plan does and what leaves each pod; with ``run``, what that took.

    NOT_SUPPORTED if a fragment is of a kind that has no shape here.
    """
    return Explanation(
        stages=tuple(_stage(stage, plan, catalog) for stage in plan.stages),
        final=plan.final,
        answer=tuple(AnswerColumn(name=f.name, type=f.type) for f in plan.columns),
        run=run,
        gives_away=plan.disclosure,
        instead=plan.instead,
    )


def explain_json(shown: Explanation) -> str:
    """An indented JSON document."""
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()


def _stage(stage: Stage, plan: Plan, catalog: Catalog) -> StageShown:
    fragment = stage.fragment
    if not isinstance(fragment, Aggregate | Noised | Binned | Rows):
        raise error("NOT_SUPPORTED", "a stage of this kind is explained as text only")
    rows = fragment if isinstance(fragment, Rows) else None
    return StageShown(
        name=stage.name,
        kind=_kind(fragment),
        pods=stage.pods,
        why=why(stage, plan, catalog),
        reads=fragment.source,
        per=_per(fragment),
        leaves=tuple(
            Leaving(name=c.name, type=c.type, disclosure=c.disclosure, sql=c.sql)
            for c in _columns(fragment)
        ),
        grouping_sets=_sets(fragment),
        order=() if rows is None else tuple(order_texts(rows)),
        first=None if rows is None else rows.limit,
        noise=isinstance(fragment, Noised) or (isinstance(fragment, Binned) and fragment.noisy),
        merge=stage.merge,
        gives_away=stage.disclosure,
        same_as=stage.same_as,
        masked=stage.masked,
        waits_for=tuple(f"${scalar.place + 1}" for scalar in stage.scalars),
    )


def _kind(fragment: Fragment) -> Kind:
    if isinstance(fragment, Rows):
        return "rows"
    if isinstance(fragment, Binned):
        return "bins"
    return "noised" if isinstance(fragment, Noised) else "aggregate"


def _per(fragment: Aggregate | Noised | Binned | Rows) -> Literal["pod", "group", "row", "bin"]:
    if isinstance(fragment, Rows):
        return "row"
    if isinstance(fragment, Binned):
        return "bin"
    return "group" if fragment.keys else "pod"


def _columns(fragment: Aggregate | Noised | Binned | Rows) -> tuple[Column, ...]:
    if isinstance(fragment, Rows):
        return fragment.columns
    if isinstance(fragment, Binned):
        return (*fragment.keys, fragment.column)
    return (*fragment.keys, *fragment.aggregates)


def _sets(fragment: Fragment) -> tuple[tuple[str, ...], ...] | None:
    if not isinstance(fragment, Aggregate) or fragment.grouping_sets is None:
        return None
    return tuple(tuple(fragment.keys[at].name for at in one) for one in fragment.grouping_sets)
