"""What was spent of each privacy budget, as the ledger that is open says it."""

from dataclasses import dataclass

from podsql.policy.document import Policy
from podsql.policy.ledger.cost import epsilon_of
from podsql.policy.ledger.store import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One budget: what was taken of it, in epsilon at the document's delta."""

    scope: str
    epsilon: float
    budget: float
    charges: int


def spent_of(ledger: Ledger, policy: Policy) -> list[Spent]:
    """Every budget that was ever drawn on."""
    delta, each, total = 1e-6, 0.0, 0.0
    if policy.dp is not None:
        delta, each = policy.dp.delta, policy.dp.epsilon_budget
        total = policy.dp.epsilon_total or float("inf")
    counts: dict[str, int] = {}
    for charge in ledger.charges():
        for scope in charge.scopes:
            counts[scope] = 0 if charge.kind == "reset" else counts.get(scope, 0) + 1
    return [
        Spent(
            scope=scope,
            epsilon=epsilon_of(cost, delta),
            budget=total if "/everybody" in scope else each,
            charges=counts.get(scope, 0),
        )
        for scope, cost in ledger.scopes().items()
    ]
