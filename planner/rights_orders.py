"""``GRANT``, ``REVOKE``, ``REQUEST ACCESS``, ``WITHDRAW REQUEST``, and what shows their outcome.

They are orders to a policy service, not statements over data: no pod sees them. Rule to keep: an
order says everything it gives in its own text; what is left out is the least that can be meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from podsql.errors import Error, error
from podsql.planner.closing import Value
from podsql.planner.forms import Form, Rest
from podsql.planner.syntax import nearest
from podsql.planner.tokens import scalar_text
from podsql.times import end_of_day

Act = Literal["ask", "grant", "revoke", "withdraw"]
Release = Literal["sdc_local", "sdc_merged", "dp", "rows"]
Listed = Literal["grants", "requests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What ``WITH (…)`` says. ``until``: ms since the epoch, 0 without an end; None: not said."""

    pod: str = "*"
    purpose: str | None = None
    project: str | None = None
    until: int = 0
    release: Release = "sdc_local"
    review: bool = False
    reason: str = ""
    service: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsOrder:
    """An order. ``analyst``: name or fingerprint of whom it is about."""

    act: Act
    tables: tuple[str, ...] = ()
    analyst: str = ""
    grant_id: str = ""
    request: int = 0
    terms: Terms = Terms()

    @property
    def words(self) -> str:
        """How the statement is called."""
        return {"ask": "REQUEST ACCESS", "withdraw": "WITHDRAW REQUEST"}.get(
            self.act, self.act.upper()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRights:
    """``SHOW GRANTS FOR ME | EVERYBODY`` and ``SHOW REQUESTS [FOR …]``: what the services hold."""

    what: Listed
    everybody: bool = False
    terms: Terms = Terms()


_SENT: Final = ("service", "timeout")
_SCOPE: Final = ("pod", "purpose", "project", "until", "release", "reason", *_SENT)


def _grant(rest: Rest) -> RightsOrder:
    _need(rest, "select", "on")
    tables = _tables(rest)
    _need(rest, "to")
    who = _one(rest)
    return RightsOrder(
        act="grant", tables=tables, analyst=who, terms=_terms(rest, "review", *_SCOPE)
    )


def _revoke(rest: Rest) -> RightsOrder:
    if rest.takes("grant"):
        ident = _one(rest)
        return RightsOrder(act="revoke", grant_id=ident, terms=_terms(rest, *_SENT))
    _need(rest, "select", "on")
    tables = _tables(rest)
    _need(rest, "from")
    who = _one(rest)
    return RightsOrder(act="revoke", tables=tables, analyst=who, terms=_terms(rest, "pod", *_SENT))


def _request(rest: Rest) -> RightsOrder:
    _need(rest, "access", "on")
    return RightsOrder(act="ask", tables=_tables(rest), terms=_terms(rest, *_SCOPE))


def _withdraw(rest: Rest) -> RightsOrder:
    _need(rest, "request")
    number = rest.tokens[0].text if rest.tokens else ""
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 1 << 53):
        raise rest.unread()
    rest.tokens.pop(0)
    return RightsOrder(act="withdraw", request=int(number), terms=_terms(rest, *_SENT))


def show_rights(rest: Rest, what: Listed) -> ShowRights:
    """What follows ``SHOW GRANTS`` or ``SHOW REQUESTS``."""
    everybody = False
    if rest.takes("for"):
        everybody = rest.takes("everybody")
        if not everybody:
            _need(rest, "me")
    return ShowRights(what=what, everybody=everybody, terms=_terms(rest, *_SENT))


def _need(rest: Rest, *words: str) -> None:
    for word in words:
        if not rest.takes(word):
            raise rest.unread()


def _tables(rest: Rest) -> tuple[str, ...]:
    """``t``, ``schema.t`` or a pattern (``*``, ``'main.v*'``), separated by commas; each once."""
    found = [_table(rest)]
    while rest.tokens and rest.tokens[0].text == ",":
        rest.tokens.pop(0)
        found.append(_table(rest))
    return tuple(dict.fromkeys(found))


def _table(rest: Rest) -> str:
    parts = [_part(rest)]
    while rest.tokens and rest.tokens[0].text == ".":
        if len(parts) == 2:
            fault = rest.unread()
            fault.hint = "a table is NAME or SCHEMA.NAME; WITH (pod = '…') names a pod"
            raise fault
        rest.tokens.pop(0)
        parts.append(_part(rest))
    return ".".join(parts)


def _part(rest: Rest) -> str:
    if rest.tokens and rest.tokens[0].text == "*":
        return rest.tokens.pop(0).text
    return _one(rest)


def _one(rest: Rest) -> str:
    """A word, a quoted name or a string."""
    found = scalar_text(rest.tokens[0]) if rest.tokens else None
    if not found:
        raise rest.unread()
    rest.tokens.pop(0)
    return found


def _terms(rest: Rest, *known: str) -> Terms:
    values = rest.values(known)
    return Terms(
        pod=_text(values, "pod") or "*",
        purpose=_text(values, "purpose"),
        project=_text(values, "project"),
        until=_until(values),
        release=_release(values),
        review=_review(values),
        reason=_text(values, "reason") or "",
        service=_text(values, "service"),
        timeout=_timeout(values),
    )


def _text(values: Mapping[str, Value], name: str) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, "a string, not empty")
    return value


def _until(values: Mapping[str, Value]) -> int:
    value = values.get("until")
    if value is None:
        return 0
    try:
        return end_of_day(value if isinstance(value, str) else "")
    except ValueError:
        raise _wrong("until", "the last day, as 'YYYY-MM-DD' (UTC)") from None


def _release(values: Mapping[str, Value]) -> Release:
    value = values.get("release", "sdc_local")
    known: tuple[str, ...] = get_args(Release)
    if value not in known:
        near = nearest(value, known) if isinstance(value, str) else f"one of {', '.join(known)}"
        raise error("OPTION", "option 'release' has no such value", hint=near)
    return cast(Release, value)  # it is one of them


def _review(values: Mapping[str, Value]) -> bool:
    value = values.get("review", False)
    if not isinstance(value, bool):
        raise _wrong("review", "true or false")
    return value


def _timeout(values: Mapping[str, Value]) -> float | None:
    value = values.get("timeout")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise _wrong("timeout", "seconds, more than 0")
    return float(value)


def _wrong(name: str, wanted: str) -> Error:
    return error("OPTION", f"option {name!r} takes {wanted}")


FORMS: Final = {
    "grant": Form(
        _grant,
        "GRANT gives SELECT on tables to one analyst",
        "GRANT SELECT ON visits TO ana WITH (purpose = 'cohort', until = '2027-01-31')",
    ),
    "revoke": Form(
        _revoke,
        "REVOKE takes SELECT on tables from one analyst, or ends one grant",
        "REVOKE SELECT ON visits FROM ana, or REVOKE GRANT 'id'",
    ),
    "request": Form(
        _request,
        "REQUEST ACCESS asks the custodians for tables",
        "REQUEST ACCESS ON visits WITH (purpose = 'cohort', reason = '…')",
    ),
    "withdraw": Form(
        _withdraw, "WITHDRAW REQUEST takes a number", "WITHDRAW REQUEST 12; SHOW REQUESTS"
    ),
}
"""By first word."""
