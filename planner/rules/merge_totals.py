"""Statements over tables that leave on the total of all pods (``sdc_merged``): counts under masks.

Rule to keep: the gate of each pod decides; what is refused here is so before a pod is asked.
"""

from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as with_fields

from podsql.errors import error
from podsql.planner.catalog import CatalogTable
from podsql.planner.fragment import Aggregate
from podsql.planner.key_lists import groups_of
from podsql.planner.masked_states import ROWS, ROWS_ADDED
from podsql.planner.masking import MOST_CELLS
from podsql.planner.plan import Plan


def by_total(tables: Sequence[CatalogTable], *, masked: bool) -> int:
    """How many people must be behind each cell of the total; 0 if pods judge by themselves.

    NOT_SUPPORTED for what no pod answers.
    """
    protected = [table for table in tables if table.partitioned]
    if not any("sdc_merged" in table.releases for table in protected):
        return 0
    if not masked:
        raise error(
            "NOT_SUPPORTED",
            "the pods let figures of these tables out on the total of all pods only",
            hint="WITH (secure_aggregation = true)",
        )
    if len(tables) > 1:
        raise error(
            "NOT_SUPPORTED",
            "tables that leave on the total of all pods (sdc_merged) are not joined",
            hint="ask about one table",
        )
    [table] = protected
    if set(table.releases) != {"sdc_merged"}:
        raise error(
            "NOT_SUPPORTED",
            f"the pods let {table.name!r} out under different rules",
            hint="their custodians agree on one",
        )
    unit = table.privacy_unit
    if unit is not None and unit.lower() not in table.local_keys:
        raise error(
            "NOT_SUPPORTED",
            f"{unit!r} of {table.name!r} is not declared a local key by all pods: a person of two pods"
            " would count for two",
            hint="local_keys in pod.toml, if nobody is in two pods",
        )
    return table.min_units


def judged_together(made: Plan, units: int) -> Plan:
    """The plan of a masked statement, whose pods judge on their total."""
    [stage] = made.stages
    fragment = stage.fragment
    assert isinstance(fragment, Aggregate)
    # A group that leaves has people in each of its figures: its rows are not asked for beside them.
    asked = tuple(one for one in fragment.aggregates if one.name != ROWS_ADDED)
    if asked:
        fields = tuple(one for one in stage.fields if one.name != ROWS_ADDED)
        fragment = with_fields(fragment, aggregates=asked)
        stage = replace(stage, fragment=fragment, fields=fields)
    for column in fragment.aggregates:
        if column.sql != ROWS and not _of_people(column.sql):
            raise error(
                "NOT_SUPPORTED",
                f"not on the total of all pods (sdc_merged): {column.sql.partition('(')[0]}",
                hint="count(*) and count(DISTINCT privacy unit) can be judged there, without FILTER",
            )
    if len(groups_of(stage.lists)) * len(fragment.aggregates) > MOST_CELLS:
        raise error(
            "NOT_SUPPORTED",
            f"more than {MOST_CELLS} figures on the total of all pods (sdc_merged)",
            hint="group by fewer keys",
        )
    return replace(made, stages=(replace(stage, units=units),))


def _of_people(call: str) -> bool:
    return call.startswith("count(DISTINCT ") and call.endswith(")") and " FILTER " not in call
