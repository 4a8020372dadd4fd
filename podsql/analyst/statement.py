"""One statement from text to answer: bind, plan, ask the pods, decide withheld cells, merge.

The invariant: the answer is the one of a single DuckDB over all pods' rows, or an error that says
why; a cell that any pod may have withheld is withheld whole, and counted.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from queue import Empty, SimpleQueue

import pyarrow as pa
from msgspec.structs import replace as structs_replace

from podsql.analyst.asking import ask
from podsql.analyst.exchange import ABSENT, Exchange
from podsql.analyst.federation import Bound, Federation
from podsql.analyst.masked_groups import open_groups
from podsql.analyst.states import require_one_count, require_sound
from podsql.analyst.training.recorded import Line
from podsql.analyst.withholding import settle_withheld
from podsql.engine.merge import Merger, expected_schema
from podsql.errors import Error, error
from podsql.messages import QueryPayload, encode
from podsql.planner.fragment import Aggregate, Binned, Noised, Psi, encode_fragment
from podsql.planner.plan import Plan, Stage
from podsql.planner.planning import plan as make_plan

MAX_GROUPS = 50_000_000
MAX_ROWS = 1 << 40
ALL_PODS = "*"
"""Stands for the pods of a stage under masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a pod contributed: for the analyst's own records."""

    pod: str
    stage: str
    request_id: bytes
    data_version: str
    policy_hash: str
    rows: int
    bytes: int
    executed: int
    micros: int
    release: str


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a statement ended. ``pods`` answered; ``withheld`` cells are known to be missing."""

    release: str = "exact"
    withheld: int = 0
    pods: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    bars: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Per column that has one: half the width of each row's interval."""
    stage_micros: Mapping[str, int] = field(default_factory=dict)
    """Per stage: from its requests to the last pod's answer, as the analyst waits."""
    merge_micros: int = 0


@dataclass(kw_only=True)
class Statement:
    """A statement on its way. ``statement_id`` is 16 bytes and names it for re-attachment."""

    federation: Federation
    sql: str
    parameters: Sequence[object] = ()
    purpose: str = ""
    project: str = ""
    timeout: float = 60.0
    statement_id: bytes = field(default_factory=lambda: os.urandom(16))
    outcome: Outcome = field(default_factory=Outcome)
    plan: Plan | None = None
    partials: Mapping[str, Mapping[str, pa.Table]] = field(default_factory=dict)
    """What was merged, by stage and pod."""
    keeps: bool = False
    """The answer is kept as a table, so what reads it later may combine its groups."""
    _prepared: tuple[Plan, Bound] | None = None
    deadline: float = field(default=0.0, init=False)
    """On the monotonic clock, once it is bound."""
    cancelled: bool = False
    on_cancel: Callable[[], None] | None = None
    """Ends what runs at the analyst."""
    on_progress: Callable[[Line], None] | None = None
    """Hears of each step of a training job."""
    _exchanges: dict[str, list[Exchange]] = field(default_factory=dict)
    """By stage."""
    _sent: dict[str, int] = field(default_factory=dict)
    _attempt: int = 0
    _rebound: bool = False
    _meets: bool = True
    """The planner may add joins with public tables."""

    def prepare(self) -> Plan:
        """Bind and plan; asks pods only for offers. Later steps use the same plan."""
        return self.bound()[0]

    def bound(self) -> tuple[Plan, Bound]:
        """The plan and the offers it was made from."""
        if self._prepared is None:
            self.deadline = time.monotonic() + self.timeout
            self._prepared = self._bind()
        return self._prepared

    def rebind(self) -> None:
        """A pod has moved on: fetch the offers again, once."""
        self.forget_offers()
        self._rebound = True
        self._prepared = self._bind()

    def forget_offers(self) -> None:
        """What is asked from now on is asked anew, of what the pods offer then."""
        self.federation.forget(self.purpose, self.project)
        self._attempt += 1

    def renew(self) -> None:
        """Ask from now on under other request ids than an earlier run of this statement may have."""
        self._attempt = int.from_bytes(os.urandom(6), "big")

    def without_added_joins(self) -> bool:
        """Plan anew, with no join of public tables but those of the statement; False: had none."""
        plan = self.prepare()
        if not self._meets or not any(stage.met for stage in plan.stages):
            return False
        self._meets = False
        self._attempt += 1
        self._prepared = self._bind()
        return True

    def _another_way(self, fault: Error) -> bool:
        """Whether the statement is bound anew, as ``fault`` is not its last word."""
        if fault.code == "STALE_OFFER" and not self._rebound:
            self.rebind()
            return True
        # A policy may deny a join that the statement itself does not ask a pod for.
        return fault.code == "DENIED" and self.without_added_joins()

    def _bind(self) -> tuple[Plan, Bound]:
        kept = self.federation.holds(self.purpose, self.project)
        bound = self.federation.bind(self.purpose, self.project, deadline=self.deadline)
        try:
            plan = self._plan(bound)
        except Error as fault:
            if not kept or fault.code not in ("UNKNOWN_TABLE", "UNKNOWN_COLUMN"):
                raise
            # A right that was given since shows in new offers only.
            self.federation.forget(self.purpose, self.project)
            bound = self.federation.bind(self.purpose, self.project, deadline=self.deadline)
            plan = self._plan(bound)
        options = plan.options
        if options.purpose is not None and options.purpose != self.purpose:
            self.purpose = options.purpose
            bound = self.federation.bind(self.purpose, self.project, deadline=self.deadline)
            plan = self._plan(bound)
        if options.timeout is not None:
            self.deadline = min(self.deadline, time.monotonic() + options.timeout)
        self._require_pods(plan, bound)
        self.plan = plan
        return plan, bound

    def _plan(self, bound: Bound) -> Plan:
        """Plan over what was offered; a table nobody present has may be an absent pod's."""
        try:
            plan = make_plan(self.sql, bound.catalog, self.parameters, meets=self._meets)
        except Error as fault:
            if bound.missing and fault.code in ("UNKNOWN_TABLE", "UNKNOWN_COLUMN"):
                raise missing_pods(bound.missing) from None
            raise
        if not self.keeps:
            return plan
        return replace(plan, blocks=tuple(replace(b, crosses_groups=True) for b in plan.blocks))

    def _require_pods(self, plan: Plan, bound: Bound) -> None:
        """Every pod that may hold rows of the statement must have made an offer."""
        if not bound.missing or not plan.stages:
            return
        asked = set(plan.options.pods or ())
        missing = {n: e for n, e in bound.missing.items() if not asked or n in asked}
        narrowed = not asked and all(_narrowed(stage, plan, bound) for stage in plan.stages)
        if not missing or narrowed:
            return
        allowed = plan.options.allow_partial
        if allowed is not None and len(bound.offers) >= allowed:
            self.outcome.missing = tuple(sorted(missing))
            return
        raise missing_pods(missing)

    def rows(self, merger: Merger) -> pa.Table:
        """The whole answer."""
        while True:
            try:
                return self._answer(*self.bound(), merger)
            except Error as fault:
                if not self._another_way(fault):
                    raise

    def _answer(self, plan: Plan, bound: Bound, merger: Merger) -> pa.Table:
        self.on_cancel = lambda: merger.stop(self)
        gathered: dict[str, Mapping[str, pa.Table]] = {}
        answered: dict[str, Mapping[str, pa.Table]] = {}
        withheld: dict[str, dict[str, int]] = {}
        self.outcome.withheld = 0
        self._exchanges = {}
        for place, stage in enumerate(plan.stages):
            if stage.name not in self._exchanges and not stage.same_as:
                first = replace(stage, fragment=merger.fill(stage, plan, gathered))
                self._start_wave([first, *plan.stages[place + 1 :]], plan, bound, merger)
            if stage.masked:
                answered[stage.name] = self._open(stage, plan, bound, merger, withheld)
            elif not stage.same_as:
                answered[stage.name] = self._gather(stage, plan, bound, merger)
            asked = stage.same_as or stage.name
            gathered[stage.name] = answered[asked]
            for exchange in self._exchanges[asked]:
                if exchange.evidence and (exchange.evidence.withheld or exchange.evidence.silent):
                    by_pod = withheld.setdefault(stage.name, {})
                    by_pod[exchange.card.name] = exchange.evidence.withheld
            # What a later stage waits for must be settled by then.
            ready = [b for b in plan.blocks if b.stages[-1] == stage.name]
            if withheld and ready:
                gathered, missing = settle_withheld(
                    replace(plan, blocks=tuple(ready)), gathered, withheld
                )
                self.outcome.withheld += missing
        self.partials = gathered
        start = time.perf_counter_ns()
        if plan.bars:
            variances = self._variances(plan)
            answer, self.outcome.bars = merger.run_with_bars(plan, gathered, variances)
        else:
            # Partials are merged at once; a join at the analyst may take its time.
            deadline = self.deadline if plan.instead else None
            answer = merger.run(plan, gathered, deadline=deadline, ticket=self)
        self.outcome.merge_micros = (time.perf_counter_ns() - start) // 1000
        return answer

    def ask_together(
        self, stages: Sequence[Stage], plan: Plan, bound: Bound, merger: Merger
    ) -> dict[str, pa.Table]:
        """One round of asking outside any plan: what each pod answers; every pod is in one stage.

        A pod that withholds its rows answers none, and nothing is made of who withholds."""
        self.on_cancel = lambda: merger.stop(self)
        self._exchanges = {}
        for stage in stages:
            self._start(stage, plan, bound, merger)
        found: dict[str, pa.Table] = {}
        for stage in stages:
            found |= self._gather(stage, plan, bound, merger)
        return found

    def ask_apart(
        self, stages: Sequence[Stage], plan: Plan, bound: Bound, merger: Merger
    ) -> dict[str, pa.Table | Error]:
        """The same of pods that each do something of their own: one that refuses ends no other."""
        self.on_cancel = lambda: merger.stop(self)
        self._exchanges = {}
        found: dict[str, pa.Table | Error] = {}
        for exchange in [e for s in stages for e in self._start(s, plan, bound, merger)]:
            try:
                found[exchange.card.name] = exchange.table()
                self.note(exchange)
            except Error as fault:
                found[exchange.card.name] = fault
        return found

    def _variances(self, plan: Plan) -> dict[str, float]:
        """Variance of the noise in each noisy partial: the pods' noises are independent."""
        found: dict[str, float] = {}
        for stage in plan.stages:
            if isinstance(stage.fragment, Noised):
                noisy = [column.name for column in stage.fragment.aggregates]
            else:
                noisy = ["n"] if isinstance(stage.fragment, Binned) else []
            for place, name in enumerate(noisy):
                found[name] = sum(
                    exchange.evidence.noise[place] ** 2
                    for exchange in self._exchanges[stage.name]
                    if exchange.evidence is not None and place < len(exchange.evidence.noise)
                )
        return found

    def batches(self, merger: Merger) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """A pure row plan's answer, batch by batch, pod after pod in canonical order."""
        while True:
            try:
                exchanges = self._begin(merger)
            except Error as fault:
                if not self._another_way(fault):
                    raise
                if not self.prepare().streams:
                    found = self.rows(merger)
                    return found.schema, iter(found.to_batches())
            else:
                return merger.stream(self.bound()[0], self._flow(exchanges))

    def _begin(self, merger: Merger) -> list[Exchange]:
        """Every pod has accepted, or none is left running."""
        plan, bound = self.bound()
        self._exchanges = {}
        exchanges = [e for s in plan.stages for e in self._start(s, plan, bound, merger)]
        try:
            require_answers(exchanges)
        except Error:
            self.cancel_pods()
            raise
        return exchanges

    def _flow(self, exchanges: list[Exchange]) -> Iterator[pa.RecordBatch]:
        try:
            for exchange in exchanges:
                yield from exchange.batches()
                self.note(exchange)
        except BaseException:
            self.cancel_pods()
            raise

    def _start_wave(
        self, stages: Sequence[Stage], plan: Plan, bound: Bound, merger: Merger
    ) -> None:
        """Ask for the first stage, and for those after it that wait for nothing."""
        for place, stage in enumerate(stages):
            if stage.same_as:
                continue
            if place and stage.scalars:
                return
            if stage.masked:  # its pods are asked for one sum: see _open
                return
            if isinstance(stage.fragment, Psi):  # its pods answer as one: see _gather_together
                return
            self._start(stage, plan, bound, merger)

    def _gather(
        self, stage: Stage, plan: Plan, bound: Bound, merger: Merger
    ) -> Mapping[str, pa.Table]:
        if isinstance(stage.fragment, Psi):
            return self._gather_together(stage, plan, bound, merger)
        exchanges = self._exchanges[stage.name]
        tables: dict[str, pa.Table] = {}
        lost: dict[str, Error] = {}
        waiting: Error | None = None
        for exchange in exchanges:
            try:
                tables[exchange.card.name] = exchange.table()
                exact = exchange.evidence is not None and exchange.evidence.release == "exact"
                require_sound(
                    stage, tables[exchange.card.name], pod=exchange.card.name, exact=exact
                )
                self.note(exchange)
            except Error as fault:
                if fault.code == "IN_REVIEW":
                    # The others go on, so that what they hold is reviewed at the same time.
                    waiting = waiting or fault
                    continue
                if fault.code not in ABSENT or plan.options.allow_partial is None:
                    self.cancel_pods()
                    raise
                lost[exchange.card.name] = fault
        if waiting is not None:
            raise waiting
        if lost:
            allowed = plan.options.allow_partial or 0
            if len(tables) < allowed:
                raise missing_pods(lost)
            self.outcome.missing = tuple(sorted({*self.outcome.missing, *lost}))
        return tables

    def _open(
        self,
        stage: Stage,
        plan: Plan,
        bound: Bound,
        merger: Merger,
        withheld: dict[str, dict[str, int]],
    ) -> Mapping[str, pa.Table]:
        """Of pods that add under masks: their sums, as if one pod had all rows."""
        schema = expected_schema(merger, stage.fields)
        table, whole = open_groups(self, stage, plan, bound, schema)
        if self.outcome.release == "masked":
            self.outcome.release = "exact"  # as the figures are that the pods have added
        if not whole:
            withheld[stage.name] = {ALL_PODS: 1}
        return {ALL_PODS: table}

    def _gather_together(
        self, stage: Stage, plan: Plan, bound: Bound, merger: Merger
    ) -> Mapping[str, pa.Table]:
        """Of pods that need each other: the first that fails or withholds ends them all."""
        answered: SimpleQueue[Exchange] = SimpleQueue()
        tables: dict[str, pa.Table] = {}
        for _ in self._start(stage, plan, bound, merger, answered.put):
            try:
                left = max(0.0, self.deadline - time.monotonic())
                exchange = answered.get(timeout=left + 1.0)
                tables[exchange.card.name] = exchange.table()
            except Empty:
                self.cancel_pods()
                raise error("TIMEOUT", "the pods did not finish their count in time") from None
            except Error:
                self.cancel_pods()
                raise
            self.note(exchange)
            if exchange.evidence is not None and exchange.evidence.withheld:
                self.cancel_pods()
                return tables
        require_one_count(tables)
        return tables

    def _start(
        self,
        stage: Stage,
        plan: Plan,
        bound: Bound,
        merger: Merger,
        on_answer: Callable[[Exchange], None] = lambda _: None,
    ) -> list[Exchange]:
        schema = expected_schema(merger, stage.fields)
        fragment = stage.fragment
        if isinstance(fragment, Psi):
            epoch = request_id(self.statement_id, stage.name, b"epoch", self._attempt)
            fragment = structs_replace(fragment, epoch=epoch)
        payload = encode(QueryPayload(fragment=encode_fragment(fragment), statement=self.sql))
        exchanges = [
            self._exchange(name, stage, plan, bound, payload, schema) for name in stage.pods
        ]
        self._exchanges[stage.name] = exchanges
        self._sent[stage.name] = time.perf_counter_ns()
        for exchange in exchanges:
            exchange.start(partial(on_answer, exchange))
        if self.cancelled:
            self.cancel_pods()
        return exchanges

    def _exchange(
        self,
        name: str,
        stage: Stage,
        plan: Plan,
        bound: Bound,
        payload: bytes,
        schema: pa.Schema,
    ) -> Exchange:
        aggregate = isinstance(stage.fragment, Aggregate | Noised | Binned | Psi)
        identity = bound.cards[name].identity
        return ask(
            self.federation,
            bound,
            name,
            payload,
            request_id=request_id(self.statement_id, stage.name, identity, self._attempt),
            statement_id=self.statement_id,
            tables=plan.tables,
            purpose=self.purpose,
            project=self.project,
            pods=stage.pods,
            schema=schema,
            max_rows=MAX_GROUPS if aggregate else MAX_ROWS,
            deadline=self.deadline,
            stage=stage.name,
        )

    def take_on(self, exchanges: Sequence[Exchange]) -> None:
        """Exchanges that are started elsewhere: cancelled with the statement, noted by ``note``."""
        self._exchanges = {}
        for exchange in exchanges:
            self._exchanges.setdefault(exchange.stage, []).append(exchange)
            self._sent[exchange.stage] = time.perf_counter_ns()

    def note(self, exchange: Exchange) -> None:
        """A pod's answer counts: who it was, and what it says of it."""
        evidence = exchange.evidence
        assert evidence is not None
        if evidence.release not in ("exact", self.outcome.release):
            self.outcome.release = evidence.release
        self.outcome.pods = tuple(sorted({*self.outcome.pods, exchange.card.name}))
        micros = (time.perf_counter_ns() - self._sent[exchange.stage]) // 1000
        self.outcome.stage_micros = {**self.outcome.stage_micros, exchange.stage: micros}
        self.outcome.receipts = (
            *self.outcome.receipts,
            Receipt(
                pod=exchange.card.name,
                stage=exchange.stage,
                request_id=evidence.request_id,
                data_version=evidence.data_version,
                policy_hash=evidence.policy_hash,
                rows=evidence.rows,
                bytes=evidence.size,
                executed=evidence.executed,
                micros=evidence.micros,
                release=evidence.release,
            ),
        )

    def cancel(self) -> None:
        """Stop the statement; from any thread."""
        self.cancelled = True
        self.cancel_pods()
        if self.on_cancel is not None:
            self.on_cancel()

    def cancel_pods(self) -> None:
        """Tell every pod asked to stop."""
        for exchanges in list(self._exchanges.values()):
            for exchange in exchanges:
                if exchange.evidence is None:
                    exchange.cancel()


def require_answers(exchanges: Sequence[Exchange]) -> None:
    """Every pod answers; one whose result is in review is told of after all the others."""
    waiting: Error | None = None
    for exchange in exchanges:
        try:
            exchange.answer()
        except Error as fault:
            if fault.code != "IN_REVIEW":
                raise
            waiting = waiting or fault
    if waiting is not None:
        raise waiting


def request_id(statement_id: bytes, stage: str, pod: bytes, attempt: int = 0) -> bytes:
    """The same statement, stage and pod give the same id, so that asking again attaches.

    A statement that was bound anew, because a pod offered something else by then, asks anew.
    """
    return blake2b(
        b"%s\x00%s%d" % (stage.encode(), pod, attempt),
        digest_size=16,
        key=statement_id,
        person=b"ps-request",
    ).digest()


def missing_pods(missing: Mapping[str, Error]) -> Error:
    """What is said when these pods do not answer, and why."""
    names = ", ".join(repr(name) for name in sorted(missing))
    first = missing[min(missing)]
    if {fault.code for fault in missing.values()} == {"REVOKED"}:
        return first
    return error(
        "PODS_MISSING",
        f"no answer from {names} ({first.code}: {first.message})",
        hint="wait for them, or end the statement with WITH (allow_partial = k)",
    )


def _narrowed(stage: Stage, plan: Plan, bound: Bound) -> bool:
    """True when the stage names its pods itself, so that absent ones cannot hold its rows."""
    holders = {
        name
        for name, offer in bound.offers.items()
        if any(t.name in plan.tables and t.kind == "federated" for t in offer.tables)
    }
    return bool(holders) and set(stage.pods) < holders
