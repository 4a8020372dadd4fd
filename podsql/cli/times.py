"""Moments as people read and write them: UTC, to the second or to the day."""

from datetime import UTC, datetime

from podsql.errors import error
from podsql.planner.days import end_of_day


def iso(milliseconds: int) -> str:
    """``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_over(text: str, option: str) -> int:
    """When the day ``YYYY-MM-DD`` of ``option`` is over, in ms; ARGUMENT if it is none."""
    try:
        return end_of_day(text)
    except ValueError:
        raise error("ARGUMENT", f"{option} wants a day as YYYY-MM-DD (UTC)") from None
