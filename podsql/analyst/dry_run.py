"""``EXPLAIN POLICY``: every pod says what its policy would do with its part of a statement.

Nothing runs and no budget is drawn on. One row a stage and pod; a pod that does not answer is an
error, as it is for the statement itself.
"""

import time
from typing import Final

import pyarrow as pa

from podsql.analyst.federation import Bound
from podsql.analyst.gathering import ask_each
from podsql.analyst.statement import Statement
from podsql.errors import Error
from podsql.messages import PolicyAsk, PolicyReply, encode, reply_of
from podsql.planner.fragment import encode_fragment
from podsql.planner.plan import Plan, Stage

COLUMNS: Final = pa.schema(
    [
        ("stage", pa.string()),
        ("pod", pa.string()),
        ("decision", pa.string()),
        ("rule", pa.string()),
        ("release", pa.string()),
        ("answer", pa.string()),
        ("min_units", pa.int64()),
        ("epsilon", pa.float64()),
        ("epsilon_left", pa.float64()),
        ("fits", pa.int64()),
        ("noise", pa.list_(pa.float64())),
        ("statements_left", pa.int64()),
        ("figures_left", pa.int64()),
        ("policy", pa.string()),
    ]
)
"""``rule`` is the gate's reason of a denial; NULL stands where a rule does not apply."""


def ask_policies(statement: Statement) -> pa.Table:
    """What every pod would say of ``statement`` now, as a table of ``COLUMNS``."""
    try:
        found = _ask(statement, *statement.bound())
    except Error as fault:
        if fault.code != "STALE_OFFER":
            raise
        statement.rebind()
        found = _ask(statement, *statement.bound())
    if "deny" in found["decision"].to_pylist() and statement.without_added_joins():
        return _ask(statement, *statement.bound())
    return found


def _ask(statement: Statement, plan: Plan, bound: Bound) -> pa.Table:
    rows = [
        row
        for stage in plan.stages
        if not stage.same_as
        for row in ask_stage(statement, stage, plan.tables, bound)
    ]
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def ask_stage(
    statement: Statement, stage: Stage, tables: tuple[str, ...], bound: Bound
) -> list[dict[str, object]]:
    """What each of its pods would say of one stage, as rows of ``COLUMNS``."""
    said = ask_pods(statement, stage, tables, bound)
    return [_row(stage.name, name, said[name]) for name in stage.pods]


def ask_pods(
    statement: Statement, stage: Stage, tables: tuple[str, ...], bound: Bound
) -> dict[str, PolicyReply]:
    """The same as the pods say it."""
    left = max(0.05, statement.deadline - time.monotonic())
    bodies = {}
    for name in stage.pods:
        asked = PolicyAsk(
            fragment=encode_fragment(stage.fragment),
            statement=statement.sql,
            tables=tables,
            purpose=statement.purpose,
            project=statement.project,
            offer=bound.offers[name].version,
        )
        bodies[bound.cards[name]] = encode(asked)
    found = ask_each(statement, bodies, timeout=left)
    return {name: _read(name, found[name]) for name in stage.pods}


def _read(pod: str, reply: bytes | Error) -> PolicyReply:
    return reply_of(PolicyReply, reply, "the pod did not say what its policy would do", pod=pod)


def _row(stage: str, pod: str, said: PolicyReply) -> dict[str, object]:
    return {
        "stage": stage,
        "pod": pod,
        "decision": "allow" if said.allow else "deny",
        "rule": said.rule or None,
        "release": said.release or None,
        "answer": said.answer or None,
        "min_units": said.min_units or None,
        "epsilon": said.epsilon,
        "epsilon_left": said.epsilon_left,
        "fits": said.fits,
        "noise": list(said.noise) or None,
        "statements_left": said.statements_left,
        "figures_left": said.figures_left,
        "policy": said.policy,
    }
