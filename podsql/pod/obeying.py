"""What a pod does when a policy service takes something back, and the line it writes about it.

A list comes as the answer to a report or by itself, when something changed. I/O thread only. Rule to
keep: effects are at once and only take away: what a custodian paused here, no service resumes.
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import Done, decode, encode
from podsql.pod.consulting import Services
from podsql.pod.refusing import refuse
from podsql.policy.audit import Audit, Entry, Event
from podsql.policy.decisions import Unavailable
from podsql.policy.revocations import Belief, read_list
from podsql.relay.cards import Card
from podsql.relay.keys import fingerprint, fingerprint_key
from podsql.relay.sockets.endpoint import Request
from podsql.service_messages import PodStanding

log = logging.getLogger("podsql.pod")

WENT_BACK_KEPT: Final = 256
"""Differences noted once each, not with every report."""


class Ends(Protocol):
    """Ends what runs, forgets what was offered and drops results: of one analyst, or all (None)."""

    def __call__(self, analyst: bytes | None) -> int: ...


class Obeying:
    """Takes the lists of the pinned services. ``changed`` is called after one had an effect."""

    def __init__(
        self, services: Services, *, audit: Audit, end: Ends, changed: Callable[[], None]
    ) -> None:
        self._services = services
        self._audit = audit
        self._end = end
        self._changed = changed
        self._told: set[tuple[bytes, int]] = set()

    def serve(self, request: Request) -> None:
        """A policy service calls: something changed there."""
        try:
            message = decode(request.body)
            if not isinstance(message, PodStanding):
                raise error("BAD_MESSAGE", "a pod takes no such message of a policy service")
            self.take(request.peer, message.revocations)
            request.reply(encode(Done()))
        except Error as fault:
            refuse(request, fault)

    def take(self, service: Card, document: Signed) -> None:
        """Believe and obey a list; ROLE, SIGNATURE or Unavailable if it is not to be believed."""
        if service.role != "service" or service.identity not in self._services.beliefs:
            raise error("ROLE", "this pod does not honour that policy service")
        found = read_list(document, service.identity)
        beliefs = self._services.beliefs
        before = beliefs.of(service.identity)
        try:
            beliefs.listed(service.identity, found, self._services.clock())
        except Unavailable as fault:
            self._note_once(service, found.epoch, fault.reason)
            raise
        finally:
            # Also where the disk is full: what is taken away does not wait for room.
            after = beliefs.of(service.identity)
            if before.lasting != after.lasting:
                self._obey(service, before, after)
                self._changed()

    def forget(self, mark: str) -> None:
        """The custodian says that the service of this fingerprint was set up anew."""
        if mark not in self._services.fingerprints:
            raise error("ARGUMENT", "pod.toml names no such policy service")
        frozen = self._services.beliefs.of(fingerprint_key(mark)).frozen
        self._services.beliefs.forget(fingerprint_key(mark))
        self._told.clear()
        self._note("service", mark, "forgotten by the custodian")
        if frozen:
            self._note("thawed", "", "its service was forgotten by the custodian")
        self._changed()

    def _obey(self, service: Card, before: Belief, after: Belief) -> None:
        by = f"{service.name} {service.fingerprint}, epoch {after.epoch}"
        if after.frozen and not before.frozen:
            self._note("frozen", "", f"{by}, {self._end(None)} statements ended")
        for person in sorted(after.people - before.people):
            ended = self._end(person)
            self._note("withdrawn", fingerprint(person), f"{by}, person, {ended} statements ended")
        gone = after.grants - before.grants
        holders = self._services.grants.holders(gone)
        for grant in sorted(gone):
            holder = holders.get(grant)
            ended = 0 if holder is None else self._end(holder)
            mark = "" if holder is None else fingerprint(holder)
            self._note("withdrawn", mark, f"{by}, grant {grant}, {ended} statements ended")
        if before.frozen and not after.frozen:
            self._note("thawed", "", by)

    def _note_once(self, service: Card, epoch: int, reason: str) -> None:
        if (service.identity, epoch) not in self._told and len(self._told) < WENT_BACK_KEPT:
            self._told.add((service.identity, epoch))
            known = self._services.beliefs.of(service.identity).epoch
            text = f"{reason}: {service.name} from epoch {known} to {epoch}"
            self._note("service", service.fingerprint, text)
            log.error("policy %s; podsql pod services --forget accepts it", text)

    def _note(self, event: Event, mark: str, reason: str) -> None:
        """Obeying does not wait for a log that cannot be written."""
        try:
            self._audit.append(
                Entry(
                    time=self._services.clock(),
                    event=event,
                    reason=reason,
                    fingerprint=mark,
                )
            )
        except Error as fault:
            log.error("the audit log cannot be written: %s", fault.code)
