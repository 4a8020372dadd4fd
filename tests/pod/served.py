"""A federation in this process whose pods ask policy services: real sockets, stores, processes' code.

A service can be stopped and started, set back to an older file, or be a hostile one of the test's.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa

import podsql
from podsql.errors import Error
from podsql.local_federation import LocalFederation
from podsql.pod.config import PolicySection
from podsql.policy.audit import Line, lines
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE, Officer
from podsql.policy.service.orders import Orders
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store
from podsql.policyd import Tenant, store_path
from podsql.relay.sockets.endpoint import Endpoint, Request

VISITS = {
    "north": pa.table(
        {
            "patient": list(range(40)),
            "sex": ["f", "m"] * 20,
            "age": [20 + i for i in range(40)],
        }
    )
}
COUNT = "SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY sex"
ANSWER = [("f", 20), ("m", 20)]
CAROL = Officer(name="carol", role="admin", identity=None)
PATIENCE = 20.0


def until(true: Callable[[], object]) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


Hostile = Callable[[PolicyService, Request], None]


class Served(LocalFederation):
    """With ``services``: names of policy services; ``hostile``: those that the test answers for."""

    def __init__(
        self,
        *,
        services=("access",),
        hostile=None,
        pinned=None,
        mode="online",
        pods=None,
        extra=None,
        **more,
    ):
        self.names = tuple(services)
        self.hostile: dict[str, Hostile] = hostile or {}
        self._pinned = (*self.names, *self.hostile) if pinned is None else pinned
        self._mode = mode
        self.tenants: dict[str, Tenant] = {}
        super().__init__(
            pods={
                name: {"visits": table, **(extra or {})} for name, table in (pods or VISITS).items()
            },
            reference={},
            local_keys={"visits": more.pop("keys", ["patient"])},
            privacy_unit={"visits": "patient"},
            policy=more.pop("policy", "open"),
            isolation=more.pop("isolation", "thread"),
            analysts=more.pop("analysts", ("ana", "bob")),
            **more,
        )

    def _roles(self):
        roles = super()._roles()
        return {**roles, **dict.fromkeys([*self.names, *self.hostile], "service")}

    def _found(self, home: Path, stack: ExitStack) -> None:
        super()._found(home, stack)
        stack.callback(lambda: [self.stop_service(name) for name in list(self.tenants)])
        for name in self.names:
            self._members[name].path.touch()  # where its store lies is found by it
            self.start_service(name)
        for name, answer in self.hostile.items():
            self._members[name].path.touch()
            stack.callback(self._start_hostile(name, answer))

    def _start_hostile(self, name: str, answer: Hostile) -> Callable[[], None]:
        """An honest service's keys, store and code, in the hands of ``answer``."""
        member = self._members[name]
        store = Store(store_path(member.path))
        honest = PolicyService(
            store=store,
            keys=member.keys,
            manifest=lambda: member.store.current,
            clock=lambda: time.time_ns() // 1_000_000,
        )
        endpoint = Endpoint(
            keys=member.keys,
            relay=member.relay,
            store=member.store,
            serve=lambda request: answer(honest, request),
            name=name,
        )
        endpoint.start()

        def close() -> None:
            endpoint.close()
            store.close()

        return close

    def _policy_section(self) -> PolicySection:
        base = super()._policy_section()
        marks = [self._members[name].keys.fingerprint for name in self._pinned]
        return PolicySection(
            file=base.file, preset=base.preset, services=tuple(marks), mode=self._mode
        )

    # -- services ------------------------------------------------------------------------------

    def start_service(self, name: str = "access") -> None:
        self.tenants[name] = Tenant(self._members[name])
        self.tenants[name].start()

    def stop_service(self, name: str = "access") -> None:
        self.tenants.pop(name).close()

    @contextmanager
    def orders(self, name: str = "access") -> Iterator[Orders]:
        """As another process would give them: on the file."""
        database = Database(store_path(self._members[name].path))
        try:
            yield Orders(database, lambda: time.time_ns() // 1_000_000)
        finally:
            database.close()

    def allow(self, analyst: str = "ana", *, service: str = "access", **more) -> str:
        review = more.pop("review", False)
        given = make_grant(
            analyst=self.key(analyst),
            now=time.time_ns() // 1_000_000,
            **{"release": "rows", **more},
        )
        with self.orders(service) as orders:
            return orders.grant(CONSOLE, given, name=analyst, review=review).grant_id

    def set_back(self, copy: Path, name: str = "access") -> None:
        """The service goes on with an older file."""
        self.stop_service(name)
        place = store_path(self._members[name].path)
        for suffix in ("-wal", "-shm"):
            place.with_name(place.name + suffix).unlink(missing_ok=True)
        shutil.copy(copy, place)
        self.start_service(name)

    # -- looking -------------------------------------------------------------------------------

    def key(self, name: str) -> bytes:
        return self._members[name].keys.identity_public

    def mark(self, name: str) -> str:
        return self._members[name].keys.fingerprint

    def audit(self, pod: str = "north") -> list[Line]:
        return list(lines(self.pods[pod].place / "audit.jsonl"))

    def events(self, event: str, pod: str = "north") -> list[Line]:
        return [line for line in self.audit(pod) if line.entry.event == event]


@contextmanager
def served(**more) -> Iterator[Served]:
    federation = Served(**more)
    federation.start()
    try:
        yield federation
    finally:
        federation.close()


def code_of(con: podsql.Connection, sql: str) -> str:
    """The code it ends with; "" if it is answered."""
    try:
        con.execute(sql).fetchall()
    except Error as fault:
        return fault.code
    return ""
