"""Comparisons of keys that a pod takes part in: with other pods, or with an analyst.

A count begins when the pod's own rules have let the count of its own keys pass; what others send
before that waits. Rule to keep: a pod multiplies points of another party for a statement that the
analyst signed for all of them, alike, and for nothing else.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from podsql.engine.psi.handing import read_claim, read_part
from podsql.engine.psi.ring import ANALYST
from podsql.errors import Error, error
from podsql.messages import PsiFetch, PsiHand, psi_session
from podsql.pod.one_count import EARLY, Arrival, Means, OneCount, RunSql, busy
from podsql.pod.refusing import refuse
from podsql.pod.releasing import Released
from podsql.pod.requests import Ticket
from podsql.policy.psi import PsiOrder
from podsql.relay.keys import PeerKeys
from podsql.relay.sockets.endpoint import Endpoint, Request

PARTIES: Final = ("pod", "analyst", "modeller")
EARLY_SECONDS: Final = 30.0
ENDED: Final = 1024
"""Counts that are remembered, so that none is begun twice and who comes late is told."""


class Counting:
    """The counts a pod takes part in, by session."""

    def __init__(self, *, keys: PeerKeys, endpoint: Endpoint, run: RunSql) -> None:
        self._workers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="psi")
        self._means = Means(keys=keys, endpoint=endpoint, run=run, workers=self._workers)
        self._running: dict[bytes, OneCount] = {}
        self._early: OrderedDict[bytes, list[Arrival]] = OrderedDict()
        self._ended: OrderedDict[bytes, Error] = OrderedDict()

    def close(self) -> None:
        """Stop the threads."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def begin(
        self,
        ticket: Ticket,
        order: PsiOrder,
        finish: Callable[[Released], None],
        fail: Callable[[Error], None],
    ) -> None:
        """Take part in the count that ``ticket`` asks for; ends in one of the two calls."""
        session = psi_session(ticket.head)
        if order.pods != ticket.head.pods:
            raise error("BAD_MESSAGE", "the request and its fragment name other pods")
        if session in self._running or session in self._ended:
            raise error(
                "REPLAY", "this count has been begun before", hint="send the statement anew"
            )
        early = self._early.pop(session, [])
        found = OneCount(self._means, session, ticket, order, finish, fail, waiting=early)
        self._running[session] = found
        left = max(0.0, ticket.deadline - time.monotonic())
        self._means.endpoint.later(left, lambda: self._late(session))
        found.draw()

    def _late(self, session: bytes) -> None:
        found = self._running.get(session)
        if found is not None:
            found.late()

    def end(self, ticket: Ticket, fault: Error) -> None:
        """The ticket is over, whatever its end: other pods that still wait for it are told."""
        session = psi_session(ticket.head)
        found = self._running.get(session)
        if found is not None:
            if found.ticket is not ticket:
                return
            del self._running[session]
            found.stop(fault)
        self._ended[session] = fault
        while len(self._ended) > ENDED:
            self._ended.popitem(last=False)
        for arrival in self._early.pop(session, ()):
            refuse(arrival.request, fault)

    def serve(self, request: Request, message: PsiHand | PsiFetch) -> None:
        """Take a part that another pod, or the analyst, hands on; or give the analyst one."""
        if request.peer.role not in PARTIES:
            raise error("ROLE", "a pod compares keys with pods and analysts")
        if isinstance(message, PsiFetch):
            asked = self._running.get(message.session)
            if asked is None:
                raise error("EXPIRED_RESULT", "there is no such count here")
            asked.give(request, message.index)
            return
        arrival = self._verified(request, message)
        session = arrival.part.session
        found = self._running.get(session)
        if found is not None:
            found.arrived(arrival)
        elif session in self._ended:
            refuse(request, self._ended[session])
        else:
            self._wait(arrival)

    def _wait(self, arrival: Arrival) -> None:
        """The count has not begun here: the analyst's request, or the pod's own rules, take longer."""
        peer, session = arrival.request.peer, arrival.part.session
        waiting = sum(
            one.request.peer.identity == peer.identity
            for listed in self._early.values()
            for one in listed
        )
        if waiting >= EARLY:
            raise busy()
        self._early.setdefault(session, []).append(arrival)
        self._means.endpoint.later(EARLY_SECONDS, lambda: self._forget(session))

    def _forget(self, session: bytes) -> None:
        for arrival in self._early.pop(session, ()):
            refuse(arrival.request, error("POD_LOST", "the pod was not asked to take part in time"))

    def _verified(self, request: Request, message: PsiHand) -> Arrival:
        """Signed by who sends it, for this pod and session; the claim by whose keys they are."""
        peer = request.peer
        part = read_part(message, sender=peer.identity, to=self._means.keys.identity_public)
        if part.handshake != request.handshake:
            raise error("REPLAY", "blinded keys were meant for another session")
        own = part.origin == ANALYST and peer.role != "pod"
        signer = peer.identity if own else self._means.card(part.origin).identity
        claim = read_claim(message, part, signer=signer)
        return Arrival(
            request=request,
            claim=claim,
            document=message.claim,
            part=part,
            points=message.points,
        )
