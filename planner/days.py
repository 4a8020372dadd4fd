"""A day as people write it, to the moment it ends: strict ISO, in UTC."""

import re
from datetime import UTC, datetime
from typing import Final

DAY_MS: Final = 86_400_000


def end_of_day(text: str) -> int:
    """Ms since the epoch when the day ``YYYY-MM-DD`` is over; ValueError if it is none."""
    # date.fromisoformat also takes weeks, and days without dashes.
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError
    day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    return int(day.timestamp()) * 1000 + DAY_MS
