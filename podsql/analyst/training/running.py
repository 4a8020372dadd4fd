"""TRAIN MODEL as a job: begun, resumed, gone on with from the first round without pods that are lost.

Rule to keep: a model is of one set of pods and one state of their data, over all its rounds; what a
job goes on from is written down after each round, before the next is asked.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from podsql.analyst.bench import Bench
from podsql.analyst.federation import PATIENCE, Bound
from podsql.analyst.statement import Statement, missing_pods
from podsql.analyst.training.fitting import SETTINGS, Known, Prepared, prepare, train
from podsql.analyst.training.lasting import PASSING, LastingRounds, Limits, Waits, bind
from podsql.analyst.training.masked_rounds import MaskedRounds, opened_with
from podsql.analyst.training.network_rounds import NetworkRounds
from podsql.analyst.training.networks import is_network
from podsql.analyst.training.recorded import Job, given_parameters, kept_parameters
from podsql.analyst.training.reporting import Reporter
from podsql.analyst.training.rounds import Rounds
from podsql.analyst.training.shelf import Kept, Shelf, checked_name
from podsql.engine.merge import Merger
from podsql.engine.training.registry import decode_snapshot
from podsql.errors import Error, error
from podsql.planner.statements import classify
from podsql.planner.training.orders import Train, options_of


def begin(order: Train, statement: Statement, bench: Bench) -> Kept:
    """TRAIN MODEL: a new job, which has the statement's id."""
    limits, prepared, job = ready(order, statement, bench.shelf)
    hold = bench.jobs.add(job, statement.cancel)
    reporter = Reporter(bench.jobs, hold, job, statement)
    with _at_work(reporter):
        reporter.tell("started")
        return _rounds(reporter, prepared, statement, bench, limits, {})


def ready(order: Train, statement: Statement, shelf: Shelf) -> tuple[Limits, Prepared, Job]:
    """All that there is before the first round: who is there, the design, the job's record."""
    limits = Limits.of(order.settings, statement.timeout)
    prepared = _prepared(order, statement, shelf, limits)
    if limits.min_pods is not None:
        _require_enough(prepared.design.pods, limits.min_pods)
    job = Job(
        id=statement.statement_id.hex(),
        model=checked_name(order.model),
        family=order.family,
        statement=statement.sql,
        parameters=kept_parameters(statement.parameters),
        timeout=statement.timeout,
        purpose=statement.purpose,
        project=statement.project,
        federation=statement.federation.membership.federation,
        state="running",
        pods=prepared.design.pods,
        columns=_columns(prepared),
        start=prepared.start,
        started=time.time_ns() // 1_000_000,
    )
    return limits, prepared, job


def resume(text: str, statement: Statement, bench: Bench) -> Kept:
    """RESUME JOB: from its last round; of the same pods over the same data, or CONFLICT."""
    job, hold = bench.jobs.take(bench.jobs.get(text).id, statement.cancel)
    reporter = Reporter(bench.jobs, hold, job, statement)
    with _at_work(reporter):
        order = classify(job.statement)
        if not isinstance(order, Train):
            raise error("DATA", "the record of the job holds another statement")
        if job.federation != statement.federation.membership.federation:
            raise error("CONFLICT", "the job is of another federation")
        statement.sql = job.statement
        statement.parameters = given_parameters(job.parameters)
        statement.purpose, statement.project = job.purpose, job.project
        statement.timeout = job.timeout
        limits = Limits.of(order.settings, job.timeout)
        reporter.tell("resumed")
        waits = Waits(statement, limits.deadline())
        statement.deadline = waits.deadline
        fresh = (
            "privacy" in order.settings
        )  # pods are asked for a price, which takes their last offer
        bound = bind(statement, waits, reporter, fresh=fresh, needed=job.pods)
        lost = sorted(set(bound.missing) & set(job.pods))
        if lost:
            left = _left(job.pods, lost, bound, limits)
            prepared = prepare(order, statement, bench.shelf, Known(bound=bound, pods=left))
            if prepared.masking is not None and job.data_versions:
                raise opened_with(lost)
            reporter.restarted(prepared.design.pods, lost)
            return _rounds(reporter, prepared, statement, bench, limits, {})
        reporter.back()
        known = Known(
            bound=bound,
            pods=job.pods,
            start=job.start,
            snapshot=decode_snapshot(job.checkpoint) if job.checkpoint else None,
            token=bytes.fromhex(job.id),
        )
        prepared = prepare(order, statement, bench.shelf, known)
        if _columns(prepared) != job.columns:
            raise _other_columns()
        return _rounds(reporter, prepared, statement, bench, limits, job.data_versions)


@contextmanager
def _at_work(reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except BaseException as fault:
        reporter.stopped(fault)
        raise
    finally:
        reporter.release()


def _rounds(
    reporter: Reporter,
    prepared: Prepared,
    statement: Statement,
    bench: Bench,
    limits: Limits,
    versions: Mapping[str, str],
) -> Kept:
    """All rounds that are left; from the first again where pods are lost and may be."""
    merger = bench.borrow_merger()
    while True:
        rounds = _asking(prepared, statement, merger, limits)
        rounds.versions |= versions
        still = partial(_require_same, prepared, statement, bench.shelf)
        asked = LastingRounds(rounds, statement, limits, reporter, still)
        try:
            kept = _fit(reporter, prepared, asked, statement)
            break
        except Error as fault:
            if limits.min_pods is None or fault.code not in PASSING:
                raise
            bound, lost = _look(fault, statement, limits, prepared.design.pods)
            if not lost:
                raise
            left = _left(prepared.design.pods, lost, bound, limits)
            if isinstance(rounds, MaskedRounds):
                rounds.require_unopened(lost)
        known = Known(bound=bound, pods=left)
        prepared, versions = prepare(prepared.order, statement, bench.shelf, known), {}
        reporter.restarted(prepared.design.pods, lost)
    reporter.finished(kept, bench.shelf)
    bench.return_merger(merger)
    return kept


def _asking(
    prepared: Prepared, statement: Statement, merger: Merger, limits: Limits
) -> Rounds | MaskedRounds | NetworkRounds:
    bound, design, seconds = prepared.bound, prepared.design, limits.round_seconds
    if is_network(prepared.order):
        return NetworkRounds(statement, merger, bound, design, seconds=seconds)
    if prepared.masking is None:
        write = None if prepared.noisy is None else prepared.noisy.stages
        return Rounds(statement, merger, bound, design, seconds=seconds, write=write)
    return MaskedRounds(statement, bound, design, prepared.masking, seconds=seconds)


def _fit(
    reporter: Reporter, prepared: Prepared, asked: LastingRounds, statement: Statement
) -> Kept:
    def taken(sums: Mapping[str, float]) -> None:
        n = None if prepared.noisy else int(sums["n"])
        reporter.round(prepared.fit, asked.versions, n)

    return train(prepared, asked, statement, taken)


def _look(
    fault: Error, statement: Statement, limits: Limits, pods: Collection[str]
) -> tuple[Bound, list[str]]:
    """Who of ``pods`` is there after ``fault``, and who is lost: also the one that it names."""
    patience = min(PATIENCE, limits.round_seconds)
    deadline = min(time.monotonic() + patience, limits.until)
    statement.forget_offers()
    bound = statement.federation.bind(statement.purpose, statement.project, deadline=deadline)
    return bound, sorted({*bound.missing, fault.pod or ""} & set(pods))


def _present(order: Train, statement: Statement, limits: Limits) -> Known:
    """Offers of all pods that are asked for, or with ``min_pods`` of those that are there."""
    options = options_of(order.settings, SETTINGS)
    statement.purpose = options.purpose or statement.purpose
    statement.deadline = limits.deadline()
    bound = statement.federation.bind(
        statement.purpose, statement.project, deadline=statement.deadline
    )
    named = options.pods
    missing = {n: e for n, e in bound.missing.items() if named is None or n in named}
    if missing and limits.min_pods is None:
        raise _missing(missing)
    if named is not None:
        named = tuple(name for name in named if name not in missing)
    return Known(bound=bound, pods=named)


def _prepared(order: Train, statement: Statement, shelf: Shelf, limits: Limits) -> Prepared:
    """Ready for the first round; once more where a pod that was asked for a price has moved on."""
    try:
        return prepare(order, statement, shelf, _present(order, statement, limits))
    except Error as fault:
        if fault.code != "STALE_OFFER":
            raise
    statement.forget_offers()
    return prepare(order, statement, shelf, _present(order, statement, limits))


def _left(
    pods: tuple[str, ...], lost: Collection[str], bound: Bound, limits: Limits
) -> tuple[str, ...]:
    """The pods that a job goes on with from its first round, or why it does not."""
    if limits.min_pods is None:
        raise _missing({pod: bound.missing[pod] for pod in lost})
    left = tuple(pod for pod in pods if pod not in lost)
    _require_enough(left, limits.min_pods)
    return left


def _require_enough(pods: Collection[str], wanted: int) -> None:
    if len(pods) < wanted:
        raise error(
            "PODS_MISSING",
            f"{len(pods)} pods are there, and the statement wants {wanted} (min_pods)",
            hint="wait for the others",
        )


def _missing(missing: Mapping[str, Error]) -> Error:
    fault = missing_pods(missing)
    fault.hint = "wait for them; or train without who is lost: WITH (min_pods = k)"
    return fault


def _require_same(prepared: Prepared, statement: Statement, shelf: Shelf, bound: Bound) -> None:
    """CONFLICT if the pods offer what makes another design."""
    known = Known(
        bound=bound, pods=prepared.design.pods, start=prepared.start, token=prepared.token
    )
    found = prepare(prepared.order, statement, shelf, known)
    if (found.design, found.noisy) != (prepared.design, prepared.noisy):
        raise _other_columns()


def _other_columns() -> Error:
    return error(
        "CONFLICT",
        "the pods declare other columns than when the job began",
        hint="train it again",
    )


def _columns(prepared: Prepared) -> tuple[str, ...]:
    return tuple(column.name for column in prepared.design.listed)
