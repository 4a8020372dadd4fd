"""What each statement around training jobs answers."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from podsql.analyst.answering import Answer, answer_of
from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.analyst.training.detached import cancel, catch_up, go_on, lines
from podsql.analyst.training.fitting import summary
from podsql.analyst.training.recorded import Job, Line
from podsql.analyst.training.running import resume
from podsql.planner.training.job_orders import CancelJob, JobOrder, ResumeJob, ShowJob, ShowJobs

_TIME = pa.timestamp("ms", "UTC")


def run_job_order(order: JobOrder, statement: Statement, bench: Bench) -> Answer:
    """The answer of one statement around jobs."""
    jobs = bench.jobs
    match order:
        case ShowJobs():
            away = catch_up(statement, bench)
            return answer_of(_shown(jobs.all(), away))
        case ShowJob():
            job = jobs.get(order.job)
            return answer_of(
                _log(lines(job, statement, bench) if job.modeller else jobs.lines(job.id))
            )
        case CancelJob():
            job = jobs.get(order.job)
            if job.modeller and not job.over:
                cancel(job, statement, bench)
            else:
                jobs.cancel(job.id, time.time_ns() // 1_000_000)
            return Answer(rows=1)
        case ResumeJob():
            job = jobs.get(order.job)
            if job.modeller:
                return answer_of(go_on(job, statement, bench))
            return answer_of(summary(resume(job.id, statement, bench)))


def _shown(jobs: Sequence[Job], away: Mapping[str, str]) -> pa.Table:
    """``away``: what is to be said of the jobs of modellers that do not answer."""

    def said(job: Job) -> str | None:
        silent = "" if job.over else away.get(job.modeller, "")
        return silent or job.error or None

    return pa.table(
        {
            "job": pa.array([job.id for job in jobs], pa.string()),
            "model": pa.array([job.model for job in jobs], pa.string()),
            "family": pa.array([job.family for job in jobs], pa.string()),
            "state": pa.array([job.state for job in jobs], pa.string()),
            "rounds": pa.array([job.rounds for job in jobs], pa.int64()),
            "pods": pa.array([", ".join(job.pods) for job in jobs], pa.string()),
            "started": pa.array([_time(job.started) for job in jobs], _TIME),
            "ended": pa.array([_time(job.ended) for job in jobs], _TIME),
            "error": pa.array([said(job) for job in jobs], pa.string()),
            "modeller": pa.array([job.modeller or None for job in jobs], pa.string()),
        }
    )


def _log(lines: Sequence[Line]) -> pa.Table:
    return pa.table(
        {
            "at": pa.array([_time(line.at) for line in lines], _TIME),
            "event": pa.array([line.event for line in lines], pa.string()),
            "round": pa.array([line.round for line in lines], pa.int64()),
            "n": pa.array([line.n for line in lines], pa.int64()),
            "objective": pa.array([line.objective for line in lines], pa.float64()),
            "change": pa.array([line.change for line in lines], pa.float64()),
            "seconds": pa.array([line.seconds for line in lines], pa.float64()),
            "pods": pa.array([", ".join(line.pods) for line in lines], pa.string()),
            "note": pa.array([line.note or None for line in lines], pa.string()),
        }
    )


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
