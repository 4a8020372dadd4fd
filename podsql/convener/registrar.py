"""The registrar: an outbound peer that admits invitees and keeps the relay's manifest fresh.

It is its own process because it holds the federation key; the relay's process never does. The
Endpoint's I/O thread only queues requests; one loop here judges, signs and publishes them in order.
Rule to keep: a change is on disk before it is published, and published before an invitee hears of it.
"""

import logging
import os
import signal
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from podsql.convener.admission import Admission, judge, refusal
from podsql.convener.changes import MANIFEST_LIFE, extend
from podsql.convener.desk import Desk, open_desk
from podsql.convener.editing import (
    Edition,
    current_edition,
    edit,
    edit_if,
    load_federation_key,
)
from podsql.errors import Error
from podsql.lifecycle import notify_ready
from podsql.membership import load_membership
from podsql.messages import JoinReply, encode
from podsql.relay.manifest import Manifest
from podsql.relay.sockets.endpoint import Endpoint, Request

log = logging.getLogger("podsql.convener")

CHECK_SECONDS: Final = 60.0
"""How often edits made by the convener's commands and the manifest's age are looked at."""
RETRY_SECONDS: Final = 1.0


class Registrar:
    """Answers requests from a queue until ``stop``; ``run`` returns then."""

    def __init__(self, desk: Desk, passphrase: str | None = None) -> None:
        self._desk = desk
        self._seed = load_federation_key(desk, passphrase)
        self._name = desk.file().federation.name
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._published = 0
        membership = load_membership(desk.registrar, passphrase=passphrase)
        self._endpoint = Endpoint(
            keys=membership.keys,
            relay=membership.relay,
            store=membership.store,
            egress=membership.egress,
            serve=self._requests.put,
            name="registrar",
        )

    def stop(self) -> None:
        """End ``run``; safe in a signal handler."""
        self._requests.put(None)

    def run(self) -> None:
        """Serve until stopped."""
        try:
            while True:
                behind = not self._keep_fresh()
                try:
                    request = self._requests.get(timeout=RETRY_SECONDS if behind else CHECK_SECONDS)
                except Empty:
                    continue
                if request is None:
                    return
                self._serve(request)
        finally:
            self._endpoint.close()

    def connect(self) -> None:
        """Reach the relay; RELAY_UNREACHABLE, RELAY_KEY and NOT_ADMITTED errors."""
        self._endpoint.start(timeout=30.0)
        seen = self._endpoint.refresh_manifest()
        self._published = seen.version
        notify_ready()
        log.info("registrar of %s is connected, manifest version %d", self._name, seen.version)

    def _keep_fresh(self) -> bool:
        """Renew a manifest in the second half of its life; publish what the relay lacks."""
        edition = edit_if(self._desk, self._seed, _due, extend, now=_now())
        return self._publish(edition)

    def _publish(self, edition: Edition) -> bool:
        if edition.manifest.version <= self._published:
            return True
        try:
            self._endpoint.publish_manifest(edition.raw)
        except Error as fault:
            log.warning(
                "manifest version %d not published: %s", edition.manifest.version, fault.code
            )
            return False
        self._published = edition.manifest.version
        log.info("published manifest version %d", self._published)
        return True

    def _serve(self, request: Request) -> None:
        try:
            edition, admission = self._admit(request)
        except Error as fault:
            log.info(
                "refused a request of %s %r: %s", request.peer.role, request.peer.name, fault.code
            )
            request.reply(encode(refusal(fault)))
            return
        reply = encode(JoinReply(manifest=edition.raw, federation=self._name))
        if admission.reply_first:
            request.reply(reply)
            self._publish(edition)
        else:
            self._publish(edition)
            request.reply(reply)

    def _admit(self, request: Request) -> tuple[Edition, Admission]:
        now = _now()
        current = current_edition(self._desk)
        admission = judge(request.body, request.peer, current.manifest, now=now)
        if admission.change is None:
            return current, admission
        edition = edit(self._desk, self._seed, admission.change, now=now)
        log.info(
            "manifest version %d after a request of %s", edition.manifest.version, request.peer.role
        )
        return edition, admission


def _due(manifest: Manifest) -> bool:
    return manifest.expires - _now() < MANIFEST_LIFE // 2


def _now() -> int:
    return time.time_ns() // 1_000_000


def main(argv: list[str]) -> int:
    """``python -m podsql.convener.registrar DIR``: run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        registrar = Registrar(open_desk(Path(argv[0])), os.environ.get("PODSQL_PASSPHRASE"))
        registrar.connect()  # until then, a signal ends the process at once
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: registrar.stop())
        registrar.run()
    except Error as fault:
        log.error("registrar ends: %s", fault)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
