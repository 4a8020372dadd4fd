"""Which cells count as withheld once the pods have answered.

A pod that withheld anything says how many groups, never which (with noise it does not even say how
many: then 0 stands here). So a group is kept only if every
withholding pod reported it, or if no other pod can hold rows of it; any other may be short of that
pod's rows and goes whole.
"""

from collections.abc import Mapping

import pyarrow as pa

from podsql.errors import error
from podsql.planner.plan import Block, Plan
from podsql.policy.denial import WITHHELD_TEXT

Gathered = Mapping[str, Mapping[str, pa.Table]]
Group = tuple[object, ...]


def settle_withheld(
    plan: Plan, gathered: Gathered, withheld: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, Mapping[str, pa.Table]], int]:
    """Drop every group that a withholding pod may hold and did not report.

    ``withheld`` is by stage and pod. Returns the partials that remain and the number of groups
    known to be withheld (at least). WITHHELD if nothing groupwise can remain of a block, or if
    ``final`` would combine the rest.
    """
    remaining = dict(gathered)
    total = 0
    for block in plan.blocks:
        silent = {
            (stage, pod): count
            for stage in block.stages
            for pod, count in withheld.get(stage, {}).items()
        }
        if any(silent.values()):
            _require_groupwise(block, plan)
        if silent:
            own = {stage: gathered[stage] for stage in block.stages}
            kept, missing = _settle(block, own, silent)
            remaining.update(kept)
            total += missing
    return remaining, total


def _require_groupwise(block: Block, plan: Plan) -> None:
    if not block.group_keys:
        raise error(
            "WITHHELD",
            WITHHELD_TEXT,
            hint="ask about a larger group",
        )
    if block.crosses_groups and plan.options.withheld != "omit":
        raise error(
            "WITHHELD",
            "groups are withheld, and the statement combines groups",
            hint="end it with WITH (withheld = 'omit') to compute over the released groups only",
        )


def _settle(
    block: Block, gathered: Gathered, withheld: Mapping[tuple[str, str], int]
) -> tuple[dict[str, Mapping[str, pa.Table]], int]:
    keys = list(block.group_keys)
    reported = {
        (stage, pod): _groups(table, keys)
        for stage, tables in gathered.items()
        for pod, table in tables.items()
    }
    seen = set().union(*(set(groups) for groups in reported.values()))
    kept = set.intersection(*(set(reported[asked]) for asked in withheld))
    if block.local_key is not None:
        local = keys.index(block.local_key)
        kept |= {group for group in seen if group[local] is not None}
    remaining: dict[str, Mapping[str, pa.Table]] = {
        stage: {pod: _only(table, reported[stage, pod], kept) for pod, table in tables.items()}
        for stage, tables in gathered.items()
    }
    return remaining, max(len(seen - kept), *withheld.values())


def _only(table: pa.Table, groups: list[Group], kept: set[Group]) -> pa.Table:
    return table.filter(pa.array([group in kept for group in groups], pa.bool_()))


def _groups(table: pa.Table, keys: list[str]) -> list[Group]:
    """Each row's group; NaN equals NaN and -0.0 equals 0.0, as in GROUP BY."""
    columns = [[_normal(value) for value in table[key].to_pylist()] for key in keys]
    return list(zip(*columns, strict=True))


def _normal(value: object) -> object:
    if isinstance(value, float):
        return "NaN" if value != value else value + 0.0
    if isinstance(value, list):
        return tuple(_normal(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, _normal(v)) for k, v in value.items()))
    return value
