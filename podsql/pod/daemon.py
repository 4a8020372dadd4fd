"""A pod from ``pod.toml`` to a running daemon: data, policy, workers, endpoint, desk, control.

``Pod`` is used in a process of its own by ``podsql pod serve`` and inside another by
``podsql.local``. A refresh builds the new snapshot beside the old one and swaps both data and
policy in one step; statements already running finish on what they began with.
"""

import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from podsql.engine.job import Pool
from podsql.engine.limits import Limits
from podsql.engine.pool import WorkerPool
from podsql.engine.thread_pool import ThreadPool
from podsql.errors import Error, error
from podsql.lifecycle import wait_for_stop
from podsql.membership import Membership, load_membership
from podsql.pod.config import PodConfig, load_pod_config
from podsql.pod.consulting import Services
from podsql.pod.control import SOCKET, Control, failure
from podsql.pod.datasets import Place, drop_old_snapshots, hold, holds_of, local_tables_of
from podsql.pod.desk import Desk
from podsql.pod.holding import Holding
from podsql.pod.obeying import Obeying
from podsql.pod.past_policies import keep_policy
from podsql.pod.receipts import FOLDER
from podsql.pod.releasing import Releasing, load_secret
from podsql.pod.reporting import Reporting, report_of
from podsql.policy.audit import FILE, Audit, Entry, lines
from podsql.policy.ledger.store import Ledger
from podsql.policy.pruning import prune
from podsql.policy.requests import RequestBook
from podsql.relay.keys import fingerprint, parse_fingerprint
from podsql.relay.manifest import Manifest
from podsql.relay.sockets.endpoint import Endpoint, Request
from podsql.service_messages import PodReport
from podsql.times import iso

log = logging.getLogger("podsql.pod")

GATEKEEPERS = 2
PAUSED = "paused"
"""A file in the state directory while the custodian's pause holds."""


class Pod:
    """One running pod."""

    def __init__(self, config: PodConfig, place: Place, membership: Membership) -> None:
        if membership.role != "pod":
            raise error("CONFIG", f"{membership.name!r} joined as {membership.role}, not as a pod")
        self.config = config
        self.place = place
        self.membership = membership
        self._refreshing = threading.Lock()
        self._catching_up = threading.Event()
        self.endpoint = Endpoint(
            keys=membership.keys,
            relay=membership.relay,
            store=membership.store,
            egress=membership.egress,
            serve=self._serve,
            on_manifest=self._note_revoked,
            name=membership.name,
        )
        self._revoked: frozenset[bytes] = frozenset()
        self._gatekeepers = ThreadPoolExecutor(GATEKEEPERS, thread_name_prefix="gate")
        self._stopped = False
        self._opened = ExitStack()
        self.desk: Desk | None = None
        self.pool: Pool | None = None

    def start(self) -> None:
        """Read data and policy, start workers, connect; raises the first thing that is wrong."""
        try:
            self._start()
        except BaseException:
            self._shut()
            raise

    def _start(self) -> None:
        place, name = self.place, self.membership.name
        place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._audit = Audit(place / FILE, now=_now())
        self._opened.callback(self._audit.close)
        self._book = RequestBook(place / "requests.sqlite")
        self._opened.callback(self._book.close)
        holding = hold(self.config, place, name)
        drop_old_snapshots(place, holding.database)
        self._releasing = Releasing(
            Ledger(place / "ledger.sqlite", witness=place.witness(self.config)),
            load_secret(place / "secret"),
        )
        self._opened.callback(self._releasing.close)
        self._opened.callback(lambda: self._gatekeepers.shutdown(wait=True, cancel_futures=True))
        limits = self.config.limits
        kind = WorkerPool if self.config.pod.isolation == "process" else ThreadPool
        self.services = Services(
            self.endpoint,
            tuple(dict.fromkeys(map(parse_fingerprint, self.config.policy.services))),
            place / "services.json",
            pod=name,
            offline=self.config.policy.mode == "offline",
            clock=lambda: self._releasing.now(_now()),
        )
        self.pool = kind(
            limits=Limits(
                memory_mb=min(
                    limits.memory_mb, holding.gate.policy.limits.memory_mb or limits.memory_mb
                ),
                threads=limits.threads,
                seconds=limits.seconds,
                max_rows=limits.rows,
                max_bytes=limits.result_mb << 20,
            ),
            size=limits.workers,
            io=self.endpoint,
        )
        self.pool.start()
        self._opened.callback(self.pool.close)
        spool = place / "spool"
        spool.mkdir(exist_ok=True, mode=0o700)
        holds = holds_of(self.config, place)
        holds.begin()
        local = local_tables_of(self.config, place)
        if local is not None:
            local.begin()
        self.desk = Desk(
            name=name,
            keys=self.membership.keys,
            endpoint=self.endpoint,
            holding=holding,
            pool=self.pool,
            book=self._book,
            audit=self._audit,
            gatekeepers=self._gatekeepers,
            releasing=self._releasing,
            services=self.services,
            holds=holds,
            local=local,
            on_stale=self._catch_up,
            spool=spool,
            limits=limits,
            sums=self.config.sums,
        )
        self._opened.callback(self.desk.counting.close)
        self._opened.callback(self.desk.writing.close)
        self.obeying = Obeying(
            self.services, audit=self._audit, end=self.desk.end, changed=lambda: self._tell()
        )
        self.reporting = Reporting(
            self.services,
            self.obeying,
            endpoint=self.endpoint,
            workers=self._gatekeepers,
            make=self._report,
            pod=self.membership.keys.identity_public,
            receipts=place / FOLDER,
        )
        keep_policy(place, holding.gate.policy)
        self._note("start", holding)
        if (place / PAUSED).exists():
            self.desk.paused = True
            self._note("pause", holding)
        self._revoked = self._revocations_noted()
        self.endpoint.start()
        self.endpoint.post(lambda: self._open(holding))

    def _open(self, holding: Holding) -> None:
        assert self.pool is not None
        assert self.desk is not None
        self.pool.warm(holding.database, holding.datasets)
        self.desk.sweep()
        self.reporting.begin()

    def _serve(self, request: Request) -> None:
        assert self.desk is not None
        if request.peer.role == "service":
            self.obeying.serve(request)
        else:
            self.desk.serve(request)

    def _tell(self) -> None:
        self.endpoint.post(self.reporting.tell)

    def _report(self) -> PodReport:
        assert self.desk is not None
        holding = self.desk.holding
        return report_of(
            holding,
            stopped=self.desk.stopped,
            spent=self._releasing.spent(holding.gate.policy),
            tip=self._audit.tip(),
            now=_now(),
        )

    def refresh(self) -> str:
        """Build data and policy anew and swap them in; the data version (any thread but I/O's)."""
        with self._refreshing:
            holding = hold(self.config, self.place, self.membership.name)
            done = threading.Event()

            def swap() -> None:
                assert self.desk is not None
                old = self.desk.holding.database
                self.desk.replace(holding)
                self.reporting.tell()
                self.endpoint.later(self._longest, lambda: self._drop(old))
                done.set()

            keep_policy(self.place, holding.gate.policy)
            self._note("data", holding)
            self.endpoint.post(swap)
            done.wait()
            return holding.data_version

    @property
    def _longest(self) -> float:
        """Seconds after which no statement can still run on a snapshot that was replaced."""
        return self.config.limits.seconds + 5

    def _drop(self, old: Path) -> None:
        """Remove a replaced snapshot: who has opted out since is still in it (I/O thread)."""
        assert self.desk is not None
        if not self._refreshing.acquire(blocking=False):
            self.endpoint.later(self._longest, lambda: self._drop(old))
            return
        try:
            # The data may have become again what they were: one content, one file.
            if old != self.desk.holding.database:
                old.unlink(missing_ok=True)
        finally:
            self._refreshing.release()

    def _catch_up(self) -> None:
        """A list of opted-out units changed: build anew, once a change (I/O thread)."""
        if self._catching_up.is_set():
            return
        self._catching_up.set()

        def build() -> None:
            try:
                self.refresh()
            except Error as fault:
                log.error("no statement runs until the opt-out lists are read: %s", fault.message)
            finally:
                self._catching_up.clear()

        threading.Thread(target=build, name="catch-up", daemon=True).start()

    def pause(self, paused: bool) -> None:
        """Refuse new statements, also after a restart, or take them again."""
        assert self.desk is not None
        if paused:
            (self.place / PAUSED).touch(mode=0o600)
        self.desk.paused = paused
        if not paused:
            (self.place / PAUSED).unlink(missing_ok=True)
        self._note("pause" if paused else "resume", self.desk.holding)
        self._tell()

    def prune_audit(self, before: int) -> dict[str, Any]:
        """Remove audit lines from before ``before`` (ms); statements wait meanwhile."""
        seed = self.membership.keys.identity
        done = prune(self._audit, before=before, now=_now(), seed=seed)
        return {"removed": done.removed, "removed_ever": done.removed_ever, "head": done.head}

    def status(self) -> dict[str, Any]:
        """What the pod does now."""
        assert self.desk is not None
        assert self.pool is not None
        holding = self.desk.holding
        return {
            "pod": self.membership.name,
            "fingerprint": self.membership.keys.fingerprint,
            "paused": self.desk.paused,
            "frozen": self.services.beliefs.frozen,
            "answered": self.desk.answered,
            "refused": self.desk.refused,
            "running": self.desk.running,
            "tables": sorted([*self.config.tables, *self.config.views]),
            "data_version": holding.data_version,
            "policy_hash": holding.gate.policy_hash,
            "isolation": self.config.pod.isolation,
            "sandbox": self.sandbox(),
        }

    def sandbox(self) -> list[str]:
        """Which layers of isolation hold."""
        assert isinstance(self.pool, WorkerPool | ThreadPool)
        report = self.pool.sandbox
        return [*(f"{n} holds" for n in report.held), *(f"{n}: {why}" for n, why in report.missing)]

    def stop(self) -> None:
        """Stop; running statements end with CANCELLED at their analysts."""
        if self._stopped:
            return
        if self.desk is not None:
            self._note("stop", self.desk.holding)
        self._shut()

    def _shut(self) -> None:
        """Close what was opened, the last first: also of a start that failed half way."""
        self._stopped = True
        self.endpoint.close()
        self._opened.close()

    def _revocations_noted(self) -> frozenset[bytes]:
        """Keys that the log already calls revoked: each is noted once."""
        current = self.membership.store.current
        if current is None or not current.revoked:
            return frozenset()
        noted = {
            one.entry.fingerprint for one in lines(self._audit.path) if one.entry.event == "revoked"
        }
        return frozenset(key for key in current.revoked if fingerprint(key) in noted)

    def _note_revoked(self, manifest: Manifest) -> None:
        """From now on these keys open no session here (I/O thread)."""
        fresh = frozenset(manifest.revoked) - self._revoked
        names = {card.identity: card.name for card in manifest.all_cards}
        for key in sorted(fresh):
            line = Entry(
                time=_now(),
                event="revoked",
                analyst=names.get(key, ""),
                fingerprint=fingerprint(key),
                reason=f"manifest {manifest.version} of {iso(manifest.issued)}",
            )
            try:
                self._audit.append(line)
            except Error as fault:  # the key is shut out all the same
                log.error("a revocation is not in the audit log: %s", fault.message)
                return
            self._revoked |= {key}

    def _note(self, event: str, holding: Holding) -> None:
        self._audit.append(
            Entry(
                time=_now(),
                event=event,  # type: ignore[arg-type]
                data_version=holding.data_version,
                policy_hash=holding.gate.policy_hash,
            )
        )


def run_pod(config_path: Path) -> int:
    """``podsql pod serve``: run until SIGTERM; SIGHUP refreshes data and policy."""
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    pod = Pod(config, place, load_membership(place.home / config.pod.federation))
    pod.start()
    log.info("pod %s serves %d tables", pod.membership.name, len(config.tables) + len(config.views))
    for line in pod.sandbox():
        log.info("isolation, %s", line)
    control = Control(
        place / SOCKET,
        watch=pod.endpoint.watch_fd,
        unwatch=pod.endpoint.unwatch_fd,
        run=lambda command, answer: _command(pod, command, answer),
    )
    listening = threading.Event()

    def listen() -> None:
        control.open()
        listening.set()

    pod.endpoint.post(listen)
    listening.wait()  # who is told that the pod is ready may use its socket
    try:
        wait_for_stop({signal.SIGHUP: lambda: log.info("refreshed: %s", _refresh(pod))})
    finally:
        pod.endpoint.post(control.close)
        pod.stop()
    return 0


def _command(pod: Pod, command: str, answer: Any) -> None:
    if command == "reload":
        threading.Thread(target=lambda: answer(_refresh(pod)), daemon=True).start()
        return
    verb, _, named = command.partition(" ")
    assert pod.desk is not None
    match verb:
        case "prune":
            threading.Thread(target=lambda: answer(_prune(pod, named)), daemon=True).start()
            return
        case "pause" | "resume":
            pod.pause(verb == "pause")
        case "forget":
            pod.obeying.forget(parse_fingerprint(named))
        case "drop":
            pod.desk.reviewing.drop(named)
        case "remove":
            pod.desk.writing.remove(named)
    answer({"services": pod.services.status()} if verb in ("services", "forget") else pod.status())


def _refresh(pod: Pod) -> dict[str, Any]:
    try:
        return {"data_version": pod.refresh()}
    except Error as fault:
        log.error("refresh failed, the old data stays: %s", fault.message)
        return failure(fault)


def _prune(pod: Pod, before: str) -> dict[str, Any]:
    try:
        return pod.prune_audit(int(before))
    except Error as fault:
        return failure(fault)
    except (ValueError, OSError):
        return failure(error("ARGUMENT", "the audit log was not pruned"))


def _now() -> int:
    return time.time_ns() // 1_000_000
