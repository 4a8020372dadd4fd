"""A federation on this machine, founded, joined and run by the same functions and processes as a
real one: for the demo, and for benchmarks and tests that need real processes.

Pods and services say when they are ready (sd_notify), so nothing here sleeps or polls.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from podsql.convener.founding import RelayChoice, found
from podsql.convener.joining import WayOut, join
from podsql.convener.relay_files import plan_relay
from podsql.errors import error
from podsql.membership import load_membership, toml_text
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policyd import store_path

READY_SECONDS: Final = 60.0

Tables = Mapping[str, Mapping[str, object]]
"""Table name to its section of ``pod.toml``."""


@dataclass(kw_only=True)
class Stage:
    """Directories and processes. With ``service``, pods ask a policy service."""

    home: Path
    pods: Mapping[str, Tables]
    analysts: tuple[str, ...] = ("ana",)
    granted: tuple[str, ...] | None = None
    """The analysts whom the service grants all; None: every one."""
    modellers: tuple[str, ...] = ()
    """They join, and are started by whoever needs them: they work for those whom they are told."""
    service: bool = True
    further: tuple[str, ...] = ()
    """More policy services, which grant nothing by themselves; pods ask each of them."""
    preset: str = "standard"
    policy: str = ""
    """Text of every pod's policy file, instead of a preset."""
    limits: Mapping[str, object] = field(default_factory=dict)
    reached_at: str | None = None
    """Where peers reach the relay, if not where it listens (``listen``)."""
    listen: str = field(default_factory=lambda: f"tcp://127.0.0.1:{free_port()}")
    grants: dict[str, str] = field(default_factory=dict)
    """Table to the id of the grant that covers it."""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _door: socket.socket = field(
        default_factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    )

    def membership(self, name: str) -> Path:
        """A peer's ``federation.toml``."""
        return self.home / name / "federation.toml"

    @property
    def analyst(self) -> Path:
        """The first analyst's ``federation.toml``."""
        return self.membership(self.analysts[0])

    @property
    def access(self) -> Path:
        """The policy service's ``federation.toml``."""
        return self.membership("access")

    def build(self) -> None:
        """Found, invite, join everybody, start every process, wait until all are ready."""
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        now = time.time_ns() // 1_000_000
        self._door.bind(str(self.home / "ready.sock"))
        peers = [(name, "pod") for name in self.pods]
        peers += [(name, "analyst") for name in self.analysts]
        peers += [(name, "modeller") for name in self.modellers]
        peers += [(name, "service") for name in self.services]
        endpoint = self.reached_at or self.listen
        choice = RelayChoice(endpoint=endpoint, plan=plan_relay(endpoint, listen=self.listen))
        founded = found("newyork", self.home / "convener", choice, now=now, invites=peers)
        self.run(["federation", "serve", "--dir", str(self.home / "convener")], ready=1)
        for name, line in founded.invites:
            join(line, self.home / name, way=WayOut(environ={}), now=now)
        if self.service:
            self._grant(now)
        for name in self.services:
            self.serve_policy(name)
        for name, tables in self.pods.items():
            self._write_pod(name, tables)
            self.serve_pod(name, ready=0)
        self._await(len(self.pods))

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the policy services."""
        return ("access",) * self.service + self.further

    def serve_policy(self, name: str = "access") -> "subprocess.Popen[bytes]":
        """Start a policy service's process."""
        return self.run(["policy", "serve", "--federation", str(self.membership(name))], ready=1)

    def serve_pod(self, name: str, *, ready: int = 1) -> "subprocess.Popen[bytes]":
        """Start a pod's process."""
        return self.run(
            ["pod", "serve", "--config", str(self.home / name / "pod.toml")], ready=ready
        )

    def serve_modeller(self, name: str) -> "subprocess.Popen[bytes]":
        """Start a modeller's process; its ``modeller.toml`` must be there."""
        return self.run(["modeller", "serve", "--home", str(self.home / name)], ready=1)

    def _grant(self, now: int) -> None:
        database = Database(store_path(self.access))
        orders = Orders(database, lambda: now)
        tables = sorted({table for pod in self.pods.values() for table in pod})
        for analyst in self.analysts if self.granted is None else self.granted:
            keys = load_membership(self.membership(analyst)).keys
            for table in tables:
                grant = make_grant(
                    analyst=keys.identity_public, now=now, tables=[table], release="rows"
                )
                self.grants[table] = orders.grant(CONSOLE, grant, name=analyst).grant_id
        database.close()

    def _write_pod(self, name: str, tables: Tables) -> None:
        services = [load_membership(self.membership(one)).keys.fingerprint for one in self.services]
        sections: dict[str, Mapping[str, object]] = {
            "pod": {"federation": "federation.toml", "state": "state"},
            "policy": {**self._rules(name), "services": services},
            "limits": self.limits,
        }
        sections |= {f'tables."{table}"': section for table, section in tables.items()}
        (self.home / name / "pod.toml").write_text(toml_text(sections), encoding="utf-8")

    def _rules(self, name: str) -> Mapping[str, object]:
        if not self.policy:
            return {"preset": self.preset}
        (self.home / name / "policy.toml").write_text(self.policy, encoding="utf-8")
        return {"file": "policy.toml"}

    def run(self, arguments: Sequence[str], *, ready: int) -> "subprocess.Popen[bytes]":
        """Start ``podsql ARGUMENTS`` and wait for ``ready`` processes to report."""
        environ = {**os.environ, "NOTIFY_SOCKET": str(self.home / "ready.sock")}
        with (self.home / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "podsql", *arguments],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        self._await(ready)
        return process

    def _await(self, count: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while count:
            self._door.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                self._door.recv(64)
            except TimeoutError:
                raise error(
                    "POD_LOST",
                    "a process of the federation did not start",
                    hint=f"see {self.home / 'log.txt'}",
                ) from None
            count -= 1

    def close(self) -> None:
        """End every process, the last started first."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._door.close()


def free_port() -> int:
    """A TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
