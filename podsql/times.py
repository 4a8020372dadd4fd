"""Milliseconds since the epoch as people read them: UTC, to the second."""

from datetime import UTC, datetime


def iso(milliseconds: int) -> str:
    """``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
