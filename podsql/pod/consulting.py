"""The pod's side of its policy services: who they are now, and what they say of a request.

Runs on the I/O thread. ``policy.decisions`` holds the rules; this sends and receives. With
``offline``, grants that a silent service signed before decide in its place (``policy.revocations``).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podsql.errors import Error
from podsql.message import Signed
from podsql.messages import RequestHead
from podsql.pod.beliefs import Beliefs
from podsql.pod.kept_grants import KeptGrants
from podsql.policy.decisions import Answer, Consultation, Lost, Outcome, Unavailable
from podsql.policy.revocations import decide_alone, grants_alone
from podsql.relay.cards import Card
from podsql.relay.keys import fingerprint_key
from podsql.relay.sockets.endpoint import Endpoint
from podsql.service_messages import Grant


class Services:
    """The policy services that a pod's configuration pins, by fingerprint."""

    def __init__(
        self,
        endpoint: Endpoint,
        fingerprints: tuple[str, ...],
        kept: Path,
        *,
        pod: str,
        offline: bool,
        clock: Callable[[], int],
    ) -> None:
        """``kept``: the file of beliefs. ``clock``: ms since the epoch, never backwards."""
        self.fingerprints = fingerprints
        self.beliefs = Beliefs(kept, fingerprints)
        self.grants = KeptGrants()
        self.clock = clock
        self._endpoint = endpoint
        self._pod = pod
        self._offline = offline

    def __bool__(self) -> bool:
        return bool(self.fingerprints)

    def cards(self) -> tuple[Card | None, ...]:
        """Their cards; None for one the manifest does not list."""
        manifest = self._endpoint.store.current
        listed = {
            card.fingerprint: card
            for card in (manifest.members() if manifest else ())
            if card.role == "service"
        }
        return tuple(listed.get(mark) for mark in self.fingerprints)

    def status(self) -> list[dict[str, Any]]:
        """What a custodian may want to know of each. Times are ms since the epoch, 0 for never."""
        cards = dict(zip(self.fingerprints, self.cards(), strict=True))
        found = []
        for mark, card in cards.items():
            service = fingerprint_key(mark)
            belief = self.beliefs.of(service)
            found.append(
                {
                    "fingerprint": mark,
                    "name": card.name if card is not None else "",
                    "in_manifest": card is not None,
                    "heard": self.beliefs.heard.get(service, 0),
                    "epoch": belief.epoch,
                    "frozen": belief.frozen,
                    "fresh_until": belief.next_update,
                }
            )
        return found

    def known(self) -> dict[bytes, Card]:
        """Their cards by identity key; Unavailable if the manifest lacks one."""
        found = [card for card in self.cards() if card is not None]
        if len(found) < len(self.fingerprints):
            raise Unavailable("not in the manifest")
        return {card.identity: card for card in found}

    def alone(
        self, service: bytes, analyst: bytes, purpose: str, project: str
    ) -> tuple[Grant, ...]:
        """What ``service`` granted before and still counts while it is silent; or Unavailable."""
        if not self._offline:
            raise Unavailable("no answer in time")
        kept = self.grants.of((service, analyst, purpose, project))
        belief = self.beliefs.of(service)
        return grants_alone(kept, analyst=analyst, belief=belief, now=self.clock())

    def consult(
        self,
        document: Signed,
        head: RequestHead,
        *,
        order: Signed | None,
        given_up: Callable[[], bool],
        then: Callable[[Outcome], None],
    ) -> None:
        """Ask every service about a request; ``then`` runs once, unless it was given up before.

        ``order``: of the analyst, where a modeller signed the request."""
        found = self.known()

        def silent(service: bytes) -> Answer:
            try:
                grants = self.alone(service, head.analyst, head.purpose, head.project)
            except Unavailable as fault:
                return Lost(reason=fault.reason)
            return decide_alone(head, grants, pod=self._pod, now=self.clock())

        consultation = Consultation(
            document=document,
            head=head,
            order=order,
            services=tuple(found),
            random=os.urandom,
            floor=lambda service: self.beliefs.of(service).epoch,
            silent=silent,
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
                then(self._believed(consultation, outcome))

        step()

    def _believed(self, consultation: Consultation, outcome: Outcome) -> Outcome:
        """``outcome``, once the epochs that the services spoke of are on the disk."""
        try:
            now = time.time_ns() // 1_000_000
            for service, epoch in consultation.epochs.items():
                # A list that came meanwhile may have a higher number: it was obeyed by itself.
                reached = max(epoch, self.beliefs.of(service).epoch)
                self.beliefs.reached(service, reached, now)
        except Error as fault:
            return Lost(reason=fault.code)
        return outcome
