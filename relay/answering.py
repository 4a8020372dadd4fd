"""The answering side: each call is served once, however often it arrives.

Rule to keep: a reply goes to the peer whose session brought the call, and is kept for repeats.
"""

from podsql.errors import Error, error
from podsql.relay import events as ev
from podsql.relay.calls import Served, Verdict
from podsql.relay.channels import Channel
from podsql.relay.outbox import Outbox, refuse
from podsql.relay.records import Record


class Answering:
    """Calls from others."""

    def __init__(self, outbox: Outbox) -> None:
        self._out = outbox
        self._served: dict[bytes, Served] = {}

    def arrived(self, found: Channel, ident: int, body: bytes, now: float) -> None:
        """A call, authenticated."""
        served = self._served.get(found.peer)
        if served is None:
            served = self._served[found.peer] = Served()
        verdict = served.admit(ident)
        if verdict is Verdict.SERVE:
            self._out.emit(ev.Asked(found.card, ident, body, found.session.handshake_hash))
        elif verdict is Verdict.ANSWERED:
            kind, reply = served.reply(ident)
            self._out.record(found.peer, kind, ident, reply, now)
        elif verdict is Verdict.FORGOTTEN:
            fault = error("REPLAY", "the call was answered long ago")
            self._out.record(found.peer, Record.REFUSED, ident, refuse(fault), now)
        elif verdict is Verdict.FULL:
            fault = error("BUSY", "too many calls at once")
            self._out.record(found.peer, Record.REFUSED, ident, refuse(fault), now)

    def answer(self, event: ev.Answer, now: float) -> None:
        """The owner's reply."""
        self._respond(event.peer, event.ident, Record.REPLY, event.body, now)

    def decline(self, event: ev.Decline, now: float) -> None:
        """The owner's refusal."""
        self._respond(event.peer, event.ident, Record.REFUSED, refuse(event.fault), now)

    def forget(self, peer: bytes) -> None:
        """The peer is no longer a member."""
        self._served.pop(peer, None)

    def _respond(self, peer: bytes, ident: int, kind: int, body: bytes, now: float) -> None:
        served = self._served.get(peer)
        if served is None or not served.answer(ident, kind, body):
            return
        try:
            self._out.record(peer, kind, ident, body, now)
        except Error as fault:
            # Too large for a frame: the caller must hear of it rather than wait.
            served.amend(ident, Record.REFUSED, refuse(fault))
            self._out.record(peer, Record.REFUSED, ident, refuse(fault), now)
