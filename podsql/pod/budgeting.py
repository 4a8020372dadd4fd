"""A custodian's view of the privacy ledger, and the two acts that only he may do to it.

A reset is written to the chain with its reason; a lost witness is accepted by name. Rule to keep:
nothing here gives a budget back without a line that says so.
"""

import time
from pathlib import Path

from podsql.errors import error
from podsql.pod.config import load_pod_config
from podsql.pod.datasets import Place, read_policy
from podsql.pod.spending import Spent, spent_of
from podsql.policy.document import Policy
from podsql.policy.ledger.store import Ledger


def budgets_of(config_path: Path) -> list[Spent]:
    """Every budget that was ever drawn on; LEDGER if the file was edited or is a restored copy."""
    ledger, policy = _open(config_path, adopt=False)
    try:
        return spent_of(ledger, policy)
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


def _open(config_path: Path, *, adopt: bool) -> tuple[Ledger, Policy]:
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    path = place / "ledger.sqlite"
    if not path.exists():
        raise error("LEDGER", "this pod has no ledger yet", hint="podsql pod serve makes it")
    policy = read_policy(config, place)
    return Ledger(path, witness=place.witness(config), adopt=adopt), policy
