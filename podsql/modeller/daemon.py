"""A modeller as a process: dials the relay, takes its analysts' orders, trains until they have ended.

Everything it keeps is in its home: membership and keys, ``modeller.toml``, and ``work/``.
Rule to keep: no log line holds more than a job's id, a name, a state and a code.
"""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from podsql.analyst.training.locks import try_lock
from podsql.errors import error
from podsql.lifecycle import wait_for_stop
from podsql.membership import Membership, load_membership
from podsql.modeller.config import load_config
from podsql.modeller.desk import ModellerDesk
from podsql.modeller.floor import Floor
from podsql.modeller.orders import Orders
from podsql.modeller.training import Trainer
from podsql.relay.sockets.endpoint import Endpoint, Request

log = logging.getLogger("podsql.modeller")


class Modeller:
    """One running modeller."""

    def __init__(self, membership: Membership) -> None:
        if membership.role != "modeller":
            raise error(
                "CONFIG", f"{membership.name!r} joined as {membership.role}, not as a modeller"
            )
        home = membership.path.resolve().parent
        config = load_config(home)
        unlock = try_lock(home / "modeller.lock")
        if unlock is None:
            raise error("BUSY", "another process is this modeller", hint="stop it first")
        self._unlock = unlock
        self._membership = membership
        orders = Orders(home)
        self._endpoint = Endpoint(
            keys=membership.keys,
            relay=membership.relay,
            store=membership.store,
            egress=membership.egress,
            serve=self._serve,
            name=membership.name,
        )
        self._floor = Floor(orders, Trainer(membership, self._endpoint, config, _now), config)
        self._desk = ModellerDesk(
            identity=membership.keys.identity_public,
            federation=membership.federation,
            config=config,
            orders=orders,
            woken=self._floor.wake,
            clock=_now,
        )
        # One at a time, and never on the I/O thread: an answer reads and writes files.
        self._answering = ThreadPoolExecutor(1, thread_name_prefix="podsql-desk")

    def start(self) -> None:
        """Connect and go on with what has not ended; raises why not."""
        self._endpoint.start()
        self._floor.start()
        me = self._membership
        log.info("modeller %s (%s) is serving", me.name, me.keys.fingerprint)

    def close(self) -> None:
        """Stop; what was trained so far is written down."""
        self._floor.close()
        self._answering.shutdown()
        self._endpoint.close()
        self._unlock()

    def _serve(self, request: Request) -> None:
        self._answering.submit(self._answer, request)

    def _answer(self, request: Request) -> None:
        request.reply(self._desk.answer(request.peer, request.body))


def run_modeller(home: Path) -> int:
    """Serve until SIGTERM or SIGINT."""
    modeller = Modeller(load_membership(home))
    try:
        modeller.start()
        wait_for_stop()
    finally:
        modeller.close()
    return 0


def _now() -> int:
    return time.time_ns() // 1_000_000
