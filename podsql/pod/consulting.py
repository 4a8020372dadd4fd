"""The pod's side of its policy services: who they are now, and what they say of a request.

Runs on the I/O thread. ``policy.decisions`` holds the rules; this sends and receives.
"""

import os
import time
from collections.abc import Callable

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import RequestHead
from podsql.policy.decisions import Consultation, Outcome
from podsql.relay.cards import Card
from podsql.relay.sockets.endpoint import Endpoint


class Services:
    """The policy services that a pod's configuration pins, by fingerprint."""

    def __init__(self, endpoint: Endpoint, fingerprints: tuple[str, ...]) -> None:
        self._endpoint = endpoint
        self._fingerprints = fingerprints

    def __bool__(self) -> bool:
        return bool(self._fingerprints)

    def cards(self) -> tuple[Card | None, ...]:
        """Their cards; None for one the manifest does not list."""
        manifest = self._endpoint.store.current
        listed = {
            card.fingerprint: card
            for card in (manifest.members() if manifest else ())
            if card.role == "service"
        }
        return tuple(listed.get(mark) for mark in self._fingerprints)

    def consult(
        self,
        document: Signed,
        head: RequestHead,
        *,
        given_up: Callable[[], bool],
        then: Callable[[Outcome], None],
    ) -> None:
        """Ask every service about a request; ``then`` runs once, unless it was given up before."""
        cards = self.cards()
        found = {card.identity: card for card in cards if card is not None}
        if len(found) < len(cards):
            raise error("POLICY_UNAVAILABLE", "a policy service is not in the manifest")
        consultation = Consultation(
            document=document, head=head, services=tuple(found), random=os.urandom
        )
        ended = False

        def heard(service: bytes, reply: bytes | Error) -> None:
            if isinstance(reply, Error):
                consultation.failed(service, time.monotonic())
            else:
                consultation.answered(service, reply, time.time_ns() // 1_000_000)
            step()

        def step() -> None:
            """Send what is due, and look again when something was heard."""
            nonlocal ended
            if ended or given_up():
                return
            for service, body in consultation.tick(time.monotonic()).items():
                self._endpoint.call(
                    found[service],
                    body,
                    timeout=2.0,
                    on_reply=lambda reply, service=service: heard(service, reply),  # type: ignore[misc]
                )
            outcome = consultation.outcome()
            if outcome != "waiting":
                ended = True
                then(outcome)

        step()
