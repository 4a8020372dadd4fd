"""The policy service as a process: an outbound peer of the relay for each federation it serves.

Every federation is a directory of its own (membership, keys, store), so nothing of one is within
reach of another. Command line and page write the same store from processes of their own; the next
decision sees it, and the pods are told at once.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from podsql.errors import Error, error
from podsql.lifecycle import wait_for_stop
from podsql.membership import Membership, find_membership, load_membership
from podsql.messages import encode
from podsql.policy.service.history import epoch
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store
from podsql.policy.service.waking import Bell
from podsql.relay.sockets.endpoint import Endpoint

log = logging.getLogger("podsql.policy")

STORE: Final = "policy.sqlite"
TELL_SECONDS: Final = 10.0


def store_path(federation: Path | str | None) -> Path:
    """The store of the service whose membership is at ``federation``."""
    return find_membership(federation).resolve().parent / STORE


class Tenant:
    """One federation that is served."""

    def __init__(self, membership: Membership) -> None:
        path = store_path(membership.path)
        self._store = Store(path)
        self._bell = Bell(path)
        self._told = epoch(self._store.database)
        self._membership = membership
        self.service = PolicyService(
            store=self._store,
            keys=membership.keys,
            manifest=lambda: membership.store.current,
            clock=_now,
        )
        self._endpoint = Endpoint(
            keys=membership.keys,
            relay=membership.relay,
            store=membership.store,
            egress=membership.egress,
            serve=self.service.serve,
            name=membership.name,
        )

    def start(self) -> None:
        """Connect; raises why not."""
        self._endpoint.start()
        self._endpoint.post(lambda: self._endpoint.watch_fd(self._bell.fileno(), self._heard))
        me = self._membership
        log.info("policy service %s (%s) is serving", me.name, me.keys.fingerprint)

    def close(self) -> None:
        """Leave the relay and close the store."""
        self._endpoint.close()
        self._bell.close()
        self._store.close()

    def _heard(self) -> None:
        """The store was written: tell every pod, if an act was among it (I/O thread)."""
        self._bell.hush()
        number = epoch(self._store.database)
        if number == self._told:
            return
        self._told = number
        manifest = self._membership.store.current
        for card in manifest.members() if manifest is not None else ():
            if card.role == "pod":
                self._endpoint.call(
                    card,
                    encode(self.service.standing(card)),
                    timeout=TELL_SECONDS,
                    on_reply=lambda reply, name=card.name: _note(name, reply),  # type: ignore[misc]
                )


def run_service(federations: Sequence[Path | str | None] = (None,)) -> int:
    """Serve every federation until SIGTERM or SIGINT."""
    memberships = [load_membership(one) for one in federations]
    keys = {one.keys.identity_public for one in memberships}
    if len(keys) < len(memberships):
        raise error(
            "CONFIG", "two federations have the same key", hint="join each with keys of its own"
        )
    with ExitStack() as opened:
        for membership in memberships:
            tenant = Tenant(membership)
            opened.callback(tenant.close)
            tenant.start()
        wait_for_stop()
    return 0


def _note(pod: str, reply: bytes | Error) -> None:
    if isinstance(reply, Error):
        log.info("pod %s was not told of a change: %s", pod, reply.code)


def _now() -> int:
    return time.time_ns() // 1_000_000
