"""The policy service's process: an outbound peer that pods ask on every request.

Rule to keep: who is a member is asked of the newest manifest on every answer, so that a revoked peer
loses its grants with its card.
"""

import logging
import os
import signal
import threading
import time
from pathlib import Path

from podsql.errors import error
from podsql.membership import load_membership
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store
from podsql.relay.sockets.endpoint import Endpoint
from podsql.service_config import load_service_config

log = logging.getLogger("podsql.policy")


def run_service(config_path: Path) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises what keeps it from starting."""
    config = load_service_config(config_path)
    membership = load_membership(
        config.federation, passphrase=os.environ.get("PODSQL_PASSPHRASE") or None
    )
    if membership.role != "service":
        raise error(
            "ROLE",
            f"{membership.name!r} is a {membership.role}, not a policy service",
            hint="ask the convener: podsql invite NAME --role service",
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = Store(config.store)

    def member(identity: bytes) -> bool:
        manifest = membership.store.current
        return manifest is not None and manifest.by_identity(identity) is not None

    service = PolicyService(
        store=store,
        seed=membership.keys.identity,
        member=member,
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
    try:
        endpoint.start(timeout=30.0)
        log.info("policy service %s is connected", membership.name)
        stop.wait()
    finally:
        endpoint.close()
        store.close()
    return 0
