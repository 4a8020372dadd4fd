"""``SHOW BUDGET``: what every pod says is left of the budgets and quotas that this connection draws on.

Rule to keep: nothing is spent by looking. A pod without limits has a row that says so.
"""

from typing import Final

import pyarrow as pa

from podsql.analyst.federation import Bound
from podsql.analyst.gathering import ask_each
from podsql.analyst.statement import Statement
from podsql.errors import Error
from podsql.messages import BudgetReply, BudgetRequest, encode, reply_of

COLUMNS: Final = pa.schema(
    [
        ("pod", pa.string()),
        ("policy", pa.string()),
        ("what", pa.string()),
        ("per", pa.string()),
        ("period", pa.string()),
        ("total", pa.float64()),
        ("spent", pa.float64()),
        ("left", pa.float64()),
        ("delta", pa.float64()),
    ]
)
"""``what``: epsilon, statements, figures, keys; or ``no limit``, ``nothing offered``."""


def budgets_shown(statement: Statement, bound: Bound) -> pa.Table:
    """One row a limit and pod."""
    bodies = {
        bound.cards[pod]: encode(
            BudgetRequest(purpose=statement.purpose, project=statement.project, offer=offer.version)
        )
        for pod, offer in bound.offers.items()
    }
    replies = ask_each(statement, bodies, timeout=statement.timeout)
    rows = [row for pod in sorted(replies) for row in _rows(pod, _read(pod, replies[pod]))]
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def _read(pod: str, reply: bytes | Error) -> BudgetReply:
    return reply_of(BudgetReply, reply, "the pod did not say what is left of its budgets", pod=pod)


def _rows(pod: str, said: BudgetReply) -> list[dict[str, object]]:
    if not said.allowances:
        what = "no limit" if said.policy else "nothing offered"
        return [{"pod": pod, "policy": said.policy or None, "what": what}]
    return [
        {
            "pod": pod,
            "policy": said.policy,
            "what": one.what,
            "per": one.per,
            "period": one.period,
            "total": one.total,
            "spent": one.spent,
            "left": one.left,
            "delta": one.delta,
        }
        for one in said.allowances
    ]
