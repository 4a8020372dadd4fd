"""A stage whose groups the pods add under masks: only the sums over all pods come here.

Rule to keep: the answer is made of one opened sum over all pods of the stage, of the groups that none of
them spoiled; which pod spoiled one, or how many did, is not told by anything.
"""

import time
from typing import TYPE_CHECKING

import pyarrow as pa

from podsql.analyst.asking import ask
from podsql.analyst.exchange import Exchange
from podsql.analyst.federation import Bound
from podsql.analyst.leading import Leader, PodsLost
from podsql.analyst.sum_jobs import lead
from podsql.engine.sums.groups import Group, GroupSums, Values
from podsql.engine.sums.totals import Shape
from podsql.errors import Error, error
from podsql.messages import QueryPayload, content_hash, encode, sum_about, sum_request
from podsql.planner.fragment import Aggregate, encode_fragment
from podsql.planner.key_lists import groups_of
from podsql.planner.masked_states import ROWS, read_states
from podsql.planner.masking import TOTAL_ROUNDS
from podsql.planner.plan import Plan, Stage
from podsql.planner.sum_names import group_figures

if TYPE_CHECKING:
    from podsql.analyst.statement import Statement


def open_groups(
    statement: "Statement", stage: Stage, plan: Plan, bound: Bound, schema: pa.Schema
) -> tuple[pa.Table, bool]:
    """The groups of ``stage`` over all its pods, as one pod's table of ``schema``; whether these are all.

    PodsLost if a pod leaves before its figures came: then nothing is opened.
    """
    fragment, masking = stage.fragment, plan.options.masking
    assert isinstance(fragment, Aggregate)
    assert masking is not None
    sums = GroupSums(states=read_states(fragment.aggregates), lists=stage.lists)
    asked = QueryPayload(fragment=encode_fragment(fragment), statement=statement.sql)
    content = content_hash(asked)
    names = group_figures(content, tuple(field.name for field in stage.fields), stage.lists)
    payload = encode(asked)
    head = _exchange(statement, stage, plan, bound, payload, stage.pods[0], None).head
    leader = lead(
        statement,
        bound,
        masking,
        pods=stage.pods,
        about=sum_about(head, statement.sql, names),
        cells=_cells(stage, sums),
        rounds=TOTAL_ROUNDS if stage.units else 1,
        seconds=statement.deadline - time.monotonic(),
        units=stage.units,
    )
    exchanges = [
        _exchange(statement, stage, plan, bound, payload, pod, leader) for pod in stage.pods
    ]
    statement.take_on(exchanges)
    try:
        lead_all = leader.sum_by_total if stage.units else leader.sum
        opened = lead_all(exchanges, statement.deadline, content)
    except Error as fault:
        statement.cancel_pods()
        if isinstance(fault, PodsLost):
            if fault.codes == {"STALE_OFFER"}:  # bound anew, it may be asked again
                raise error("STALE_OFFER", fault.message, pod=fault.pod) from None
            fault.hint = "run the statement again when they are back"
        raise
    for exchange in exchanges:
        statement.note(exchange)
    [part] = opened.parts
    found, whole = sums.read(part.units()[: sums.cells], len(stage.pods))
    return _table(found, fragment, schema), whole


def _cells(stage: Stage, sums: GroupSums) -> int:
    """Of the sum; where pods judge on their total, of the largest of its rounds."""
    if not stage.units:
        return sums.cells
    shape = Shape(groups=len(groups_of(stage.lists)), figures=len(sums.states))
    return shape.cells(sums.cells)


def _exchange(
    statement: "Statement",
    stage: Stage,
    plan: Plan,
    bound: Bound,
    payload: bytes,
    pod: str,
    leader: Leader | None,
) -> Exchange:
    """The signed request for what ``pod`` brings to the leader's next round."""
    request = bytes(16)
    if leader is not None:
        request = sum_request(leader.job.digest, leader.round + 1, bound.cards[pod].identity)
    return ask(
        statement.federation,
        bound,
        pod,
        payload,
        request_id=request,
        statement_id=statement.statement_id,
        tables=plan.tables,
        purpose=statement.purpose,
        project=statement.project,
        pods=stage.pods,
        schema=pa.schema([]),
        max_rows=1,
        deadline=statement.deadline,
        stage=stage.name,
    )


def _table(found: dict[Group, Values], fragment: Aggregate, schema: pa.Schema) -> pa.Table:
    """Groups that have rows; without keys there is always one."""
    if fragment.keys:
        # Rows, or (on the total of all pods) people.
        calls = [column.sql for column in fragment.aggregates]
        rows = calls.index(ROWS) if ROWS in calls else 0
        found = {group: values for group, values in found.items() if values[rows]}
    listed = [(*group, *values) for group, values in found.items()]
    try:
        columns = [
            pa.array([row[place] for row in listed], field.type)
            for place, field in enumerate(schema)
        ]
    except pa.ArrowInvalid:
        raise error("OVERFLOW", "a sum is out of its type's range") from None
    return pa.table(columns, schema=schema)
