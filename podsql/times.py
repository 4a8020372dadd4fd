"""Moments as people read and write them: UTC, to the second or to the day."""

import re
from datetime import UTC, datetime
from typing import Final

DAY_MS: Final = 86_400_000


def iso(milliseconds: int) -> str:
    """``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def end_of_day(text: str) -> int:
    """When the day ``YYYY-MM-DD`` is over, in ms since the epoch; ValueError if it is none."""
    # date.fromisoformat also takes weeks, and days without dashes.
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError
    day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    return int(day.timestamp()) * 1000 + DAY_MS
