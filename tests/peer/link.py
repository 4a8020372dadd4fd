"""A hand-driven link between peer cores: it loses, repeats and reorders as a seed says."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from people import Federation

from podsql.relay import events as ev
from podsql.relay.frames import Header, Kind, decode
from podsql.relay.greeting import Welcome, encode
from podsql.relay.peer import Peer


@dataclass
class Weather:
    """Chances a frame, and the longest delay in seconds."""

    lose: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0


class World:
    """Peers, a relay that only stamps sources, and a clock that jumps to whatever is next."""

    def __init__(self, federation: Federation, *, seed: int = 0, weather: Weather | None = None):
        self.now = 1000.0
        self.federation = federation
        self.weather = weather or Weather()
        self.random = random.Random(seed)
        self.peers: dict[str, Peer] = {}
        self.effects: dict[str, list[ev.Effect]] = {}
        self.serve: dict[str, Callable[[ev.Asked], bytes | None]] = {}
        self.chunked: Callable[[str, ev.Chunk], None] = lambda name, chunk: None
        self.meddle: Callable[[bytes, bytes], list[tuple[bytes, bytes]]] = lambda h, b: [(h, b)]
        self.sent: list[tuple[bytes, bytes]] = []
        self._order = 0
        self._flying: list[tuple[float, int, str, bytes, bytes]] = []

    def join(self, name: str) -> Peer:
        """Start (or restart) a peer: it forgets everything it knew."""
        peer = Peer(
            keys=self.federation.keys[name],
            entropy=self.random.randbytes,
            chance=self.random.random,
        )
        self.peers[name] = peer
        self.effects.setdefault(name, [])
        self.reconnect(name)
        self.feed(name, ev.Enrolled(self.federation.manifest))
        return peer

    def reconnect(self, name: str) -> None:
        peer = self.peers[name]
        self.feed(name, ev.Disconnected())
        self.feed(name, ev.Connected())
        body = encode(Welcome(address=peer.address, manifest_version=1))
        self.feed(name, ev.Arrived(Header(kind=Kind.WELCOME).encode(), body))

    def feed(self, name: str, event: ev.Event) -> None:
        for effect in self.peers[name].handle(event, self.now):
            if isinstance(effect, ev.Send):
                self._relay(name, effect)
                continue
            self.effects[name].append(effect)
            if isinstance(effect, ev.Asked) and effect.ident is not None:
                answer = self.serve[name](effect)
                if answer is not None:
                    self.feed(name, ev.Answer(effect.peer.address, effect.ident, answer))
            elif isinstance(effect, ev.Chunk):
                self.chunked(name, effect)
        while (chunk := self.peers[name].next_chunk(self.now)) is not None:
            self._relay(name, chunk)

    def of(self, name: str, kind: type) -> list:
        return [effect for effect in self.effects[name] if type(effect) is kind]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            due = [(when, name) for name, peer in self.peers.items() if (when := peer.deadline())]
            when, name = min(due, default=(float("inf"), ""))
            flying = self._flying[0][0] if self._flying else float("inf")
            if min(when, flying) > end:
                self.now = end
                return
            self.now = max(self.now, min(when, flying))
            if flying <= when:
                _, _, to, header, body = heapq.heappop(self._flying)
                self.feed(to, ev.Arrived(header, body))
            else:
                self.feed(name, ev.Ticked())

    def deliver(self, header: bytes, body: bytes) -> None:
        """Put a frame in flight, as it is."""
        target = decode(header).dst
        for name, peer in self.peers.items():
            if peer.address == target:
                self._order += 1
                when = self.now + self.random.random() * self.weather.delay
                heapq.heappush(self._flying, (when, self._order, name, header, body))

    def _relay(self, name: str, effect: ev.Send) -> None:
        head = decode(effect.header)
        if head.kind not in (Kind.SEND, Kind.STREAM):
            return
        header = replace(head, src=self.peers[name].address).encode()
        self.sent.append((header, effect.body))
        for out in self.meddle(header, effect.body):
            for _ in range(2 if self.random.random() < self.weather.repeat else 1):
                if self.random.random() >= self.weather.lose:
                    self.deliver(*out)
