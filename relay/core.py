"""A federation's rules at the relay, without I/O: who may send what to whom, and what becomes of it.

A connection is known by its route (the socket's random routing id) and its CURVE key (proved by the
handshake); an address has at most one live connection, the newest that said HELLO. Rule to keep:
``src`` is always the sender's own address, written here; bodies are never looked into, save those
addressed to the relay itself.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from podsql.errors import Error
from podsql.relay.frames import HEADER_BYTES, Header, Kind, Nack, decode
from podsql.relay.greeting import Welcome, encode, read_hello
from podsql.relay.limits import Bucket, Conduct, RelayLimits
from podsql.relay.queues import Body, Parcel, Queue
from podsql.relay.roster import Entry, Roster, Standing

GREETING_BYTES: Final = 4096
_TTL: Final = struct.Struct(">I")
_COUNT: Final = struct.Struct(">Q")
_SEND: Final = int(Kind.SEND)
_STREAM: Final = int(Kind.STREAM)


@dataclass(slots=True)
class Connection:
    """A peer that said HELLO."""

    core: "RelayCore"
    route: bytes
    entry: Entry
    queue: Queue
    messages: Bucket
    volume: Bucket
    heard: float
    watching: set[bytes] = field(default_factory=set)
    due: bool = False
    """Kept by whoever empties the queues: it is about to look at this one."""


class RelayCore:
    """Feed it frames with ``arrived``; it queues parcels and calls ``ready(connection)``.

    Every frame of a member ends in exactly one of: queued for its destination, answered with a
    NACK, handled here, or dropped and counted.
    """

    def __init__(
        self, roster: Roster, limits: RelayLimits, ready: Callable[[Connection], None]
    ) -> None:
        self.roster = roster
        self.limits = limits
        self.drops: Counter[str] = Counter()
        self.bytes = 0
        self.messages = 0
        self.waiting = 0
        """Bytes queued for all peers (kept by whoever empties the queues, too)."""
        self.part = limits.process_bytes
        """Bytes that may be queued: this federation's part of the process."""
        self._ready = ready
        self._all_messages = Bucket(limits.federation_messages_per_second, 0.0)
        self._all_volume = Bucket(limits.federation_bytes_per_second, 0.0)
        self._manifests = Bucket(limits.federation_manifest_bytes_per_second, 0.0)
        self._by_address: dict[bytes, Connection] = {}
        self._by_route: dict[bytes, Connection] = {}
        self._conduct: dict[bytes, Conduct] = {}
        self._watchers: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def connections(self) -> Iterable[Connection]:
        """Every live connection."""
        return tuple(self._by_address.values())

    def status(self) -> dict[str, Any]:
        """Counters, without identities; they tell nothing of another federation."""
        return {
            "connections": len(self),
            "messages": self.messages,
            "bytes": self.bytes,
            "queued_bytes": self.waiting,
            "drops": dict(self.drops),
            "manifest_version": self.roster.version,
        }

    def greeted(self, route: bytes) -> bool:
        """Whether HELLO came on this connection and it still counts."""
        return route in self._by_route

    # -- frames --------------------------------------------------------------------------------

    def arrived(
        self, route: bytes, curve: bytes, header: bytes, body: Body, now: float, now_ms: int
    ) -> None:
        """A well-formed pair of frames from a connection whose key is ``curve``."""
        connection = self._by_route.get(route)
        entry = self.roster.entry(curve, now_ms)
        if len(header) != HEADER_BYTES or header[:3] != b"PS\x01" or header[6:8] != b"\0\0":
            self.malformed(curve, now)
            return
        kind = header[4]
        if entry.standing in (Standing.REVOKED, Standing.UNKNOWN):
            self._turned_away(route, entry, header, now)
            return
        conduct = self._conduct.get(curve)
        if conduct is not None and conduct.muted(now):
            self.drops["muted"] += 1
            return
        if kind == Kind.HELLO:
            self._hello(route, entry, body, now)
            return
        if connection is None or connection.entry.address != entry.address:
            self._nack(route, header, Nack.REFUSED, now)
            self.drops["no_hello"] += 1
            return
        connection.heard = now
        size = HEADER_BYTES + len(body)
        wait = (
            connection.messages.take(1, now)
            or connection.volume.take(size, now)
            or self._all_messages.take(1, now)
            or self._all_volume.take(size, now)
        )
        if wait:
            self.drops["rate"] += 1
            self._nack(route, header, Nack.RATE, now, retry=wait)
            return
        if kind in (_SEND, _STREAM):
            self._forward(connection, entry, header, body, now)
            return
        try:
            self._for_relay(connection, entry, decode(header), body, now, now_ms)
        except Error:
            self.malformed(curve, now)

    def malformed(self, curve: bytes, now: float) -> None:
        """A key sent something that is no frame of ours."""
        self.drops["malformed"] += 1
        if self.roster.loaded:
            self._conduct.setdefault(curve, Conduct()).strike(now)

    def _forward(
        self, connection: Connection, entry: Entry, header: bytes, body: Body, now: float
    ) -> None:
        target = header[8:24]
        destination = self._by_address.get(target)
        if entry.standing is Standing.INVITEE and not self.roster.is_convener(target):
            self._nack(connection.route, header, Nack.REFUSED, now)
        elif destination is None:
            self.drops["offline"] += 1
            self._nack(connection.route, header, Nack.OFFLINE, now)
        elif destination.entry.standing is Standing.INVITEE and entry.role != "convener":
            self._nack(connection.route, header, Nack.REFUSED, now)
        else:
            queue = destination.queue
            size = HEADER_BYTES + len(body)
            over = queue.waiting + size > self.limits.queue_bytes
            if over or self.waiting + size > self.part:
                self.drops["busy"] += 1
                self._nack(connection.route, header, Nack.BUSY, now, retry=0.05)
                return
            stamped = header[:24] + entry.address + header[40:]
            self._put(
                destination, stamped, body, self._expiry(header, now), bulk=header[4] == _STREAM
            )

    def _expiry(self, header: bytes, now: float) -> float:
        asked: int = _TTL.unpack_from(header, 60)[0]
        ttl = min(asked, self.limits.longest_ttl_ms) if asked else self.limits.ttl_ms
        return now + ttl / 1000

    def _put(
        self,
        connection: Connection,
        header: bytes,
        body: Body,
        expires: float,
        *,
        bulk: bool = False,
    ) -> None:
        parcel = Parcel(header, body, expires)
        connection.queue.put(parcel, bulk=bulk)
        self.waiting += parcel.size
        self.messages += 1
        self.bytes += parcel.size
        self._ready(connection)

    def _nack(
        self, route: bytes, header: bytes, code: Nack, now: float, *, retry: float = 0.0
    ) -> None:
        """Tell a connection what became of its frame; ``ttl`` holds when to try again, in ms."""
        connection = self._by_route.get(route)
        if connection is None:
            # Not greeted: nothing is kept for it, so there is no queue to bound either.
            return
        answer = Header(
            kind=Kind.NACK,
            dst=connection.entry.address,
            src=header[8:24],
            flow=header[40:56],
            seq=code,
            ttl=min(60_000, int(retry * 1000)),
        )
        self._say(connection, answer, b"", now)

    def _say(self, connection: Connection, header: Header, body: bytes, now: float) -> None:
        if connection.queue.waiting > self.limits.queue_bytes:
            self.drops["deaf"] += 1
            return
        self._put(connection, header.encode(), body, now + self.limits.ttl_ms / 1000)

    # -- greeting and leaving --------------------------------------------------------------------

    def _hello(self, route: bytes, entry: Entry, body: Body, now: float) -> None:
        if len(body) > GREETING_BYTES:
            self.drops["malformed"] += 1
            return
        try:
            read_hello(_bytes(body))
        except Error:
            self.drops["malformed"] += 1
            return
        older = self._by_address.get(entry.address)
        if older is None and len(self) >= self.limits.federation_peers:
            self.drops["full"] += 1
            return
        if older is not None and older.route != route:
            self.drops["dup"] += 1
            self.waiting -= older.queue.clear()
            self._say(older, Header(kind=Kind.GONE, dst=entry.address, src=entry.address), b"", now)
            self._by_route.pop(older.route, None)
        if older is None or older.route != route:
            limits = self.limits
            older = Connection(
                self,
                route,
                entry,
                Queue(limits.window_bytes),
                Bucket(limits.messages_per_second, now),
                Bucket(limits.bytes_per_second, now),
                now,
            )
            self._by_address[entry.address] = self._by_route[route] = older
            self._announce(entry.address, Kind.PRESENT, now)
        older.entry, older.heard = entry, now
        welcome = Welcome(address=entry.address, manifest_version=self.roster.version)
        self._say(older, Header(kind=Kind.WELCOME, dst=entry.address), encode(welcome), now)

    def _turned_away(self, route: bytes, entry: Entry, header: bytes, now: float) -> None:
        revoked = entry.standing is Standing.REVOKED
        self.drops["revoked" if revoked else "unknown"] += 1
        self._nack(route, header, Nack.REVOKED if revoked else Nack.REFUSED, now)

    def lost(self, connection: Connection, now: float) -> None:
        """The socket knows no such route any more."""
        self._by_route.pop(connection.route, None)
        self.waiting -= connection.queue.clear()
        if self._by_address.get(connection.entry.address) is connection:
            del self._by_address[connection.entry.address]
            for address in connection.watching:
                self._watchers.get(address, set()).discard(connection.entry.address)
            self._announce(connection.entry.address, Kind.GONE, now)

    def sweep(self, now: float) -> None:
        """Drop connections that fell silent; call every few seconds."""
        for connection in self.connections():
            if now - connection.heard > self.limits.silence_seconds:
                self.lost(connection, now)
        self._conduct = {k: c for k, c in self._conduct.items() if now - c.since < 3600}

    def drain(self, reconnect_ms: int, spread_ms: int, now: float) -> None:
        """Tell every peer that this relay is about to restart."""
        for connection in self.connections():
            header = Header(
                kind=Kind.DRAIN, dst=connection.entry.address, seq=reconnect_ms, ttl=spread_ms
            )
            self._say(connection, header, b"", now)

    # -- frames for the relay itself -------------------------------------------------------------

    def _for_relay(
        self,
        connection: Connection,
        entry: Entry,
        header: Header,
        body: Body,
        now: float,
        now_ms: int,
    ) -> None:
        me = entry.address
        if header.kind is Kind.PING:
            self._say(connection, Header(kind=Kind.PONG, dst=me), b"", now)
        elif header.kind is Kind.ACK:
            if len(body) == _COUNT.size:
                connection.queue.acknowledge(_COUNT.unpack(_bytes(body))[0])
                self._ready(connection)
        elif header.kind is Kind.FETCH:
            self._fetch(connection, now)
        elif header.kind is Kind.PUBLISH:
            self._publish(connection, entry, body, now, now_ms)
        elif header.kind is Kind.WATCH:
            self._watch(connection, header, now)
        elif header.kind is Kind.BYE:
            self.lost(connection, now)
        else:
            self.drops["unexpected"] += 1

    def _fetch(self, connection: Connection, now: float) -> None:
        """A manifest is far larger than what asks for it, so asking is bounded; pushing is not."""
        me, raw = connection.entry.address, self.roster.raw or b""
        if self.waiting + len(raw) > self.part:
            self.drops["busy"] += 1
            self._say(connection, Header(kind=Kind.NACK, dst=me, seq=Nack.BUSY), b"", now)
        else:
            self._say(connection, Header(kind=Kind.MANIFEST, dst=me), raw, now)

    def _publish(
        self, connection: Connection, entry: Entry, body: Body, now: float, now_ms: int
    ) -> None:
        """Only a convener may hand over a manifest, and only one the federation key signed."""
        me = entry.address
        refused = Header(kind=Kind.NACK, dst=me, seq=Nack.REFUSED)
        if entry.role != "convener":
            self._say(connection, refused, b"", now)
            return
        rate = self.limits.federation_manifest_bytes_per_second
        wait = self._manifests.take(min(len(body), 2 * rate), now)
        if wait:
            self.drops["rate"] += 1
            later = Header(kind=Kind.NACK, dst=me, seq=Nack.RATE, ttl=int(wait * 1000))
            self._say(connection, later, b"", now)
            return
        try:
            newer = self.adopt(_bytes(body), now, now_ms)
        except Error:
            self.drops["manifest"] += 1
            self._say(connection, refused, b"", now)
            return
        if not newer:
            self._fetch(connection, now)

    def adopt(self, data: bytes, now: float, now_ms: int) -> bool:
        """Take a newer manifest and hand it to every peer (True); MANIFEST for any other."""
        newer = self.roster.accept(data, now_ms)
        if newer:
            for one in self.connections():
                self._say(one, Header(kind=Kind.MANIFEST, dst=one.entry.address), data, now)
        return newer

    def _watch(self, connection: Connection, header: Header, now: float) -> None:
        """Presence of a listed address, now and when it changes; of others, the same-sized no."""
        target, me = header.dst, connection.entry.address
        full = len(connection.watching) >= self.limits.watches
        if (
            connection.entry.standing is not Standing.MEMBER
            or full
            or not self.roster.is_member(target)
        ):
            kind = Kind.GONE
        else:
            connection.watching.add(target)
            self._watchers.setdefault(target, set()).add(me)
            kind = Kind.PRESENT if target in self._by_address else Kind.GONE
        self._say(connection, Header(kind=kind, dst=me, src=target), b"", now)

    def _announce(self, address: bytes, kind: Kind, now: float) -> None:
        for watcher in self._watchers.get(address, ()):
            connection = self._by_address.get(watcher)
            if connection is not None:
                self._say(connection, Header(kind=kind, dst=watcher, src=address), b"", now)


def _bytes(body: Body) -> bytes:
    return body if isinstance(body, bytes) else bytes(memoryview(body))  # type: ignore[arg-type]
