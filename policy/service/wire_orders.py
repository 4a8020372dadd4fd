"""Orders that come in SQL, signed by the person who gives them: from the message to the act.

An analyst asks, withdraws and reads their own; who is an officer by that key also grants, revokes
and reads everybody's. Rule to keep: an order is done once, however often it is sent.
"""

from collections.abc import Callable
from typing import Final

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import decode_as
from podsql.policy.service.asking import Asked, requests
from podsql.policy.service.database import Database
from podsql.policy.service.granting import (
    FOREVER,
    Granted,
    all_grants,
    make_grant,
)
from podsql.policy.service.officers import Officer, by_identity
from podsql.policy.service.orders import Orders
from podsql.policy.service.people import people
from podsql.relay.cards import Card
from podsql.relay.keys import fingerprint
from podsql.relay.signing import verify
from podsql.service_messages import Order, OrderReply, RightsLine, RightsReply

SKEW_MS: Final = 60_000
ID_BYTES: Final = 16
LINES: Final = 1_000
"""Grants and requests of one reply, which must fit into one message."""

Resolve = Callable[[str], Card | None]
"""A member by name or fingerprint."""


class WireOrders:
    """``service``: own identity key. ``clock``: ms since the epoch."""

    def __init__(
        self, database: Database, *, service: bytes, resolve: Resolve, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._orders = Orders(database, clock)
        self._service = service
        self._resolve = resolve
        self._clock = clock

    def obey(self, peer: Card, document: Signed) -> OrderReply:
        """Do what ``peer`` signed; the coded reason why not."""
        order = decode_as(Order, verify(document, "order", peer.identity))
        now = self._clock()
        if order.actor != peer.identity or order.service != self._service:
            raise error("SIGNATURE", "the order is meant for another service, or another's")
        if abs(now - order.created) > SKEW_MS:
            raise error("CLOCK", "the order's time is not now", hint="check both clocks")
        if len(order.id) != ID_BYTES:
            raise error("BAD_MESSAGE", "an order needs an id")
        if order.act in ("grant", "revoke"):
            self._officer(peer)  # before anything is written for a stranger
        self._take(order.id, now)
        match order.act:
            case "ask":
                return self._ask(peer, order, now)
            case "withdraw":
                self._orders.withdraw(peer.identity, order.request)
                return OrderReply(request=order.request)
            case "grant":
                return self._grant(peer, order, now)
            case "revoke":
                return self._revoke(peer, order)

    def rights(self, peer: Card, *, everybody: bool, start: int = 0) -> RightsReply:
        """Grants and requests from ``start`` on: the peer's own, or everybody's for an officer."""
        if everybody:
            self._officer(peer).require("viewer")
        now = self._clock()
        own = None if everybody else peer.identity
        asked = [_request_line(one) for one in requests(self._database, analyst=own, limit=-1)]
        given = [
            _grant_line(one, now)
            for one in all_grants(self._database)
            if own is None or one.grant.analyst == own
        ]
        end = max(0, start) + LINES
        lines = (*given, *asked)
        return RightsReply(lines=lines[max(0, start) : end], more=end < len(lines))

    def _take(self, ident: bytes, now: int) -> None:
        """Use an order's id up; REPLAY if it was used before."""
        with self._database.write() as db:
            # Older ones are refused by their time.
            db.execute("DELETE FROM orders WHERE time < ?", (now - 3 * SKEW_MS,))
            done = db.execute(
                "INSERT INTO orders VALUES (?, ?) ON CONFLICT DO NOTHING", (ident, now)
            )
        if not done.rowcount:
            raise error("REPLAY", "this order was given before")

    def _ask(self, peer: Card, order: Order, now: int) -> OrderReply:
        if not order.tables:
            raise error("ARGUMENT", "a request names tables")
        wish = make_grant(
            analyst=peer.identity,
            now=now,
            pod=order.pod,
            tables=order.tables,
            purpose=order.purpose,
            project=order.project,
            release=order.release,
            until=order.until or None,
        )
        number = self._orders.ask(
            wish, name=peer.name, asked_by=peer.name, reason=order.reason, review=order.review
        )
        return OrderReply(request=number)

    def _grant(self, peer: Card, order: Order, now: int) -> OrderReply:
        officer, card = self._officer(peer), self._member(order.analyst)
        grant = make_grant(
            analyst=card.identity,
            now=now,
            pod=order.pod,
            tables=order.tables,
            purpose=order.purpose,
            project=order.project,
            release=order.release,
            until=order.until or None,
        )
        given = self._orders.grant(
            officer, grant, name=card.name, review=order.review, reason=order.reason
        )
        return OrderReply(grants=(given.grant_id,) if given.grant_id else (), request=given.request)

    def _revoke(self, peer: Card, order: Order) -> OrderReply:
        """By id; or every grant in force that names exactly these tables for this analyst."""
        officer = self._officer(peer)
        if order.grant_id:
            self._orders.revoke(officer, order.grant_id)
            return OrderReply(grants=(order.grant_id,))
        whom = self._known(order.analyst)
        wanted = {name if "." in name or "*" in name else f"main.{name}" for name in order.tables}
        found = [
            one.grant.grant_id
            for one in all_grants(self._database)
            if one.revoked is None
            and one.grant.analyst in whom
            and set(one.grant.tables) == wanted
            and order.pod in ("*", one.grant.pod)
        ]
        if not found:
            raise error("ARGUMENT", "no grant in force names these tables", hint="SHOW GRANTS")
        for grant_id in found:
            self._orders.revoke(officer, grant_id)
        return OrderReply(grants=tuple(found))

    def _officer(self, peer: Card) -> Officer:
        officer = by_identity(self._database, peer.identity)
        if officer is None:
            raise error("DENIED", "only an officer of the policy service may do this")
        return officer

    def _member(self, who: str) -> Card:
        card = self._resolve(who)
        if card is None:
            raise _nobody(who)
        return card

    def _known(self, who: str) -> set[bytes]:
        """Keys that a name or fingerprint stands for, also of people who left the federation."""
        found = {
            one.identity
            for one in people(self._database)
            if who in (one.name, fingerprint(one.identity))
        }
        card = self._resolve(who)
        found |= {card.identity} if card is not None else set()
        if not found:
            raise _nobody(who)
        return found


def _nobody(who: str) -> Error:
    return error("UNKNOWN_PEER", f"the federation has no member {who[:64]!r}")


def _grant_line(one: Granted, now: int) -> RightsLine:
    grant = one.grant
    state = "in force" if one.in_force(now) else "expired" if one.revoked is None else "revoked"
    return RightsLine(
        what="grant",
        id=grant.grant_id,
        analyst=one.name,
        pod=grant.pod,
        tables=grant.tables,
        purpose=grant.purpose,
        project=grant.project,
        release=grant.release,
        until=0 if grant.until >= FOREVER else grant.until,
        state="not yet" if one.revoked is None and now < grant.since else state,
        note="results are reviewed" if one.review else "",
    )


def _request_line(one: Asked) -> RightsLine:
    wish = one.wish
    return RightsLine(
        what="request",
        id=str(one.number),
        analyst=one.name,
        pod=wish.pod,
        tables=wish.tables,
        purpose=wish.purpose,
        project=wish.project,
        release=wish.release,
        until=0 if wish.until >= FOREVER else wish.until,
        state="approved once" if one.state == "open" and one.first_by else one.state,
        note=one.note,
    )
