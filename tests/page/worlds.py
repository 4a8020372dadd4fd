"""The page served for real on loopback, over real stores, with a clock that tests set."""

import re
import socket
import threading
from html import unescape

import httpx
import uvicorn

from podsql.messages import encode
from podsql.pod.trying import try_policy
from podsql.policy.service import pods
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE, Officer
from podsql.policy.service.orders import Orders
from podsql.policy.service.page.app import make_app
from podsql.policy.service.page.hosting import Site, Tenant, by_name
from podsql.policy.service.page.page_file import PageFile
from podsql.policy.service.people import Project
from podsql.policy.service.reviews import Review, hold
from podsql.policy.service.store import Decided, log_decision
from podsql.relay.cards import make_card, read_card
from podsql.relay.keys import PeerKeys, fingerprint
from podsql.service_messages import BudgetLine, PodReport, TableCard

NOW = 1_790_000_000_000
MINUTE, DAY = 60_000, 86_400_000
PASSWORD = "correct horse battery"
ANA, BEN, NORTH, SOUTH = (PeerKeys.generate() for _ in range(4))


ANA_KEY, BEN_KEY = fingerprint(ANA.identity_public), fingerprint(BEN.identity_public)


def card(keys, name, role):
    return read_card(make_card(keys, name=name, role=role, now=NOW))


MEMBERS = (card(ANA, "ana", "analyst"), card(BEN, "ben", "analyst"), card(NORTH, "north", "pod"))


class Federation:
    """One tenant with its store, and what a test does on the service's own machine."""

    def __init__(self, folder, name, clock, file) -> None:
        self.name = name
        self.clock = clock
        self.database = Database(folder / f"{name}.sqlite")
        self.orders = Orders(self.database, clock)
        self.tenant = Tenant(
            name=name, database=self.database, members=lambda: MEMBERS, file=file or PageFile()
        )

    def officer(self, name, role="admin", **more):
        """An officer without a password."""
        self.orders.add_officer(CONSOLE, Officer(name=name, role=role, **more))
        return self.orders.invite(CONSOLE, name)

    def wish(self, keys=ANA, **more):
        base = {"analyst": keys.identity_public, "now": self.clock(), "tables": ("visits",)}
        return make_grant(**{**base, "purpose": "cohort", **more})

    def ask(self, keys=ANA, name="ana", reason="a study of sepsis", **more):
        return self.orders.ask(self.wish(keys, **more), name=name, asked_by=name, reason=reason)

    def grant(self, keys=ANA, name="ana", **more):
        return self.orders.grant(CONSOLE, self.wish(keys, **more), name=name).grant_id

    def report(self, pod="north", keys=NORTH, **more):
        pods.keep(
            self.database,
            pod,
            keys.identity_public,
            make_report(self.clock(), **more),
            self.clock(),
        )


def make_report(now, **more):
    visits = TableCard(
        name="main.visits",
        kind="federated",
        privacy_unit="patient_id",
        release="sdc_local",
        columns=(
            ("visit_id", "BIGINT", "join_key"),
            ("patient_id", "BIGINT", "entity_key"),
            ("sex", "VARCHAR", "dimension, filter"),
            ("age", "INTEGER", "measure, filter"),
        ),
    )
    base = {
        "time": now,
        "version": "0.1.0",
        "paused": False,
        "policy": "clinic",
        "policy_hash": "ab" * 32,
        "policy_words": (
            "Anybody whom the federation lists may ask.",
            "Groups under 10 are hidden.",
        ),
        "data_version": "v7",
        "tables": (visits,),
        "budgets": (BudgetLine(scope="cohort / ana", spent=1.5, budget=2.0, charges=6),),
        "audit_count": 12,
        "audit_head": "cd" * 32,
    }
    return PodReport(**{**base, **more})


assert encode(make_report(0))


class World:
    """A running page and its federations."""

    def __init__(self, folder, files) -> None:
        self.now = NOW
        self.federations = {
            name: Federation(folder, name, lambda: self.now, file) for name, file in files.items()
        }
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.origin = f"http://localhost:{self.port}"
        self.site = Site(
            tenants=by_name([one.tenant for one in self.federations.values()]),
            origins=(self.origin, f"http://127.0.0.1:{self.port}"),
            clock=lambda: self.now,
            try_policy=lambda policy, tables, sql, person: try_policy(
                policy, tables, sql, person=person
            ),
        )
        config = uvicorn.Config(make_app(self.site), log_level="critical", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __getitem__(self, name) -> Federation:
        return self.federations[name]

    def __enter__(self):
        self._socket.listen(64)  # connections wait there until the loop runs: no need to look
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        for one in self.federations.values():
            one.database.close()


class Browser:
    """A person's browser as far as HTTP goes: cookies, forms, and where they were sent from."""

    def __init__(self, world, federation="clinics", *, address="") -> None:
        self.world = world
        self.federation = federation
        self.home = f"/f/{federation}/"
        headers = {"x-forwarded-for": address} if address else {}
        self.http = httpx.Client(base_url=world.origin, headers=headers, trust_env=False)
        self.last = None

    def get(self, path="", *, follow=True, **more):
        address = path if path.startswith("/") else self.home + path
        self.last = self.http.get(address, follow_redirects=follow, **more)
        return self.last

    def post(self, path, *, form=None, follow=True, origin=None, **fields):
        address = path if path.startswith("/") else self.home + path
        sent = {"csrf": self.csrf(), **fields} if form is None else form
        self.last = self.http.post(
            address,
            data=sent,
            headers={"origin": origin or self.world.origin},
            follow_redirects=follow,
        )
        return self.last

    def csrf(self):
        found = re.search(r'name="csrf" value="([^"]+)"', self.last.text if self.last else "")
        return unescape(found[1]) if found else ""

    def take_link(self, token, password=PASSWORD):
        self.get(f"link/{token}")
        return self.post(f"link/{token}", password=password, again=password)

    def sign_in(self, name, password=PASSWORD):
        self.get("sign-in")
        return self.post("sign-in", name=name, password=password)

    def close(self):
        self.http.close()


def fill(federation, *, name="ana", reason="a study of sepsis", table="visits"):
    """Something on every page; ``name`` and ``reason`` may be as hostile as they like."""
    now, database = federation.clock(), federation.database
    federation.report()
    federation.report("south", SOUTH, paused=True, budgets=())
    federation.orders.set_project(
        CONSOLE,
        Project(
            name="sepsis",
            title=reason,
            purpose="cohort",
            lawful_basis="GDPR 9(2)(j)",
            ethics="EC-1",
            ends=now + 20 * DAY,
        ),
    )
    federation.ask(
        name=name, reason=reason, tables=(table,), project="sepsis", until=now + 90 * DAY
    )
    federation.ask(BEN, "ben", release="rows")
    grant_id = federation.grant(name=name, tables=(table, "main.labs"), until=now + 10 * DAY)
    federation.orders.revoke(CONSOLE, federation.grant(BEN, "ben"))
    federation.orders.describe(
        CONSOLE,
        BEN.identity_public,
        name="ben",
        organisation=reason,
        contact="",
        trained_until=now - DAY,
    )
    held = Review(
        id="result-1",
        pod="north",
        analyst=ANA.identity_public,
        purpose="cohort",
        project="sepsis",
        tables=(table,),
        release="sdc_local",
        rows=12,
        withheld=2,
        size=4096,
        columns=3,
        query_hash=b"q" * 32,
        result_hash=b"r" * 32,
        created=now,
    )
    with database.write() as db:
        hold(db, held)
    for allow in (True, False):
        decided = Decided(
            time=now,
            pod="north",
            analyst=ANA.identity_public,
            tables=(table,),
            purpose="cohort",
            project="sepsis",
            allow=allow,
            reason="granted" if allow else reason,
            query_hash=b"h" * 32,
        )
        log_decision(database, decided)
    return grant_id


def pages(federation):
    """Every page that an administrator can open."""
    (grant, *_) = federation.database.read("SELECT grant_id FROM grants ORDER BY created, revoked")
    officer = federation.database.read("SELECT name FROM officers WHERE ended IS NULL LIMIT 1")[0][
        "name"
    ]
    return [
        "",
        "requests",
        "requests?state=",
        "requests/1",
        "requests/2",
        "grants",
        "grants?state=",
        f"grants/{grant['grant_id']}",
        "grants/new",
        "people",
        f"people/{ANA_KEY}",
        f"people/{BEN_KEY}",
        "projects",
        "projects/new",
        "projects/of/sepsis",
        "pods",
        "pods/north",
        "pods/south",
        "budgets",
        "results",
        "results/result-1",
        "decisions",
        "decisions?answer=denied",
        "history",
        "policies",
        "settings",
        f"officers/{officer}",
        "freeze",
        "account",
    ]
