"""Plan a grouped statement whose partials are added under masks: what may be, and for which groups.

Rule to keep: which groups are answered for is known before a row is read, and nothing in the statement
tells pods apart, so that an opened sum is never one pod's by design.
"""

from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as with_fields
from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.fragment import Aggregate, Column, Field
from podsql.planner.key_lists import KeyList, key_list, too_many
from podsql.planner.masked_states import ROWS, ROWS_ADDED, read_states, with_counts
from podsql.planner.masking import LEAST
from podsql.planner.plan import Plan
from podsql.planner.scope import Query


def require_maskable(query: Query, *, noised: bool, names_pod: bool) -> None:
    """NOT_SUPPORTED unless ``query`` is of groups over protected tables, with no pod singled out."""
    if not query.grouped:
        raise _refused("rows have no sum", "ask for counts, sums or averages")
    if query.grouping_sets is not None:
        raise _refused("GROUPING SETS, ROLLUP and CUBE", "run one statement a set")
    if noised:
        raise _refused("figures that leave with noise", "leave secure_aggregation out")
    if names_pod:
        raise _refused("_pod tells one pod from the others", "name pods in WITH (pods = …)")
    if not any(table.partitioned for table in query.scope.tables()):
        raise _refused("the statement reads public tables only", "leave secure_aggregation out")


def mask_plan(made: Plan, query: Query) -> Plan:
    """The plan with its one stage under masks, for every group of its keys' lists."""
    stage, *more = made.stages
    fragment = stage.fragment
    if more or not isinstance(fragment, Aggregate):
        raise _refused("a statement of several stages", "ask for counts, sums and averages alone")
    if len(stage.pods) < LEAST:
        raise error(
            "TOO_FEW_PODS",
            f"a secure sum needs {LEAST} pods or more, and the statement is for {len(stage.pods)}",
            hint="between two pods each would know the other's figures",
        )
    asked = fragment.aggregates
    if fragment.keys and all(column.sql != ROWS for column in asked):
        # A group without a row is none, and the pods answer for it all the same.
        asked = (*asked, Column(ROWS_ADDED, ROWS, "BIGINT"))
    columns = tuple(with_fields(column, disclosure="additive") for column in with_counts(asked))
    read_states(columns)
    lists = tuple(
        _list(tree, key, query) for tree, key in zip(query.keys, fragment.keys, strict=True)
    )
    if too_many(lists):
        raise _refused("more groups than pods answer for", "group by fewer keys")
    masked = replace(
        stage,
        fragment=with_fields(fragment, aggregates=columns, masked=True),
        fields=tuple(Field(one.name, one.type) for one in (*fragment.keys, *columns)),
        lists=lists,
    )
    return replace(made, stages=(masked,))


def _list(tree: exp.Expression, key: Column, query: Query) -> KeyList:
    found = key_list(key.type, _declared(tree, query))
    if found is None:
        raise error(
            "NOT_SUPPORTED",
            f"{key.sql} as a key of groups under masks: its values are not declared alike by all pods",
            hint="custodians declare values = […] of a column in their policies; "
            "a condition needs no list",
        )
    return found


def _declared(tree: exp.Expression, query: Query) -> Sequence[str]:
    if not isinstance(tree, exp.Column):
        return ()
    source = query.scope.source(tree.table)
    column = None if source is None or source.inner else source.table.column(tree.name)
    return () if column is None else column.listed


def _refused(what: str, hint: str) -> Error:
    return error("NOT_SUPPORTED", f"not under masks: {what}", hint=hint)
