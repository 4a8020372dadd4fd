"""Old lines leave the audit log, and the chain stays verifiable.

1. The whole chain is checked: a changed log is never pruned into a clean one.
2. A line ``prune`` is appended: how many lines will have left, and the hash of the last of them.
3. The file is replaced by a signed checkpoint with the same two facts and all later lines.

A crash between 2 and 3 leaves an announcement without effect, which does no harm. Lines leave from
the front only, up to the first that is young enough. Rule to keep: only the process that holds the
log open prunes it (``Audit`` locks the file), so two writers never meet.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from podsql.errors import error
from podsql.policy.audit import Audit, Entry, check, lines
from podsql.policy.checkpoint import write_checkpoint
from podsql.times import iso

YEAR_MS: Final = 365 * 24 * 3600 * 1000
LEAST_YEARS: Final = 1
"""Younger lines leave by force only."""
DEFAULT_YEARS: Final = 7
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What left now, and what left ever."""

    removed: int
    removed_ever: int
    head: str


def prune(audit: Audit, *, before: int, now: int, seed: bytes) -> Pruned:
    """Remove the lines from before ``before`` (ms); ``seed`` is the pod's identity key."""
    chain = check(audit.path)
    last, ever = "", chain.removed
    for line in lines(audit.path):
        if line.entry.time >= before:
            break
        last, ever = line.hash, line.number + 1
    if not last:
        return Pruned(removed=0, removed_ever=chain.removed, head=audit.head)
    reason = f"lines before {iso(before)}"
    audit.append(Entry(time=now, event="prune", reason=reason, rows=ever, result_hash=last))
    checkpoint = write_checkpoint(removed=ever, last=last, before=before, now=now, seed=seed)
    skipped = ever - chain.removed + (chain.checkpoint is not None)

    def make(file: int) -> None:
        with audit.path.open("rb") as old, os.fdopen(os.dup(file), "wb") as new:
            for _ in range(skipped):
                old.readline()
            new.write(checkpoint)
            while piece := old.read(_COPY_BYTES):
                new.write(piece)

    audit.rewrite(make)
    return Pruned(removed=ever - chain.removed, removed_ever=ever, head=audit.head)


def oldest_kept(now: int, years: int = DEFAULT_YEARS) -> int:
    """The time (ms) before which lines may leave under a retention of ``years``."""
    day = datetime.fromtimestamp(now / 1000, UTC)
    start = day.replace(year=day.year - years, day=min(day.day, 28))
    return int(start.timestamp() * 1000)


def require_old_enough(before: int, *, now: int, years: int | None, force: bool) -> None:
    """ARGUMENT if lines younger than a year, or than the stated retention, would leave unforced."""
    if force:
        return
    least = max(LEAST_YEARS, years or 0)
    if before > oldest_kept(now, least):
        stated = "the stated retention" if years and years > LEAST_YEARS else "the least retention"
        raise error(
            "ARGUMENT",
            f"lines younger than {least} year(s) would leave: {stated}",
            hint=f"--before {iso(oldest_kept(now, least))[:10]}, or --force",
        )
