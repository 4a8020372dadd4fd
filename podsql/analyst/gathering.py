"""One question to several peers at once: waits for all of them, or for the statement's end.

Rule to keep: each peer that was asked has its answer, or the error that stands for it.
"""

import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue

from podsql.analyst.statement import Statement
from podsql.errors import Error, error
from podsql.relay.cards import Card

GRACE = 5.0
"""Seconds beyond the deadline until a call counts as unanswered even if nobody said so."""


def ask_each(
    statement: Statement, bodies: Mapping[Card, bytes], *, timeout: float
) -> dict[str, bytes | Error]:
    """By name: the reply of each peer to its body. CANCELLED stands for those not yet in."""
    answers: SimpleQueue[tuple[str, bytes | Error]] = SimpleQueue()
    cancelled = error("CANCELLED", "the statement was cancelled")
    statement.on_cancel = lambda: answers.put(("", cancelled))
    if statement.cancelled:
        raise cancelled
    deadline = time.monotonic() + timeout + GRACE
    for card, body in bodies.items():
        statement.federation.endpoint.call(
            card,
            body,
            timeout=timeout,
            on_reply=lambda reply, name=card.name: answers.put((name, reply)),  # type: ignore[misc]
        )
    names = {card.name for card in bodies}
    found: dict[str, bytes | Error] = {}
    while found.keys() != names:
        try:
            name, reply = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            name, reply = "", error("TIMEOUT", "the peer did not answer in time")
        found |= {name: reply} if name else dict.fromkeys(names - found.keys(), reply)
    return found
