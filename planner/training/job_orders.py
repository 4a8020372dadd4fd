"""Orders about training jobs, read from text.

    SHOW JOBS; SHOW JOB 'id'; CANCEL JOB 'id'; RESUME JOB 'id'

Rule to keep: an id is a string, of hex digits or the first of them; what it names is not known here.
"""

from dataclasses import dataclass
from typing import Final

from podsql.planner.forms import Form, Rest
from podsql.planner.tokens import scalar_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJobs:
    """``SHOW JOBS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJob:
    """``SHOW JOB 'id'``: its log."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """``CANCEL JOB 'id'``."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeJob:
    """``RESUME JOB 'id'``."""

    job: str


JobOrder = ShowJobs | ShowJob | CancelJob | ResumeJob


def read_show_job(rest: Rest) -> ShowJob:
    """After ``JOB``."""
    return ShowJob(job=_id(rest))


def _cancel(rest: Rest) -> CancelJob:
    rest.require("job")
    return CancelJob(job=_id(rest))


def _resume(rest: Rest) -> ResumeJob:
    rest.require("job")
    return ResumeJob(job=_id(rest))


def _id(rest: Rest) -> str:
    token = rest.tokens.pop(0) if rest.tokens else None
    text = scalar_text(token) if token is not None and token.kind == "string" else None
    if not text:
        raise rest.malformed()
    rest.end()
    return text


FORMS: Final = {
    "cancel": Form(_cancel, "CANCEL JOB takes the id of a job", "CANCEL JOB '5e0c1f6a9b2d'"),
    "resume": Form(_resume, "RESUME JOB takes the id of a job", "RESUME JOB '5e0c1f6a9b2d'"),
}
