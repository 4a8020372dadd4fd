"""The audit log for other machines: JSON lines, CEF, and syslog (RFC 5424).

JSON lines hold all of a line, its number and hashes too, so the receiver can check the chain; what is
beyond ASCII is escaped. The other two are events for a SIEM, and leave the statement's text out unless asked:
it may hold literals. Rule to keep: one event, one line, whatever a statement holds.
"""

import json
from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec

from podsql.policy.audit import Entry, Line
from podsql.times import iso

Form = Literal["jsonl", "cef", "syslog"]
FORMS: tuple[Form, ...] = get_args(Form)
ENTERPRISE: Final = 32473
"""The private enterprise number that RFC 5612 keeps for documentation: podsql has none of its own."""
FACILITY: Final = 13
"""``log audit`` (RFC 5424, table 1)."""
_INFORMATIONAL, _NOTICE = 6, 5


def exporter(form: Form, *, pod: str, version: str, statements: bool) -> Callable[[Line], str]:
    """How to write one line of the log in ``form``, without a line break."""
    if form == "jsonl":
        return lambda line: json.dumps(msgspec.to_builtins(line))
    if form == "cef":
        return lambda line: cef(line, pod=pod, version=version, statements=statements)
    return lambda line: syslog(line, pod=pod, statements=statements)


def cef(line: Line, *, pod: str, version: str, statements: bool) -> str:
    """ArcSight's Common Event Format, version 0."""
    entry = line.entry
    name = _name(entry)
    severity = "5" if entry.decision == "deny" else "3"
    head = "|".join(
        ("CEF:0", "podsql", "pod", _cef_head(version), _cef_head(entry.event), name, severity)
    )
    return (
        head
        + "|"
        + " ".join(
            f"{key}={_cef_value(value)}" for key, value in _cef_fields(line, pod, statements)
        )
    )


def _cef_fields(line: Line, pod: str, statements: bool) -> list[tuple[str, str]]:
    entry = line.entry
    fields = [
        ("rt", str(entry.time)),
        ("dvchost", pod),
        ("externalId", str(line.number)),
        ("act", entry.decision),
        ("reason", entry.reason),
        ("suser", entry.analyst),
        ("suid", entry.fingerprint),
        ("out", str(entry.bytes)),
        ("cnt", str(entry.rows)),
        ("fileHash", entry.result_hash),
    ]
    labelled = (
        ("project", entry.project),
        ("purpose", entry.purpose),
        ("tables", ",".join(entry.tables)),
        ("policy", entry.policy_hash),
        ("lineHash", line.hash),
        ("statement", entry.statement if statements else ""),
    )
    if entry.asked_by:
        fields += [("flexString1Label", "modeller"), ("flexString1", entry.asked_by)]
    for at, (label, value) in enumerate(labelled, 1):
        fields += [(f"cs{at}Label", label), (f"cs{at}", value)] if value else []
    return [(key, value) for key, value in fields if value]


def syslog(line: Line, *, pod: str, statements: bool) -> str:
    """RFC 5424: priority, version, time, host, application, process, kind, data, message."""
    entry = line.entry
    priority = FACILITY * 8 + (_NOTICE if entry.decision == "deny" else _INFORMATIONAL)
    data = "".join(
        f' {key}="{_sd_value(value)}"' for key, value in _sd_fields(line, statements) if value
    )
    stamp = iso(entry.time)[:-1] + f".{entry.time % 1000:03}Z"
    return f"<{priority}>1 {stamp} {pod} podsql - {entry.event} [podsql@{ENTERPRISE}{data}] {_name(entry)}"


def _sd_fields(line: Line, statements: bool) -> tuple[tuple[str, str], ...]:
    entry = line.entry
    return (
        ("number", str(line.number)),
        ("hash", line.hash),
        ("decision", entry.decision),
        ("reason", entry.reason),
        ("analyst", entry.analyst),
        ("fingerprint", entry.fingerprint),
        ("modeller", entry.asked_by),
        ("project", entry.project),
        ("purpose", entry.purpose),
        ("tables", ",".join(entry.tables)),
        ("release", entry.release),
        ("rows", str(entry.rows)),
        ("withheld", str(entry.withheld)),
        ("policy", entry.policy_hash),
        ("data", entry.data_version),
        ("result", entry.result_hash),
        ("request", entry.request_id),
        ("statement", entry.statement if statements else ""),
    )


def _name(entry: Entry) -> str:
    """A few words without anything of the asker's."""
    if entry.event in ("query", "explain"):
        what = "statement" if entry.event == "query" else "dry run"
        return f"{what} {'denied' if entry.decision == 'deny' else 'allowed'}"
    return f"pod {entry.event}"


def _cef_head(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("=", "\\=")
    return _one_line(escaped.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\r"))


def _sd_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return _one_line(escaped)


def _one_line(text: str) -> str:
    """No character that ends a line or steers a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
