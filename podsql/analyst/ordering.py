"""Orders of rights in SQL: from a statement to every policy service and back, as a table.

An order is signed by this person's own key for one service, with a fresh id and time; no pod sees
it. Rule to keep: every service that was asked has its row, which says what happened there.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from podsql.analyst.gathering import ask_each
from podsql.analyst.statement import Statement
from podsql.errors import Error, error
from podsql.messages import Failed, decode, encode
from podsql.planner.rights_orders import RightsOrder, ShowRights, Terms
from podsql.planner.syntax import nearest
from podsql.relay.cards import Card
from podsql.relay.signing import sign
from podsql.service_messages import (
    Order,
    OrderReply,
    OrderRequest,
    RightsLine,
    RightsReply,
    RightsRequest,
)

ORDERED: Final = pa.schema(
    [
        ("service", pa.string()),
        ("what", pa.string()),
        ("id", pa.string()),
        ("state", pa.string()),
        ("note", pa.string()),
    ]
)
"""``what``: grant or request. ``state``: as it is now, or the code of why nothing was done."""
RIGHTS: Final = pa.schema(
    [
        ("service", pa.string()),
        ("id", pa.string()),
        ("analyst", pa.string()),
        ("pod", pa.string()),
        ("tables", pa.string()),
        ("purpose", pa.string()),
        ("project", pa.string()),
        ("release", pa.string()),
        ("until", pa.timestamp("ms", "UTC")),
        ("state", pa.string()),
        ("note", pa.string()),
    ]
)
_UNSURE: Final = frozenset({"TIMEOUT", "POD_LOST", "CANCELLED", "REPLAY", "CLOSED"})
"""Codes after which an order may have been carried out all the same."""
_DOUBT: Final = "it may have been carried out: SHOW GRANTS FOR ME, SHOW REQUESTS"
Row = dict[str, object]


def give_order(order: RightsOrder, statement: Statement) -> pa.Table:
    """What became of ``order`` at each service; the error of all of them if none did it."""
    services = _services(order.terms, statement)
    if order.act == "withdraw" and len(services) > 1:
        raise error(
            "ARGUMENT",
            "each policy service numbers its own requests, and there are several services",
            hint="WITHDRAW REQUEST 12 WITH (service = '…')",
        )
    if order.terms.until and order.terms.until <= _now():
        raise error("OPTION", "option 'until' names a day that is over")
    if order.act in ("ask", "grant"):
        _require_pod(order.terms.pod, statement)
    bodies = {card: _signed(order, card, statement) for card in services}
    replies = _ask_all(bodies, order.terms, statement)
    faults = {card: reply for card, reply in replies.items() if isinstance(reply, Error)}
    if len(faults) == len(services):
        raise _failed(faults, _advice(order, faults, statement))
    rows = [row for card in services for row in _outcome(order, card.name, replies[card])]
    return pa.Table.from_pylist(rows, schema=ORDERED)


def show_rights(command: ShowRights, statement: Statement) -> pa.Table:
    """Grants or requests that the services hold; an error if one does not answer."""
    services = _services(command.terms, statement)
    one_only = "WITH (service = '…') asks one service only" if len(services) > 1 else ""
    kind = command.what.removesuffix("s")
    rows: list[Row] = []
    for card in services:
        start, more = 0, True
        while more:
            body = encode(RightsRequest(everybody=command.everybody, start=start))
            reply = _ask_all({card: body}, command.terms, statement)[card]
            if isinstance(reply, Error):
                raise _failed({card: reply}, one_only)
            if not isinstance(reply, RightsReply):
                raise _odd(card)
            rows += [_line(card.name, line) for line in reply.lines if line.what == kind]
            start += len(reply.lines)
            more = reply.more and bool(reply.lines)
    return pa.Table.from_pylist(rows, schema=RIGHTS)


def _services(terms: Terms, statement: Statement) -> Sequence[Card]:
    """The services an order goes to: all of the manifest, or the one that it names."""
    manifest = statement.federation.membership.store.current
    cards = [card for card in manifest.members() if card.role == "service"] if manifest else []
    if not cards:
        raise error(
            "NOT_SUPPORTED",
            "this federation has no policy service that could keep rights",
            hint="each pod's own policy file says who may ask; SHOW GRANTS shows what pods offer",
        )
    if terms.service is None:
        return sorted(cards, key=lambda card: card.name)
    named = [card for card in cards if terms.service in (card.name, card.fingerprint)]
    if not named:
        raise error(
            "UNKNOWN_PEER",
            f"the federation has no policy service {terms.service!r}",
            hint=nearest(terms.service, [card.name for card in cards]),
        )
    return named


def _require_pod(pod: str, statement: Statement) -> None:
    """A name that no pod has is a slip; a pattern may be meant for pods that are yet to come."""
    names = [card.name for card in statement.federation.pods()]
    if pod not in names and not set(pod) & set("*?["):
        raise error("UNKNOWN_PEER", f"the federation has no pod {pod!r}", hint=nearest(pod, names))


def _signed(order: RightsOrder, service: Card, statement: Statement) -> bytes:
    keys, terms = statement.federation.membership.keys, order.terms
    # A request is about what its author does here; a grant gives to others only what it says.
    asks = order.act == "ask"
    written = Order(
        id=os.urandom(16),
        service=service.identity,
        actor=keys.identity_public,
        created=_now(),
        act=order.act,
        analyst=order.analyst,
        pod=terms.pod,
        tables=order.tables,
        purpose=terms.purpose or (statement.purpose if asks else "") or "*",
        project=terms.project or (statement.project if asks else "") or "*",
        release=terms.release,
        until=terms.until,
        review=terms.review,
        reason=terms.reason,
        grant_id=order.grant_id,
        request=order.request,
    )
    return encode(OrderRequest(order=sign("order", encode(written), keys.identity)))


def _ask_all(
    bodies: Mapping[Card, bytes], terms: Terms, statement: Statement
) -> dict[Card, OrderReply | RightsReply | Error]:
    """Every service's answer, or why there is none."""
    found = ask_each(statement, bodies, timeout=terms.timeout or statement.timeout)
    return {card: _read(card, found[card.name]) for card in bodies}


def _read(service: Card, reply: bytes | Error) -> OrderReply | RightsReply | Error:
    if isinstance(reply, Error):
        return reply
    try:
        message = decode(reply)
    except Error as fault:
        return fault
    if isinstance(message, Failed):
        return error(message.code, message.message, hint=message.hint)
    return message if isinstance(message, OrderReply | RightsReply) else _odd(service)


def _outcome(
    order: RightsOrder, service: str, reply: OrderReply | RightsReply | Error
) -> list[Row]:
    what = "grant" if order.act in ("grant", "revoke") else "request"
    if isinstance(reply, RightsReply):
        reply = error("BAD_MESSAGE", "the policy service did not answer an order")
    if isinstance(reply, Error):
        note = reply.message + (f"; {_DOUBT}" if reply.code in _UNSURE else "")
        return [_row(service, what, None, reply.code, note)]
    match order.act:
        case "revoke":
            return [_row(service, "grant", ident, "revoked") for ident in reply.grants]
        case "withdraw":
            return [_row(service, "request", str(reply.request), "withdrawn")]
        case "ask":
            return [_row(service, "request", str(reply.request), "open")]
        case "grant":
            if reply.grants:
                return [_row(service, "grant", ident, "in force") for ident in reply.grants]
            note = "a second person must approve it"
            return [_row(service, "request", str(reply.request), "approved once", note)]


def _row(service: str, what: str, ident: str | None, state: str, note: str | None = None) -> Row:
    return {"service": service, "what": what, "id": ident, "state": state, "note": note}


def _line(service: str, line: RightsLine) -> Row:
    return {
        "service": service,
        "id": line.id,
        "analyst": line.analyst,
        "pod": line.pod,
        "tables": ", ".join(line.tables),
        "purpose": line.purpose,
        "project": line.project,
        "release": line.release,
        "until": line.until or None,
        "state": line.state,
        "note": line.note or None,
    }


def _failed(faults: Mapping[Card, Error], hint: str = "") -> Error:
    """One error for services that all failed; its code is the first one's."""
    first = next(iter(faults.values()))
    said = "; ".join(f"{card.name!r}: {fault.message}" for card, fault in faults.items())
    return error(first.code, f"policy service {said}", hint=hint or first.hint)


def _advice(order: RightsOrder, faults: Mapping[Card, Error], statement: Statement) -> str:
    """What to do next, where this side knows better than the service."""
    codes = {fault.code for fault in faults.values()}
    manifest = statement.federation.membership.store.current
    if "UNKNOWN_PEER" in codes and manifest is not None:
        people = [card.name for card in manifest.members() if card.role in ("analyst", "modeller")]
        return nearest(order.analyst, people)
    return _DOUBT if codes & _UNSURE else ""


def _odd(service: Card) -> Error:
    return error("BAD_MESSAGE", f"policy service {service.name!r} did not answer the question")


def _now() -> int:
    return time.time_ns() // 1_000_000
