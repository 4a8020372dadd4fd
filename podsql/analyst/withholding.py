"""Which cells count as withheld once the pods have answered.

A pod that withheld anything says how many groups, never which. So a group is kept only if every
withholding pod reported it; any other group may be short of that pod's rows and goes whole.
"""

from collections.abc import Mapping

import pyarrow as pa

from podsql.errors import error
from podsql.planner.plan import Plan

Gathered = Mapping[str, Mapping[str, pa.Table]]


def settle_withheld(
    plan: Plan, gathered: Gathered, withheld: Mapping[str, int]
) -> tuple[dict[str, Mapping[str, pa.Table]], int]:
    """Drop every group a withholding pod did not report.

    Returns the partials that remain and the number of groups known to be withheld (at least).
    WITHHELD if nothing groupwise can remain, or if ``final`` would combine the rest.
    """
    (stage,) = plan.stages
    if not plan.group_keys:
        raise error(
            "WITHHELD",
            "the answer is withheld: it covers too few privacy units at a pod",
            hint="ask about a larger group",
        )
    if plan.crosses_groups and plan.options.withheld != "omit":
        raise error(
            "WITHHELD",
            "groups are withheld, and the statement combines groups",
            hint="end it with WITH (withheld = 'omit') to compute over the released groups only",
        )
    tables = gathered[stage.name]
    if plan.local_groups:
        # No other pod can hold rows of a group that a pod reported.
        return dict(gathered), sum(withheld.values())
    keys = list(plan.group_keys)
    reported = {pod: _groups(table, keys) for pod, table in tables.items()}
    kept = set.intersection(*(set(reported[pod]) for pod in withheld if pod in reported))
    seen = set().union(*(set(groups) for groups in reported.values()))
    remaining = {
        pod: table.filter(pa.array([g in kept for g in reported[pod]], pa.bool_()))
        for pod, table in tables.items()
    }
    return {stage.name: remaining}, max(len(seen - kept), *withheld.values())


def _groups(table: pa.Table, keys: list[str]) -> list[tuple[object, ...]]:
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
