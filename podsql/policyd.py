"""The policy service as a process: an outbound peer of the relay with a SQLite file of grants.

``podsql grant`` and ``revoke`` write the same file from processes of their own; the next decision
sees it.
"""

import logging
import time
from pathlib import Path
from typing import Final

from podsql.lifecycle import wait_for_stop
from podsql.membership import find_membership, load_membership
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store
from podsql.relay.manifest import Manifest
from podsql.relay.sockets.endpoint import Endpoint

log = logging.getLogger("podsql.policy")

STORE: Final = "policy.sqlite"


def store_path(federation: Path | str | None) -> Path:
    """The grants file of the service whose membership is at ``federation``."""
    return find_membership(federation).resolve().parent / STORE


def run_service(federation: Path | str | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    membership = load_membership(federation)
    service = PolicyService(
        store=Store(store_path(membership.path)),
        seed=membership.keys.identity,
        member=lambda identity: _listed(membership.store.current, identity),
        clock=lambda: time.time_ns() // 1_000_000,
    )
    endpoint = Endpoint(
        keys=membership.keys,
        relay=membership.relay,
        store=membership.store,
        egress=membership.egress,
        serve=service.serve,
        name=membership.name,
    )
    endpoint.start()
    log.info("policy service %s (%s) is serving", membership.name, membership.keys.fingerprint)
    try:
        wait_for_stop()
    finally:
        endpoint.close()
    return 0


def _listed(manifest: Manifest | None, identity: bytes) -> bool:
    return manifest is not None and manifest.by_identity(identity) is not None
