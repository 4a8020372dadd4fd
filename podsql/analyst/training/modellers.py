"""The modellers of a federation, and one question to one of them.

Rule to keep: a modeller that does not answer is said to be away, by name; nothing is made up for it.
"""

from collections.abc import Collection
from typing import Final

from podsql.analyst.gathering import ask_each
from podsql.analyst.statement import Statement
from podsql.errors import Error, error
from podsql.job_messages import JobReply
from podsql.message import Message
from podsql.messages import encode, reply_of
from podsql.planner.syntax import nearest
from podsql.relay.cards import Card

PATIENCE: Final = 10.0
"""Seconds a modeller gets to answer."""
AWAY: Final = frozenset({"POD_LOST", "TIMEOUT", "RELAY_UNREACHABLE", "UNKNOWN_PEER"})


def modellers(statement: Statement) -> dict[str, Card]:
    """By name, in order."""
    manifest = statement.federation.membership.store.current
    cards = [card for card in manifest.members() if card.role == "modeller"] if manifest else []
    return {card.name: card for card in sorted(cards, key=lambda card: card.name)}


def chosen(name: str | None, statement: Statement) -> Card:
    """The modeller of that name, or the only one; UNKNOWN_PEER, or OPTION if there are several."""
    known = modellers(statement)
    if not known:
        raise error(
            "UNKNOWN_PEER",
            "the federation has no modeller that could train while you are away",
            hint="invite one: podsql invite NAME --role modeller",
        )
    if name is None:
        if len(known) > 1:
            raise error(
                "OPTION",
                f"the federation has {len(known)} modellers",
                hint=f"WITH (detached = true, modeller = '{min(known)}')",
            )
        return known[min(known)]
    if name not in known:
        raise error(
            "UNKNOWN_PEER",
            f"the federation has no modeller {name!r}",
            hint=nearest(name, list(known)),
        )
    return known[name]


def ask(modeller: str, message: Message, statement: Statement) -> JobReply:
    """What the modeller answers; its refusal, or that it is away."""
    card = modellers(statement).get(modeller)
    if card is None:
        raise error("UNKNOWN_PEER", f"the federation has no modeller {modeller!r} any more")
    return _read(modeller, ask_each(statement, {card: encode(message)}, timeout=PATIENCE)[modeller])


def ask_all(
    names: Collection[str], message: Message, statement: Statement
) -> dict[str, JobReply | Error]:
    """By name: what each of these answers."""
    known = modellers(statement)
    bodies = {known[name]: encode(message) for name in names if name in known}
    replies = ask_each(statement, bodies, timeout=PATIENCE) if bodies else {}
    found: dict[str, JobReply | Error] = {}
    for name in names:
        try:
            if name not in known:
                raise error("UNKNOWN_PEER", f"the federation has no modeller {name!r} any more")
            found[name] = _read(name, replies[name])
        except Error as fault:
            found[name] = fault
    return found


def _read(modeller: str, reply: bytes | Error) -> JobReply:
    if isinstance(reply, Error) and reply.code in AWAY:
        raise error(
            reply.code,
            f"modeller {modeller!r} is away: {reply.message}",
            hint="its jobs go on by themselves as soon as it is back; ask again later",
        )
    return reply_of(JobReply, reply, f"modeller {modeller!r} did not answer the question")
