"""An analyst's view of one federation: its endpoint, the pods of the manifest, what they offer.

Offers are fetched in parallel, verified against the pod's card and cached per purpose and project
until they expire, the manifest changes or a pod answers STALE_OFFER. Thread-safe.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from queue import SimpleQueue

import msgspec

from podsql.analyst.behalf import Behalf
from podsql.errors import Error, error
from podsql.membership import Membership
from podsql.messages import OfferReply, OfferRequest, encode, reply_of
from podsql.planner.catalog import Catalog, build_catalog
from podsql.planner.offer import Offer
from podsql.relay.cards import Card
from podsql.relay.signing import verify
from podsql.relay.sockets.endpoint import Endpoint

PATIENCE = 10.0
"""Seconds a pod gets to say what it offers before it counts as missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Offers of the pods that answered, the catalog they make, and who is missing and why."""

    catalog: Catalog
    training: Catalog
    """The tables that models may be trained on."""
    offers: Mapping[str, Offer]
    cards: Mapping[str, Card]
    missing: Mapping[str, Error]


class Federation:
    """One analyst's connection to a federation; or a modeller's, in an analyst's place.

    ``endpoint``: one that is open already. ``behalf``: the order by which another is asked for.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        endpoint: Endpoint | None = None,
        behalf: Behalf | None = None,
    ) -> None:
        self.membership = membership
        self.behalf = behalf
        self.endpoint = endpoint or Endpoint(
            keys=membership.keys,
            relay=membership.relay,
            store=membership.store,
            egress=membership.egress,
            name=membership.name,
        )
        self._lock = threading.Lock()
        self._bound: dict[tuple[str, str], tuple[int, int, Bound]] = {}

    def open(self, timeout: float = 10.0) -> None:
        """Connect to the relay and fetch the manifest."""
        self.endpoint.start(timeout)

    def close(self) -> None:
        """Close every session."""
        self.endpoint.close()

    def pods(self) -> tuple[Card, ...]:
        """The manifest's pods in canonical (name) order, of which an order names some."""
        manifest = self.membership.store.current
        cards = [c for c in (manifest.members() if manifest else ()) if c.role == "pod"]
        if self.behalf is not None:
            cards = [c for c in cards if c.identity in self.behalf.order.pods]
        return tuple(sorted(cards, key=lambda c: c.name))

    @property
    def asker(self) -> bytes:
        """Identity key of whom is asked for."""
        if self.behalf is not None:
            return self.behalf.order.analyst
        return self.membership.keys.identity_public

    def worded(self, body: bytes) -> bytes:
        """What is sent to ask ``body`` of a pod."""
        return body if self.behalf is None else self.behalf.worded(body)

    def holds(self, purpose: str, project: str) -> bool:
        """Whether offers of an earlier statement are kept."""
        with self._lock:
            return (purpose, project) in self._bound

    def forget(self, purpose: str, project: str) -> None:
        """Drop cached offers: a pod has moved on."""
        with self._lock:
            self._bound.pop((purpose, project), None)

    def bind(self, purpose: str, project: str, *, deadline: float) -> Bound:
        """Offers of all pods for ``purpose``; missing pods are listed, not raised.

        ``deadline`` is on the monotonic clock.
        """
        manifest = self.membership.store.current
        version = manifest.version if manifest else 0
        now_ms = time.time_ns() // 1_000_000
        with self._lock:
            known = self._bound.get((purpose, project))
        if known and known[0] == version and now_ms < known[1]:
            return known[2]
        pods = self.pods()
        if not pods:
            raise error(
                "NO_PODS",
                "the federation has no pods",
                hint="invite one: podsql invite NAME --role pod",
            )
        bound = self._ask(pods, purpose, project, deadline)
        if not bound.missing:
            expires = min(offer.expires for offer in bound.offers.values())
            with self._lock:
                self._bound[purpose, project] = (version, expires, bound)
        return bound

    def _ask(self, pods: tuple[Card, ...], purpose: str, project: str, deadline: float) -> Bound:
        body = self.worded(encode(OfferRequest(purpose=purpose, project=project)))
        answers: SimpleQueue[tuple[Card, bytes | Error]] = SimpleQueue()
        patience = min(PATIENCE, max(0.1, deadline - time.monotonic()))
        for card in pods:
            self.endpoint.call(
                card,
                body,
                timeout=patience,
                on_reply=lambda reply, card=card: answers.put((card, reply)),  # type: ignore[misc]
            )
        offers: dict[str, Offer] = {}
        missing: dict[str, Error] = {}
        for _ in pods:
            card, reply = answers.get()
            try:
                offers[card.name] = read_offer(card, reply)
            except Error as fault:
                fault.pod = card.name
                missing[card.name] = fault
        ordered = {name: offers[name] for name in sorted(offers)}
        return Bound(
            catalog=build_catalog(ordered),
            training=build_catalog(ordered, "train"),
            offers=ordered,
            cards={c.name: c for c in pods},
            missing=missing,
        )


def read_offer(card: Card, reply: bytes | Error) -> Offer:
    """Verify a pod's signed offer: by this pod's key, about this pod."""
    message = reply_of(OfferReply, reply, "the pod did not answer with an offer", pod=card.name)
    body = verify(message.offer, "offer", card.identity)
    try:
        offer = msgspec.msgpack.decode(body, type=Offer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "the offer does not decode", pod=card.name) from None
    if offer.pod != card.name:
        raise error("BAD_MESSAGE", "the offer is about another pod", pod=card.name)
    return offer
