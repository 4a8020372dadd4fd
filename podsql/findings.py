"""What a check found: one line each, with the next command where something is wrong.

Rule to keep: a finding names files, peers and counts, never values or secrets.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of a check; ``next`` is a command or one sentence of advice."""

    check: str
    state: Literal["ok", "warning", "failed"]
    text: str
    next: str = ""


def worst(findings: list[Finding]) -> Literal["ok", "warning", "failed"]:
    """The worst state among findings."""
    states = {finding.state for finding in findings}
    return "failed" if "failed" in states else "warning" if "warning" in states else "ok"
