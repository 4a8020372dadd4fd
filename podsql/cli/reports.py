"""Findings of a check as text or JSON, and the exit code they mean."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from podsql.cli.exits import FAILED, OK
from podsql.cli.terminal import put, put_json

if TYPE_CHECKING:
    from podsql.findings import Finding

_MARKS = {"ok": "ok      ", "warning": "warning ", "failed": "FAILED  "}


def put_findings(findings: "Sequence[Finding]", *, as_json: bool) -> int:
    """Print every finding with its next step; 1 if one failed."""
    from podsql.findings import worst

    state = worst(list(findings))
    if as_json:
        put_json({"state": state, "findings": [asdict(finding) for finding in findings]})
        return FAILED if state == "failed" else OK
    for finding in findings:
        put(f"{_MARKS[finding.state]}{finding.check}: {finding.text}")
        if finding.next:
            put(f"        next: {finding.next}")
    return FAILED if state == "failed" else OK
