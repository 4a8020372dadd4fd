"""What the pod does with a request, step by step, on its I/O thread.

    verify -> known id? attach -> offer current? -> gate -> services -> record -> run -> release -> audit

Invariant: every request ends in exactly one reply (result, acceptance or coded refusal), its id is
recorded before it runs, and no id runs twice. Steps before ``run`` read no data. The reason of a
denial goes to the audit; the analyst gets a code.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Literal

from podsql.engine.job import Chunk, Event, Finished, Job, JobHandle, OnEvent, Pool, Started
from podsql.engine.job import Failed as JobFailed
from podsql.errors import Error, error
from podsql.message import Message
from podsql.messages import (
    BudgetRequest,
    Cancel,
    Done,
    Evidence,
    EvidenceAsk,
    EvidenceReply,
    OfferRequest,
    PolicyAsk,
    PsiFetch,
    PsiHand,
    QueryPayload,
    QueryRequest,
    Release,
    content_hash,
    decode,
    decode_as,
    encode,
    payload_hash,
    query_hash,
)
from podsql.pod.aside import Aside
from podsql.pod.config import LimitsSection, SumsSection
from podsql.pod.consulting import Services
from podsql.pod.counting import Counting
from podsql.pod.delegating import Asking, Delegations
from podsql.pod.explaining import Explainer
from podsql.pod.holding import Holding
from podsql.pod.holds import Hold, Holds
from podsql.pod.judging import Judging
from podsql.pod.local_tables import LocalTables
from podsql.pod.local_writing import LocalWriting
from podsql.pod.offers import OfferBook
from podsql.pod.recording import entry_of, evidence_of
from podsql.pod.refusing import failed, paused, public, refuse, used_up
from podsql.pod.releasing import Released, Releasing
from podsql.pod.requests import Held, Ticket, fragment_of
from podsql.pod.results import Output
from podsql.pod.reviewing import Reviewing
from podsql.pod.summing import SumMessage, Summing
from podsql.pod.total_groups import TotalGroups
from podsql.policy.audit import Audit
from podsql.policy.decisions import Unavailable, read_head
from podsql.policy.denial import Denial, Withheld
from podsql.policy.requests import RequestBook
from podsql.relay.cards import Card
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.relay.sockets.endpoint import Endpoint, Request

log = logging.getLogger("podsql.pod")

LIVE_PER_ANALYST = 64
SWEEP_SECONDS = 15.0
HELD_BYTES = 256 << 20
"""A result that the ledger must judge is held whole up to this size."""
ASKERS = ("analyst", "modeller")


class Desk:
    """Serves analysts. Everything runs on the endpoint's I/O thread, slow gate checks aside."""

    def __init__(
        self,
        *,
        name: str,
        keys: PeerKeys,
        endpoint: Endpoint,
        holding: Holding,
        pool: Pool,
        book: RequestBook,
        audit: Audit,
        gatekeepers: Executor,
        releasing: Releasing,
        services: Services,
        holds: Holds,
        local: LocalTables | None,
        on_stale: Callable[[], None],
        spool: Path,
        limits: LimitsSection,
        sums: SumsSection,
    ) -> None:
        self.holding = holding
        self.paused = False
        self._keys = keys
        self._endpoint = endpoint
        self._pool = pool
        self._book = book
        self._audit = audit
        self._gatekeepers = gatekeepers
        self._releasing = releasing
        self._services = services
        self._on_stale = on_stale
        self._spool = spool
        self._limits = limits
        self._offers = OfferBook(pod=name, seed=keys.identity, endpoint=endpoint, services=services)
        self._explainer = Explainer(
            offers=self._offers, releasing=releasing, audit=audit, gatekeepers=gatekeepers
        )
        self.counting = Counting(keys=keys, endpoint=endpoint, run=self._run_beside)
        self.reviewing = Reviewing(
            services,
            holds,
            endpoint=endpoint,
            audit=audit,
            pod=keys.identity_public,
            guarded=self._guarded,
        )
        self._delegations = Delegations(
            keys.identity_public, audit, endpoint.store, _now, services.beliefs.ended
        )
        self._aside = Aside(gatekeepers, endpoint=endpoint, guarded=self._guarded, fail=self._fail)
        self.writing = LocalWriting(local, self._aside, audit=audit, run=self._run_beside)
        self._held = Held(limit_bytes=limits.spool_mb << 20)
        self._judging = Judging(
            services=services,
            aside=self._aside,
            now=lambda: releasing.now(_now()),
            guarded=self._guarded,
            then=self._agreed,
        )
        self._summing = Summing(self._aside, name=name, keys=keys, endpoint=endpoint, terms=sums)
        self.answered = self.refused = 0

    # -- entry ---------------------------------------------------------------------------------

    def serve(self, request: Request) -> None:
        """Take one call or note of a peer."""
        try:
            message = decode(request.body)
            if self._services.beliefs.frozen and not isinstance(message, Cancel | Release):
                raise paused()
            if isinstance(message, PsiHand | PsiFetch):
                self.counting.serve(request, message)
                return
            if request.peer.role not in ASKERS:
                raise error("ROLE", "a pod serves analysts")
            if isinstance(message, SumMessage):
                self._summing.serve(request, message)
                return
            asking = self._delegations.read(request.peer, message)
            match asking.message:
                case OfferRequest() as asked:
                    self._offers.serve(request, asked, asking.person, self.holding, _now())
                case QueryRequest() as asked:
                    self._query(request, asked, asking)
                case PolicyAsk() | BudgetRequest() as asked:
                    self._explainer.serve(request, asked, asking.person, self.holding)
                case EvidenceAsk() as asked:
                    self._evidence(request, asked)
                case Cancel() as asked:
                    self._cancel(request.peer, asked.request_id)
                    request.reply(encode(Done()))
                case Release() as asked:
                    self._held.release(asked.request_id, request.peer.identity)
                    request.reply(encode(Done()))
                case _:
                    raise error("BAD_MESSAGE", "a pod takes no such message")
        except Error as fault:
            refuse(request, fault)

    def replace(self, holding: Holding) -> None:
        """Serve new data or a new policy from the next statement on."""
        self.holding = holding
        self._judging.clear()
        self._offers.clear()
        self._pool.warm(holding.database, holding.datasets)

    def sweep(self) -> None:
        """Drop results past their time; runs again and again."""
        self._held.expire(time.monotonic())
        self._book.forget(_now())
        self._summing.sweep()
        for work in (self._audit.sync, self.reviewing.sweep, self.writing.sweep):
            self._gatekeepers.submit(work)
        self._endpoint.later(SWEEP_SECONDS, self.sweep)

    @property
    def stopped(self) -> bool:
        """Whether nothing is answered: the custodian paused the pod, or a service froze it."""
        return self.paused or self._services.beliefs.frozen

    def end(self, analyst: bytes | None) -> int:
        """A service took rights back, of ``analyst`` or (None) for all: what runs ends, what was
        offered and what waits to be read is dropped. How many statements ended."""
        found = [ticket for ticket in self._held.all() if ticket.concerns(analyst)]
        running = [ticket for ticket in found if not ticket.over]
        for ticket in running:
            self._fail(ticket, paused() if analyst is None else Denial("NOT_GRANTED"))
        for ticket in found:
            self._held.release(ticket.head.request_id, ticket.peer.identity)
        self._summing.drop(analyst)
        if analyst is None:
            self._offers.clear()
        else:
            self._offers.forget(analyst)
        return len(running)

    @property
    def running(self) -> int:
        """Statements that have not ended."""
        return self._held.running()

    # -- queries -------------------------------------------------------------------------------

    def _query(self, request: Request, message: QueryRequest, asking: Asking) -> None:
        began = time.perf_counter_ns()
        now = _now()
        head = read_head(
            message.head,
            analyst=asking.person.identity,
            signer=request.peer.identity,
            pod=self._keys.identity_public,
            handshake=request.handshake,
            now=now,
        )
        if payload_hash(message.payload) != head.payload_hash:
            raise error("SIGNATURE", "the request's payload is not the one that was signed")
        found = query_hash(head)
        held = self._held.get(head.request_id)
        if held is not None:
            self._attach(request, held, found)
            return
        if self.paused:
            raise paused()
        if self.holding.opted_out.changed():
            self._on_stale()
            raise error("PAUSED", "the pod takes in a new opt-out list", hint="ask again soon")
        person = asking.person
        payload = decode_as(QueryPayload, message.payload)
        ticket = Ticket(
            head=head,
            document=message.head,
            query_hash=found,
            person=person,
            peer=request.peer,
            order=asking.document,
            statement=payload.statement,
            content=content_hash(payload),
            holding=self.holding,
            began=began,
            deadline=time.monotonic() + min(self._limits.seconds, (head.deadline - now) / 1000),
        )
        if self._held.live(person.identity) >= LIVE_PER_ANALYST:
            raise error("BUSY", "too many statements of this analyst at once", hint="wait")
        ticket.waiting.append(request)
        self._held.add(ticket)
        try:
            if self._offers.current(person, head.purpose, head.project, now) != head.offer:
                if self._book.knows(head.request_id):
                    raise used_up()
                raise error("STALE_OFFER", "the pod offers something else by now")
            fragment = fragment_of(payload)
            asking.require_covered(head, payload.statement, fragment)
            self._judging.judge(ticket, fragment, payload.fragment)
        except Error as fault:
            self._fail(ticket, fault)

    def _attach(self, request: Request, ticket: Ticket, found: bytes) -> None:
        """The same id again: the same query gets the same result, another is a conflict."""
        if ticket.query_hash != found or ticket.peer.identity != request.peer.identity:
            raise error(
                "CONFLICT", "this request id stands for another query", hint="send a new id"
            )
        ticket.peer = request.peer
        reply = ticket.output.reply(attached=True) if ticket.output else None
        if reply is None:
            ticket.waiting.append(request)
            return
        if ticket.output is not None and ticket.output.source is not None:
            self._endpoint.send_stream(request.peer, ticket.output.source)
        request.reply(encode(reply))

    def _agreed(self, ticket: Ticket) -> None:
        """It may run, or its result waits here for a review."""
        hold = self.reviewing.find(ticket) if ticket.reviewers else None
        if hold is None:
            self._begin(ticket)
        else:
            self._ask_review(ticket, hold)

    def _begin(self, ticket: Ticket) -> None:
        """Pay first, where there is a price: on a gatekeeper's thread, as it waits for the disk."""
        verdict, policy = ticket.allowed, ticket.holding.gate.policy
        self._summing.expect(ticket)
        candidates = verdict.psi.candidates if verdict.psi is not None else 0
        network = verdict.network is not None
        counted = policy.limits.queries_per_day is not None or candidates or network
        if verdict.noise is None and not counted and verdict.local is None:
            self._run(ticket, None)
            return
        _, asker, version = ticket.terms
        mark = ticket.head.request_id

        def pay() -> Released | None:
            self._releasing.admit(policy, asker, _now(), candidates)
            self._releasing.count_round(verdict, policy, asker, version, _now())
            if verdict.local is not None:
                self.writing.require_room(ticket)
            if verdict.noise is None:
                return None
            return self._releasing.charge(verdict, policy, asker, version, mark, _now())

        self._aside.run(ticket, pay, lambda earlier: self._run(ticket, earlier))

    def _run(self, ticket: Ticket, earlier: Released | None) -> None:
        """Record the id, then run: never the other way round. ``earlier``: released before."""
        verdict = ticket.verdict = self._releasing.lightened(ticket.allowed, *ticket.terms)
        self._record(ticket)
        if ticket.reviewers:
            ticket.draft = self.reviewing.draft(ticket)
        if earlier is not None:
            self._finish(ticket, earlier)
            return
        rows = min(self._limits.rows, verdict.max_rows or self._limits.rows)
        seconds = verdict.limits.seconds
        if seconds is not None:
            ticket.deadline = min(ticket.deadline, time.monotonic() + seconds)
        guard = verdict.guard and not verdict.needs_ledger
        job = self._job(ticket, verdict.sql, rows, guard=guard, work=verdict.work)
        ticket.job = self._pool.run(job, lambda event: self._event(ticket, event))

    def _record(self, ticket: Ticket) -> None:
        known = self._book.begin(ticket.head.request_id, ticket.query_hash, _now())
        if not known.new:
            raise used_up()
        ticket.recorded = True
        ticket.executed = known.executed
        ticket.output = Output(
            request_id=ticket.head.request_id,
            spool=self._spool,
            on_stream=lambda: self._accept(ticket),
        )

    def _job(self, ticket: Ticket, sql: str, rows: int, *, guard: bool, work: bytes = b"") -> Job:
        return Job(
            sql=sql,
            work=work,
            database=ticket.holding.database,
            datasets=ticket.holding.datasets,
            owner=f"{ticket.person.fingerprint}/{ticket.holding.gate.policy_hash}",
            deadline=ticket.deadline,
            guard=guard,
            max_rows=rows,
            max_bytes=self._limits.result_mb << 20,
        )

    def _event(self, ticket: Ticket, event: Event) -> None:
        if ticket.over:
            return
        verdict = ticket.allowed
        free = verdict.psi is not None and not verdict.guard
        ledger = verdict.needs_ledger or verdict.noise is not None
        held = free or ledger or verdict.masked or verdict.local is not None

        def take() -> None:
            assert ticket.output is not None
            match event:
                case Started():
                    pass
                case Chunk() if held:
                    ticket.raw += event.data
                    if len(ticket.raw) > HELD_BYTES:
                        raise error("RESULT_TOO_BIG", "the result has too many groups to be judged")
                case Chunk():
                    (ticket.draft or ticket.output).add(event.data)
                case Finished() if free:
                    self._count(ticket, Released(arrow=b"", rows=0, withheld=0))
                case Finished() if ledger:
                    self._settle(ticket)
                case Finished():
                    raw = bytes(ticket.raw)
                    self._finish(
                        ticket, Released(arrow=raw, rows=event.rows, withheld=event.withheld)
                    )
                case JobFailed():
                    raise failed(event, ticket.verdict)

        self._guarded(ticket, take)

    def _settle(self, ticket: Ticket) -> None:
        """What the ledger has to say of a whole result."""
        verdict, mark = ticket.allowed, ticket.head.request_id
        policy, asker, version = ticket.terms

        def work() -> Released:
            raw = bytes(ticket.raw)
            if verdict.noise is None:
                return self._releasing.guard(raw, verdict, policy, asker, _now())
            return self._releasing.noise(raw, verdict, policy, asker, version, mark)

        then = self._finish if verdict.psi is None else self._count
        self._aside.run(ticket, work, lambda released: then(ticket, released))

    def _count(self, ticket: Ticket, own: Released) -> None:
        """The count of this pod's own keys may leave: so they take part in the one across pods."""
        psi = ticket.allowed.psi
        assert psi is not None
        ticket.raw.clear()
        finish, fail = partial(self._finish, ticket), partial(self._fail, ticket)
        if own.withheld:
            finish(own)
        else:
            self.counting.begin(ticket, psi, finish, fail)

    def _run_beside(self, ticket: Ticket, sql: str, rows: int, on_event: OnEvent) -> JobHandle:
        return self._pool.run(self._job(ticket, sql, rows, guard=False), on_event)

    def _accept(self, ticket: Ticket) -> None:
        """The result turned out to be large: it travels as a stream."""
        assert ticket.output is not None
        assert ticket.output.source is not None
        self._endpoint.send_stream(ticket.peer, ticket.output.source)
        reply = ticket.output.reply(attached=False)
        assert reply is not None
        self._answer(ticket, reply)

    def _ask_review(self, ticket: Ticket, hold: Hold) -> None:
        """The result is held: it leaves if the services say so now."""

        def released(by: str) -> None:
            if not ticket.recorded:
                self._record(ticket)
            finish = partial(self._finish, ticket, note=f"released by {by}")
            self.reviewing.hand_out(ticket, hold, finish)

        self.reviewing.ask(ticket, hold, released)

    def _finish(self, ticket: Ticket, released: Released, note: str = "") -> None:
        """The result may leave, or must be held first."""
        output, verdict = ticket.output, ticket.allowed
        assert output is not None
        if verdict.local is not None and ticket.job is not None and not ticket.wrote:
            ticket.wrote = True
            self.writing.write(ticket, released, partial(self._finish, ticket, released, note))
            return
        if ticket.draft is not None:
            draft, ticket.draft = ticket.draft, None
            keep = partial(self.reviewing.keep, ticket, draft, released)
            self._aside.run(ticket, keep, partial(self._ask_review, ticket))
            return
        # Groups that are kept back are spoiled in the sum; without its one row a model has none.
        if verdict.sums is not None or (verdict.masked and released.rows and not released.withheld):
            arrow = released.arrow or output.take()
            self._mask(ticket, arrow, released.withheld, note)
            return
        self._leave(ticket, released, note)

    def _mask(self, ticket: Ticket, arrow: bytes, withheld: int, note: str) -> None:
        """What may leave is brought to the sum that the request is for."""
        claim = self._releasing.claim(ticket.allowed, *ticket.terms, self._summing.cohort(ticket))
        ticket.raw.clear()

        def fix() -> TotalGroups | None:
            claim.bring()
            return self._releasing.groups(arrow, ticket.allowed, *ticket.terms)

        def leave(vector: bytes, of: str) -> None:
            released = Released(arrow=b"", rows=1, withheld=0, vector=vector)
            kept = f"{withheld} groups kept back" if withheld else ""
            self._leave(ticket, released, "; ".join(filter(None, (note, of, kept))))

        bring = partial(
            self._summing.bring,
            ticket,
            arrow,
            withheld=withheld,
            claim=claim,
            leave=leave,
            fail=partial(self._fail, ticket),
        )
        self._aside.run(ticket, fix, bring)

    def _leave(self, ticket: Ticket, released: Released, note: str) -> None:
        """The last step: the audit, the evidence, the answer."""
        output, verdict = ticket.output, ticket.allowed
        assert output is not None
        if released.arrow:
            output.add(released.arrow)
        ticket.raw.clear()
        output.finish()
        evidence = evidence_of(ticket, released)
        # The audit line stands before the result leaves; without it nothing may leave.
        self._write(ticket, "allow", note, evidence)
        self._book.finish(ticket.head.request_id, "done", evidence.sha256)
        output.evidence = sign("result", encode(evidence), self._keys.identity)
        ticket.over = True
        if verdict.psi is not None:
            over = error("EXPIRED_RESULT", "the count across pods is over")
            self.counting.end(ticket, Withheld("FEW_KEYS") if released.withheld else over)
        if not released.withheld:
            self._releasing.design_left(verdict, *ticket.terms)
        self.answered += 1
        self._held.finished(ticket, time.monotonic())
        if output.source is None:
            reply = output.reply(attached=False)
            assert reply is not None
            self._answer(ticket, reply)
        if verdict.masked and not released.vector:
            self._summing.end(ticket, Withheld("FEW_UNITS"))
        for request in ticket.evidence_waiting:
            request.reply(encode(EvidenceReply(evidence=output.evidence)))
        ticket.evidence_waiting.clear()

    # -- endings -------------------------------------------------------------------------------

    def _guarded(self, ticket: Ticket, step: Callable[[], None]) -> None:
        try:
            step()
        except Error as fault:
            self._fail(ticket, fault)

    def _fail(self, ticket: Ticket, fault: Error) -> None:
        if ticket.over:
            return
        ticket.over = True
        self.refused += 1
        if ticket.job is not None:
            ticket.job.cancel()
        if ticket.verdict is not None and ticket.verdict.psi is not None:
            self.counting.end(ticket, fault)
        reason = fault.reason if isinstance(fault, Denial | Withheld | Unavailable) else fault.code
        if isinstance(fault, Withheld):
            policy, asker, _ = ticket.terms
            self._gatekeepers.submit(self._releasing.count_withheld, policy, asker, _now())
        try:
            self._write(ticket, "deny" if not ticket.recorded else "none", reason, None)
        except Error as failure:
            log.error("the audit log cannot be written: %s", failure.code)
        if ticket.recorded:
            self._book.finish(ticket.head.request_id, "failed", b"")
        for request in (*ticket.waiting, *ticket.evidence_waiting):
            refuse(request, fault)
        if ticket.verdict is not None and ticket.verdict.masked:
            self._summing.end(ticket, fault)
        ticket.waiting.clear()
        ticket.evidence_waiting.clear()
        if ticket.output is not None and ticket.output.source is not None:
            ticket.output.source.fail(public(fault))
        if ticket.draft is not None:
            ticket.draft.close()
        self._held.drop(ticket)

    def _answer(self, ticket: Ticket, reply: Message) -> None:
        body = encode(reply)
        for request in ticket.waiting:
            request.reply(body)
        ticket.waiting.clear()

    def _evidence(self, request: Request, message: EvidenceAsk) -> None:
        ticket = self._held.get(message.request_id)
        if ticket is None or ticket.peer.identity != request.peer.identity:
            raise error("EXPIRED_RESULT", "no such result is kept here")
        if ticket.output is not None and ticket.output.evidence is not None:
            request.reply(encode(EvidenceReply(evidence=ticket.output.evidence)))
        else:
            ticket.evidence_waiting.append(request)

    def _cancel(self, peer: Card, request_id: bytes) -> None:
        ticket = self._held.get(request_id)
        if ticket is None or ticket.peer.identity != peer.identity:
            return
        if ticket.over:
            self._held.release(request_id, peer.identity)
        else:
            self._fail(ticket, error("CANCELLED", "the statement was cancelled"))

    def _write(
        self,
        ticket: Ticket,
        decision: Literal["allow", "deny", "none"],
        reason: str,
        evidence: Evidence | None,
    ) -> None:
        self._audit.append(entry_of(ticket, decision, reason, evidence, _now()))


def _now() -> int:
    return time.time_ns() // 1_000_000
