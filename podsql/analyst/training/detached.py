"""Jobs that modellers work on, as their analyst follows them.

A finished model comes to the analyst's shelf whenever its job is looked at. Rule to keep: the record here
says ``finished`` only once the model is on the shelf, a job that has ended here is never changed, and what is
no order of this analyst's is not taken down.
"""

import time
from typing import Final, Literal, TypeVar

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.analyst.training.fitting import summary
from podsql.analyst.training.modellers import ask, ask_all, modellers
from podsql.analyst.training.recorded import Job, Line
from podsql.analyst.training.shelf import Kept
from podsql.errors import Error, error
from podsql.job_messages import Delegation, JobAsk, JobReply
from podsql.message import Signed
from podsql.messages import decode_as
from podsql.relay.signing import verify

T = TypeVar("T")
ORDERING_MS: Final = 60_000
"""An order this young may still be on its way."""


def catch_up(statement: Statement, bench: Bench) -> dict[str, str]:
    """Ask all modellers how far the jobs are, and fetch what is finished.

    By modeller: what is to be said of the jobs of one that does not answer, or refuses.
    """
    kept = [job for job in bench.jobs.all() if job.modeller]
    names = {job.modeller for job in kept if not job.over} | set(modellers(statement))
    away: dict[str, str] = {}
    for name, reply in ask_all(sorted(names), JobAsk(act="list"), statement).items():
        if isinstance(reply, Error):
            away[name] = f"{reply.code}: {reply.message}"
            continue
        heard = _take_all(name, reply, statement, bench)
        for job in kept:
            if job.modeller == name and not job.over and job.id not in heard:
                _unknown(job, bench)
    return away


def lines(job: Job, statement: Statement, bench: Bench) -> tuple[Line, ...]:
    """The log of a job, which its modeller keeps."""
    reply = ask(job.modeller, JobAsk(act="log", job=job.id), statement)
    _take_all(job.modeller, reply, statement, bench)
    return tuple(_decoded(line, Line) for line in reply.lines)


def cancel(job: Job, statement: Statement, bench: Bench) -> None:
    """End a job for good, at its modeller first."""
    found = _after("cancel", job, statement, bench)
    if found.state != "cancelled":
        raise _over(found)


def go_on(job: Job, statement: Statement, bench: Bench) -> pa.Table:
    """RESUME JOB: the model once the job is finished; before, its modeller tries again now."""
    if job.over:
        raise _over(job)
    found = _after("resume", job, statement, bench)
    if found.state == "finished":
        return summary(bench.shelf.get(found.model))
    if found.over:
        raise _over(found)
    return ordered(found)


def ordered(job: Job) -> pa.Table:
    """One row: where a job stands that a modeller works on."""
    return pa.table(
        {
            "job": [job.id],
            "model": [job.model],
            "state": [job.state],
            "modeller": [job.modeller],
        }
    )


def _after(act: Literal["cancel", "resume"], job: Job, statement: Statement, bench: Bench) -> Job:
    """The job as its modeller has it after ``act``."""
    reply = ask(job.modeller, JobAsk(act=act, job=job.id), statement)
    _take_all(job.modeller, reply, statement, bench)
    return bench.jobs.get(job.id)


def _take_all(modeller: str, reply: JobReply, statement: Statement, bench: Bench) -> frozenset[str]:
    """Write down what a modeller says of its jobs, and fetch what is finished; their ids."""
    known = {job.id: job for job in bench.jobs.all()}
    heard = [replace(_decoded(one, Job), modeller=modeller) for one in reply.records]
    for place, job in enumerate(heard):
        mine = known.get(job.id)
        order = reply.orders[place] if place < len(reply.orders) else None
        if mine is None and _is_own(job, order, statement):
            mine = _adopted(job, bench)
        if mine is not None and not mine.over and mine.modeller == modeller:
            _take(job, mine, statement, bench)
    return frozenset(job.id for job in heard)


def _is_own(job: Job, order: Signed | None, statement: Statement) -> bool:
    """Whether this analyst signed the order of a job that is not in the records here."""
    card = modellers(statement).get(job.modeller)
    if order is None or card is None:
        return False
    own = statement.federation.membership.keys.identity_public
    try:
        told = decode_as(Delegation, verify(order, "delegation", own))
    except Error:
        return False
    return (told.job.hex(), told.modeller) == (job.id, card.identity)


def _adopted(job: Job, bench: Bench) -> Job | None:
    """An own job that was ordered elsewhere is kept here too, unless its model would hide another."""
    if job.over and not (job.state == "finished" and job.model not in bench.shelf.names()):
        return None
    kept = replace(job, state="waiting", ended=None)
    bench.jobs.add(kept, lambda: None).release()
    return kept


def _take(heard: Job, mine: Job, statement: Statement, bench: Bench) -> None:
    kept = _fetched(mine, statement) if heard.state == "finished" else None

    def changed(mine: Job) -> Job:
        if kept is not None:
            bench.shelf.put(kept)
        return replace(
            mine,
            state=heard.state,
            rounds=heard.rounds,
            pods=heard.pods,
            data_versions=heard.data_versions,
            ended=heard.ended,
            error=heard.error,
        )

    try:
        bench.jobs.change(heard.id, changed)
    except Error as fault:
        if fault.code not in ("MODEL_STATE", "CANCELLED"):  # it has ended here in between
            raise


def _fetched(job: Job, statement: Statement) -> Kept:
    reply = ask(job.modeller, JobAsk(act="model", job=job.id), statement)
    kept = _decoded(reply.model, Kept)
    names = tuple(one.name for one in (*kept.features, *kept.targets, *kept.references))
    told = (kept.name.lower(), kept.federation, names if job.columns else ())
    if told != (job.model.lower(), statement.federation.membership.federation, job.columns):
        raise error("BAD_RESULT", f"modeller {job.modeller!r} sent another model than was ordered")
    return kept


def _unknown(job: Job, bench: Bench) -> None:
    """The modeller knows nothing of it: it never had the order, or has cleared it away."""
    now = time.time_ns() // 1_000_000
    if now - job.started > ORDERING_MS:
        said = "UNKNOWN_JOB: the modeller does not know the job"
        bench.jobs.change(job.id, lambda old: replace(old, state="failed", error=said, ended=now))


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "a modeller's answer does not decode") from None


def _over(job: Job) -> Error:
    done = job.state == "finished"
    hint = f"DESCRIBE MODEL {job.model}" if done else "train the model again"
    return error("MODEL_STATE", f"the job is {job.state}", hint=hint)
