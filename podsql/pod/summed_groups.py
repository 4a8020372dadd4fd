"""A released table of groups as what the pod brings to a secure sum.

Rule to keep: what the pod shows, keeps back and spoils is made of the table that would leave in the
clear, and of how many groups would not.
"""

import pyarrow as pa

from podsql.engine.sums.groups import GroupSums
from podsql.engine.sums.pod_round import Input
from podsql.policy.masked import SumOrder
from podsql.policy.verdict import Verdict


def sums_of(order: SumOrder) -> GroupSums:
    """The cells of a verdict's order."""
    return GroupSums(states=order.states, lists=order.lists)


def input_of(
    number: int, verdict: Verdict, arrow: bytes, *, withheld: int, limit: int, asked: bytes
) -> Input:
    """What the pod brings to round ``number``; ``withheld`` groups are not in the table ``arrow``."""
    assert verdict.sums is not None
    table = pa.ipc.open_stream(arrow).read_all()
    columns = [column.to_pylist() for column in table.columns[: len(verdict.fields)]]
    rows = {row[: verdict.keys]: list(row[verdict.keys :]) for row in zip(*columns, strict=True)}
    figures, spoiled = sums_of(verdict.sums).put(
        rows, short=withheld > 0, limit=limit, hides=verdict.guard
    )
    return Input(round=number, rows=0, parts=(figures,), spoiled=spoiled, asked=asked)
