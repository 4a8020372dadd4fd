"""A policy service over a real file, with a clock, a roster and officers that tests set."""

import os
from pathlib import Path

from podsql.message import Message, Signed
from podsql.messages import encode
from podsql.policy.service.database import Database
from podsql.policy.service.granting import all_grants, make_grant
from podsql.policy.service.officers import CONSOLE, Officer, by_name
from podsql.policy.service.orders import Orders
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store
from podsql.relay.cards import Card, make_card, read_card
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.service_messages import Order, OrderRequest

NOW = 1_770_000_000_000
MINUTE = 60_000
DAY = 86_400_000
SERVICE, OTHER_SERVICE, ANA, BEN, CARA, DAN = (PeerKeys.generate() for _ in range(6))


def card(keys: PeerKeys, name: str, role: str = "analyst") -> Card:
    return read_card(make_card(keys, name=name, role=role, now=NOW))


CARDS = {
    "ana": card(ANA, "ana"),
    "ben": card(BEN, "ben"),
    "cara": card(CARA, "cara"),
    "north": card(DAN, "north", "pod"),
}


class Roster:
    """What the service asks of a manifest."""

    def by_identity(self, key: bytes) -> Card | None:
        return next((one for one in CARDS.values() if one.identity == key), None)

    def members(self) -> tuple[Card, ...]:
        return tuple(CARDS.values())


class ServiceDesk:
    """``ben`` is an approver by key, ``root`` an admin, ``vera`` a viewer without keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOW
        self.store = Store(path)
        self.orders = Orders(self.store.database, lambda: self.now)
        self.service = PolicyService(
            store=self.store, keys=SERVICE, manifest=Roster, clock=lambda: self.now
        )
        for officer in (
            Officer(name="root", role="admin"),
            Officer(name="ben", role="approver", identity=BEN.identity_public),
            Officer(name="max", role="approver"),
            Officer(name="vera", role="viewer"),
        ):
            self.orders.add_officer(CONSOLE, officer)

    @property
    def database(self) -> Database:
        return self.store.database

    def officer(self, name: str) -> Officer:
        found = by_name(self.database, name)
        assert found is not None
        return found

    def wish(self, keys: PeerKeys = ANA, **more):
        return make_grant(analyst=keys.identity_public, now=self.now, tables=["visits"], **more)

    def ask(self, keys: PeerKeys = ANA, name: str = "ana", **more) -> int:
        return self.orders.ask(self.wish(keys, **more), name=name, asked_by=name, reason="study 7")

    def in_force(self) -> list[str]:
        """Ids of grants in force."""
        return [one.grant.grant_id for one in all_grants(self.database) if one.in_force(self.now)]

    def dump(self) -> list[str]:
        """All that is in the file, but the ids of orders that were used up."""
        lines = self.database._slow.iterdump()
        return [line for line in lines if not line.startswith('INSERT INTO "orders"')]

    def send(self, peer: Card, message: Message) -> Message:
        """What the service answers to ``peer``."""
        return self.service.answer(peer, encode(message))

    def give(self, keys: PeerKeys, peer: Card, act: str, **more) -> Message:
        """An order as its author's own side makes it, unless ``more`` says otherwise."""
        return self.send(peer, OrderRequest(order=signed(order(keys, act, **more), keys)))

    def close(self) -> None:
        self.store.close()


def order(keys: PeerKeys, act: str, **more) -> Order:
    base = {
        "id": os.urandom(16),
        "service": SERVICE.identity_public,
        "actor": keys.identity_public,
        "created": NOW,
        "act": act,
    }
    return Order(**{**base, **more})


def signed(written: Order, keys: PeerKeys) -> Signed:
    return sign("order", encode(written), keys.identity)
