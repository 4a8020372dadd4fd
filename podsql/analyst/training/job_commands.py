"""What each statement around training jobs answers."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa

from podsql.analyst.answering import Answer, answer_of
from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
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
            return answer_of(_shown(jobs.all()))
        case ShowJob():
            return answer_of(_log(jobs.lines(jobs.get(order.job).id)))
        case CancelJob():
            jobs.cancel(order.job, time.time_ns() // 1_000_000)
            return Answer(rows=1)
        case ResumeJob():
            return answer_of(summary(resume(order.job, statement, bench)))


def _shown(jobs: Sequence[Job]) -> pa.Table:
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
            "error": pa.array([job.error or None for job in jobs], pa.string()),
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
