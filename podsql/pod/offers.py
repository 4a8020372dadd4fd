"""Offers a pod has made: signed, per analyst, purpose and project, kept until they expire.

With policy services an offer is the intersection of the pod's file and every service's grants,
fetched now; a service that does not answer makes the offer unavailable, never wider, unless what it
signed before may stand for it (``Services.alone``).
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

import msgspec

from podsql.errors import Error
from podsql.message import Signed
from podsql.messages import OfferReply, OfferRequest, decode, encode
from podsql.planner.offer import Offer
from podsql.pod.consulting import Services
from podsql.pod.holding import Holding
from podsql.pod.refusing import refuse
from podsql.policy.decisions import Unavailable, read_grants
from podsql.policy.document import Release as ReleaseMode
from podsql.policy.person import Person
from podsql.relay.signing import sign
from podsql.relay.sockets.endpoint import Endpoint, Request
from podsql.service_messages import Grant, GrantsReply, GrantsRequest

OFFER_MS = 5 * 60 * 1000
KEPT = 4096
SERVICE_SECONDS = 4.0

Key = tuple[bytes, str, str]
Answer = Callable[[OfferReply | Error], None]


class OfferBook:
    """Makes offers and remembers which version each analyst holds. I/O thread only."""

    def __init__(self, *, pod: str, seed: bytes, endpoint: Endpoint, services: Services) -> None:
        self._pod = pod
        self._seed = seed
        self._endpoint = endpoint
        self._services = services
        self._kept: OrderedDict[Key, tuple[str, int, Signed]] = OrderedDict()

    def clear(self) -> None:
        """Data or policy changed: every analyst must bind again."""
        self._kept.clear()

    def current(self, person: Person, purpose: str, project: str, now: int) -> str | None:
        """Version of the offer ``person`` holds, None if there is none in force."""
        kept = self._kept.get((person.identity, purpose, project))
        return kept[0] if kept and kept[1] > now else None

    def releases(
        self, person: Person, purpose: str, project: str, now: int
    ) -> dict[str, ReleaseMode]:
        """Release of every table of the offer ``person`` holds."""
        kept = self._kept.get((person.identity, purpose, project))
        if kept is None or kept[1] <= now:
            return {}
        offer = msgspec.msgpack.decode(kept[2].body, type=Offer)
        return {table.name.lower(): table.release for table in offer.tables}

    def forget(self, analyst: bytes) -> None:
        """A right of ``analyst`` ended: what was offered is so no more."""
        for key in [key for key in self._kept if key[0] == analyst]:
            del self._kept[key]

    def serve(
        self, request: Request, asked: OfferRequest, person: Person, holding: Holding, now: int
    ) -> None:
        """Answer with an offer, at once or when every service has sent its grants."""

        def answer(offer: OfferReply | Error) -> None:
            if isinstance(offer, Error):
                refuse(request, offer)
            else:
                request.reply(encode(offer))

        key = (person.identity, asked.purpose, asked.project)
        kept = self._kept.get(key)
        # What a service grants may have changed since, and must hold at once.
        if kept and not self._services and kept[1] - OFFER_MS // 2 > now:
            answer(OfferReply(offer=kept[2]))
        elif not self._services:
            answer(self._make(key, person, holding, (), now))
        else:
            self._consult(key, person, holding, now, answer)

    def _consult(
        self, key: Key, person: Person, holding: Holding, now: int, answer: Answer
    ) -> None:
        services = self._services.known()
        nonces = {service: os.urandom(16) for service in services}
        found: dict[bytes, tuple[Grant, ...]] = {}
        ended = False

        def replied(service: bytes, reply: bytes | Error) -> None:
            nonlocal ended
            if ended:
                return
            try:
                found[service] = self._granted(service, nonces[service], key, reply, now)
                if len(found) == len(services):
                    ended = True
                    grants = tuple(found[one] for one in services)
                    answer(self._make(key, person, holding, grants, now))
            except Error as fault:
                ended = True
                answer(fault)

        for service, card in services.items():
            ask = GrantsRequest(
                analyst=person.identity, purpose=key[1], project=key[2], nonce=nonces[service]
            )
            self._endpoint.call(
                card,
                encode(ask),
                timeout=SERVICE_SECONDS,
                on_reply=lambda reply, service=service: replied(service, reply),  # type: ignore[misc]
            )

    def _granted(
        self, service: bytes, nonce: bytes, key: Key, reply: bytes | Error, now: int
    ) -> tuple[Grant, ...]:
        """What one service grants; Unavailable if it does not say."""
        if isinstance(reply, Error):
            return self._services.alone(service, *key)
        message = decode(reply)
        if not isinstance(message, GrantsReply):
            raise Unavailable("sent no grants")
        grants = read_grants(message, service=service, nonce=nonce, analyst=key[0], now=now)
        self._services.grants.keep((service, *key), grants)
        return grants

    def _make(
        self,
        key: Key,
        person: Person,
        holding: Holding,
        grants: tuple[tuple[Grant, ...], ...],
        now: int,
    ) -> OfferReply:
        _, purpose, project = key
        tables = holding.gate.offer_tables(person, purpose, project, now, grants)
        content = msgspec.msgpack.encode((self._pod, purpose, project, tables))
        version = blake2b(content, digest_size=16, person=b"ps-offer").hexdigest()
        ends = [grant.until for service in grants for grant in service]
        expires = min([now + OFFER_MS, *ends])
        offer = Offer(pod=self._pod, version=version, tables=tables, issued=now, expires=expires)
        signed = sign("offer", msgspec.msgpack.encode(offer), self._seed)
        self._kept[key] = (version, expires, signed)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return OfferReply(offer=signed)
