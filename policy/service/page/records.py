"""What was decided and what was changed: searched, exported, and the chain of changes verified."""

import csv
import io
import json
from datetime import UTC, date, datetime
from typing import Any, Final

from starlette.responses import Response

from podsql.errors import Error
from podsql.policy.service import history
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.store import Decided, search_decisions
from podsql.relay.keys import fingerprint

SHOWN: Final = 200
EXPORTED: Final = 100_000
ANSWERS: Final = {"": "all", "allowed": "allowed", "denied": "denied"}


def show_decisions(visit: Visit) -> Response:
    """The last decisions that a search finds."""
    asked = _asked(visit)
    return visit.page(
        "decisions.html",
        decisions=_decisions(visit, SHOWN),
        shown=SHOWN,
        answers=ANSWERS,
        q=asked["q"],
        answer=asked["answer"],
        since=asked["since"],
        until=asked["until"],
    )


def export_decisions(visit: Visit) -> Response:
    """All that the search finds, as CSV or JSON."""
    rows = [_decision_row(name, one) for name, one in _decisions(visit, EXPORTED)]
    return _export(visit, "decisions", rows)


def show_history(visit: Visit, verdict: str = "", fault: Error | None = None) -> Response:
    """Who changed what."""
    text = visit.ask.query.get("q", "")[:200].strip()
    return visit.page(
        "history.html",
        409 if fault else 200,
        changes=history.changes(visit.database, search=text, limit=SHOWN),
        q=text,
        verdict=verdict,
        fault=fault,
        shown=SHOWN,
    )


def verify_history(visit: Visit) -> Response:
    """Check every hash of the chain."""
    try:
        count = history.verify(visit.database)
    except Error as fault:
        return show_history(visit, fault=fault)
    return show_history(visit, verdict=f"All {count} acts are as they were written.")


def export_history(visit: Visit) -> Response:
    """The whole record."""
    text = visit.ask.query.get("q", "")[:200].strip()
    rows = [
        {
            "number": one.number,
            "time": _iso(one.time),
            "actor": one.actor,
            "act": one.act,
            "object": one.object,
            "detail": one.detail,
            "hash": one.hash.hex(),
        }
        for one in history.changes(visit.database, search=text, limit=EXPORTED)
    ]
    return _export(visit, "history", rows)


def _asked(visit: Visit) -> dict[str, str]:
    query = visit.ask.query
    answer = query.get("answer", "")
    return {
        "q": query.get("q", "")[:200].strip(),
        "answer": answer if answer in ANSWERS else "",
        "since": query.get("since", "")[:10],
        "until": query.get("until", "")[:10],
    }


def _decisions(visit: Visit, limit: int) -> list[tuple[str, Decided]]:
    asked = _asked(visit)
    return search_decisions(
        visit.database,
        text=asked["q"],
        allowed={"allowed": True, "denied": False}.get(asked["answer"]),
        since=_day(asked["since"], 0),
        until=_day(asked["until"], (1 << 62) - 86_400_000) + 86_400_000,
        limit=limit,
    )


def _decision_row(name: str, one: Decided) -> dict[str, Any]:
    return {
        "time": _iso(one.time),
        "pod": one.pod,
        "analyst": name,
        "key": fingerprint(one.analyst),
        "tables": " ".join(one.tables),
        "purpose": one.purpose,
        "project": one.project,
        "allowed": one.allow,
        "reason": one.reason,
        "query_hash": one.query_hash.hex(),
    }


def _export(visit: Visit, name: str, rows: list[dict[str, Any]]) -> Response:
    if visit.ask.query.get("format") == "json":
        return _file(json.dumps(rows, indent=1), f"{name}.json", "application/json")
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return _file(text.getvalue(), f"{name}.csv", "text/csv")


def _cell(value: Any) -> Any:
    """Spreadsheets run what begins like a formula: names of others are text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value


def _file(text: str, name: str, kind: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=kind, headers=headers)


def _day(text: str, otherwise: int) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return otherwise
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
