"""What an endpoint hands to its owner: a call to answer, a stream to pace.

Rule to keep: both may be used from any thread; all they do is feed events to the I/O thread.
"""

from collections.abc import Callable

from podsql.errors import Error
from podsql.relay import events as ev


class Request:
    """A call that arrived (or a note, whose replies go nowhere). Reply once, from any thread."""

    __slots__ = ("_feed", "_ident", "body", "handshake", "peer")

    def __init__(self, feed: Callable[[ev.Event], None], asked: ev.Asked) -> None:
        self.peer = asked.peer
        self.body = asked.body
        self.handshake = asked.handshake
        self._ident = asked.ident
        self._feed = feed

    @property
    def wants_reply(self) -> bool:
        """False for a note."""
        return self._ident is not None

    def reply(self, body: bytes) -> None:
        """Answer; a second answer is ignored."""
        if self._ident is not None:
            self._feed(ev.Answer(self.peer.address, self._ident, body))

    def decline(self, fault: Error) -> None:
        """Answer with an error, which the caller gets as such."""
        if self._ident is not None:
            self._feed(ev.Decline(self.peer.address, self._ident, fault))


class StreamReader:
    """A stream being read: its consumer grants credit by saying how many chunks it took."""

    __slots__ = ("_feed", "_frm", "_leave", "_stream")

    def __init__(
        self,
        feed: Callable[[ev.Event], None],
        leave: Callable[[bytes, bytes], None],
        frm: bytes,
        stream: bytes,
    ) -> None:
        self._feed = feed
        self._leave = leave
        self._frm = frm
        self._stream = stream

    def grant(self, count: int = 1) -> None:
        """``count`` chunks were consumed."""
        self._feed(ev.Consumed(self._frm, self._stream, count))

    def close(self) -> None:
        """Stop reading; nothing more is delivered once the I/O thread knows."""
        self._leave(self._frm, self._stream)
