"""What can happen to a peer and what it then wants done: the border of the core without I/O.

Rule to keep: plain frozen data; no socket, no clock, no callback crosses this border.
"""

from dataclasses import dataclass

from podsql.errors import Error
from podsql.relay.calls import Body
from podsql.relay.cards import Card
from podsql.relay.manifest import Manifest
from podsql.relay.streams import StreamSource

# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """The CURVE handshake with the relay is done."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to the relay is gone."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame from the relay."""

    header: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Ticked:
    """A time that ``deadline`` named has come."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A manifest was verified; who is who from now on."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The manifest in force has expired: nobody is anybody until a newer one comes."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the relay for its manifest."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand the relay a newer manifest."""

    manifest: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """Call a peer; exactly one ``Replied`` follows, by ``deadline``."""

    ident: int
    to: Card
    body: Body
    deadline: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a note to a peer."""

    to: Card
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Reply to the call that ``Asked`` brought."""

    peer: bytes
    ident: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Decline:
    """Refuse the call that ``Asked`` brought."""

    peer: bytes
    ident: int
    fault: Error


@dataclass(frozen=True, slots=True)
class Offer:
    """Let a peer read a stream."""

    to: Card
    source: StreamSource


@dataclass(frozen=True, slots=True)
class Changed:
    """A source on offer has more chunks, failed, or was closed."""

    to: bytes
    stream: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Begin to read a stream; ``Chunk``s follow, then a final one or ``Broke``."""

    frm: Card
    stream: bytes


@dataclass(frozen=True, slots=True)
class Consumed:
    """The reader of a stream took ``count`` chunks."""

    frm: bytes
    stream: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Stop reading a stream."""

    frm: bytes
    stream: bytes


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Two frames to the relay."""

    header: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The relay let this peer in."""

    manifest_version: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest, unverified."""

    manifest: bytes


@dataclass(frozen=True, slots=True)
class PublishRefused:
    """The relay says it will not take a manifest from this peer."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """The relay answers nothing any more: connect anew."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The relay says that another connection of this key took this one's place."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The end of a call."""

    ident: int
    outcome: bytes | Error


@dataclass(frozen=True, slots=True)
class Asked:
    """A peer calls (``ident``), or sends a note (``ident`` None)."""

    peer: Card
    ident: int | None
    body: bytes
    handshake: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next chunk of a stream being read."""

    frm: bytes
    stream: bytes
    index: int
    sealed: bytes
    final: bool


@dataclass(frozen=True, slots=True)
class Broke:
    """A stream being read will not go on."""

    frm: bytes
    stream: bytes
    fault: Error


Event = (
    Connected
    | Disconnected
    | Arrived
    | Ticked
    | Enrolled
    | Lapsed
    | Fetch
    | Publish
    | Ask
    | Tell
    | Answer
    | Decline
    | Offer
    | Changed
    | Read
    | Consumed
    | Leave
)
Effect = (
    Send
    | Welcomed
    | Fetched
    | PublishRefused
    | Stalled
    | Replaced
    | Replied
    | Asked
    | Chunk
    | Broke
)
