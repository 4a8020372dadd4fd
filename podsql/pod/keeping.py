"""A custodian's acts on the audit log: its signed head, its check, its pruning.

Rule to keep: a running pod prunes its own log, asked over the control socket; only a log that no
process holds is pruned here.
"""

import time
from pathlib import Path
from typing import Any

from podsql.errors import Error, error
from podsql.governance.declared import NAME, load_declared
from podsql.membership import load_membership, read_membership_file
from podsql.pod.config import load_pod_config
from podsql.pod.control import send
from podsql.pod.datasets import Place
from podsql.policy.audit import FILE, Audit, Chain, check
from podsql.policy.heads import Head, check_against, read_head, sign_head
from podsql.policy.pruning import DEFAULT_YEARS, oldest_kept, prune, require_old_enough
from podsql.relay.manifest import ManifestStore

PRUNE_SECONDS = 600.0


def audit_path(config_path: Path) -> Path:
    """Where the pod's log lies; CONFIG if there is none."""
    path = Place.of(load_pod_config(config_path), config_path) / FILE
    if not path.exists():
        raise error("CONFIG", "this pod has no audit log yet", hint="podsql pod serve makes it")
    return path


def pod_key(config_path: Path) -> bytes | None:
    """The pod's identity key as the federation's manifest lists it; None before it has joined."""
    config = load_pod_config(config_path)
    path = config_path.resolve().parent / config.pod.federation
    if not path.exists():
        return None
    file = read_membership_file(path)
    store = ManifestStore(path.resolve().parent / file.me.manifest, file.federation.fingerprint)
    card = store.current.by_name(file.me.name) if store.current else None
    return card.identity if card else None


def check_log(path: Path, *, head: str | None = None, signer: bytes | None = None) -> Chain:
    """Check a log; ``head`` is a hash, or what ``podsql audit head`` printed."""
    if head is None or not head.strip().startswith("podsql-head:"):
        return check(path, head=head.strip() if head else None, signer=signer)
    known, key = read_head(head, signer)
    return check_against(path, known, key)


def signed_head(config_path: Path, passphrase: str | None = None) -> tuple[Head, str]:
    """The head of a whole log, and the line to give to another party."""
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    me = load_membership(place.home / config.pod.federation, passphrase=passphrase)
    chain = check(audit_path(config_path), signer=me.keys.identity_public)
    head = Head(pod=me.name, count=chain.count, hash=chain.head, time=_now())
    return head, sign_head(head, me.keys.identity)


def prune_log(
    config_path: Path, *, before: int | None, force: bool, passphrase: str | None = None
) -> dict[str, Any]:
    """Remove lines from before ``before`` (ms; default: the stated retention, else 7 years)."""
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    years = load_declared(place.home / NAME).retention.audit_years
    now = _now()
    moment = oldest_kept(now, years or DEFAULT_YEARS) if before is None else before
    require_old_enough(moment, now=now, years=years, force=force)
    audit_path(config_path)
    try:
        return send(config_path, f"prune {moment}", PRUNE_SECONDS)
    except Error as fault:
        if fault.code != "POD_LOST":
            raise
    me = load_membership(place.home / config.pod.federation, passphrase=passphrase)
    audit = Audit(place / FILE, now=now)
    try:
        done = prune(audit, before=moment, now=now, seed=me.keys.identity)
        return {"removed": done.removed, "removed_ever": done.removed_ever, "head": done.head}
    finally:
        audit.close()


def _now() -> int:
    return time.time_ns() // 1_000_000
