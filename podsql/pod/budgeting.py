"""A custodian's view of the privacy ledger, and the two acts that only he may do to it.

A reset is written to the chain with its reason; a lost witness is accepted by name. Rule to keep:
nothing here gives a budget back without a line that says so.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from podsql.errors import error
from podsql.pod.config import load_pod_config
from podsql.pod.datasets import Place, read_policy
from podsql.policy.ledger.cost import epsilon_of
from podsql.policy.ledger.store import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One budget: what was taken of it, in epsilon at the document's delta."""

    scope: str
    epsilon: float
    budget: float
    charges: int


def budgets_of(config_path: Path) -> list[Spent]:
    """Every budget that was ever drawn on; LEDGER if the file was edited or is a restored copy."""
    ledger, dp = _open(config_path, adopt=False)
    try:
        counts: dict[str, int] = {}
        for charge in ledger.charges():
            for scope in charge.scopes:
                counts[scope] = 0 if charge.kind == "reset" else counts.get(scope, 0) + 1
        return [
            Spent(
                scope=scope,
                epsilon=epsilon_of(cost, dp[0]),
                budget=dp[2] if "/everybody" in scope else dp[1],
                charges=counts.get(scope, 0),
            )
            for scope, cost in ledger.scopes().items()
        ]
    finally:
        ledger.close()


def reset_budget(config_path: Path, scope: str, reason: str) -> None:
    """Start ``scope`` again; the reason stays in the chain."""
    if not reason.strip():
        raise error("ARGUMENT", "a reset needs a reason", hint="--reason 'new consent of 2027'")
    ledger, _ = _open(config_path, adopt=False)
    try:
        if scope not in ledger.scopes():
            raise error("ARGUMENT", f"no budget {scope!r}", hint="podsql pod budget lists them")
        ledger.reset(scope, now=time.time_ns() // 1_000_000, note=reason)
    finally:
        ledger.close()


def adopt_ledger(config_path: Path) -> None:
    """Go on with a ledger whose witness is lost."""
    ledger, _ = _open(config_path, adopt=True)
    ledger.close()


def _open(config_path: Path, *, adopt: bool) -> tuple[Ledger, tuple[float, float, float]]:
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    path = place / "ledger.sqlite"
    if not path.exists():
        raise error("LEDGER", "this pod has no ledger yet", hint="podsql pod serve makes it")
    policy = read_policy(config, place)
    ledger = Ledger(path, witness=place.witness(config), adopt=adopt)
    if policy.dp is None:
        return ledger, (1e-6, 0.0, 0.0)
    total = policy.dp.epsilon_total or float("inf")
    return ledger, (policy.dp.delta, policy.dp.epsilon_budget, total)
