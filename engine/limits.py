"""What one statement and one pod may use. Rule to keep: every limit is enforced by two parties,
the engine that should obey it and the operating system or the parent that does not ask.
"""

from typing import Final

import msgspec

PIECE_BYTES: Final = 1 << 20
"""A result leaves the engine in pieces of at most this size."""

GRACE_SECONDS: Final = 1.0
"""Between the interrupt at the deadline and the kill."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a pod's engine. ``memory_mb`` is what one statement may allocate."""

    memory_mb: int = 2048
    threads: int = 2
    seconds: float = 60.0
    max_rows: int = 1_000_000_000
    max_bytes: int = 64 << 30
    statements: int = 1000
    """An engine process is replaced after so many."""
    kept: int = 24
    """Engine processes alive at once, running or warm for their owner."""
    kept_mb: int = 4096
    """Resident memory that warm, idle engine processes may hold together."""
    queue: int = 1000
    """Statements waiting for their turn; further ones are answered BUSY."""
