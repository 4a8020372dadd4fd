"""A small federation and a core fed by hand."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from nacl.bindings import crypto_scalarmult_base

from podsql.relay.cards import make_card
from podsql.relay.core import Connection, RelayCore
from podsql.relay.frames import Header, Kind, decode
from podsql.relay.greeting import Hello, encode
from podsql.relay.hosting import Hosting
from podsql.relay.invite import invite_curve, secret_hash
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import InviteEntry, Manifest, ManifestStore, sign_manifest
from podsql.relay.roster import Roster

DAY_MS = 86_400_000
ROLES = {"ana": "analyst", "north": "pod", "south": "pod", "desk": "convener"}
HELLO = encode(Hello(version=1, role_hint="", received=0))


@dataclass
class World:
    """Members, a manifest, and a relay core without sockets."""

    folder: Path
    limits: RelayLimits = field(default_factory=RelayLimits)
    hosting: Hosting | None = None
    """Where frames go first, if not to a core of this federation alone."""

    def __post_init__(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.seed = generate_signing()
        self.mark = fingerprint(signing_public(self.seed))
        self.keys = {name: PeerKeys.generate() for name in ROLES}
        self.invitee = PeerKeys.generate()
        self.secret = os.urandom(32)
        self.version = 0
        self.store = ManifestStore(self.folder / "manifest.bin", self.mark)
        self.store.accept(self.manifest(), self.now_ms)
        self.ready: list[Connection] = []
        if self.hosting is None:
            self.core = RelayCore(Roster(self.store), self.limits, self.ready.append)
        else:
            self.core = self.hosting.host(self.mark, self.store)

    def manifest(self, revoked: tuple[str, ...] = (), **changes: object) -> bytes:
        """The next version, signed by the federation key."""
        self.version += 1
        self.invite_curve = crypto_scalarmult_base(invite_curve(self.secret))
        fields: dict[str, object] = {
            "federation": self.mark,
            "version": self.version,
            "issued": self.now_ms,
            "expires": self.now_ms + DAY_MS,
            "cards": tuple(
                make_card(self.keys[name], name=name, role=role, now=self.now_ms)
                for name, role in ROLES.items()
            ),
            "revoked": tuple(self.keys[name].identity_public for name in revoked),
            "invites": (
                InviteEntry(
                    curve=self.invite_curve,
                    secret_hash=secret_hash(self.secret),
                    name="newcomer",
                    role="pod",
                    expires=self.now_ms + DAY_MS,
                ),
            ),
        }
        return sign_manifest(Manifest(**{**fields, **changes}), self.seed)  # type: ignore[arg-type]

    def curve(self, name: str) -> bytes:
        return self.invite_curve if name == "newcomer" else self.keys[name].curve_public

    def send(
        self,
        name: str,
        header: Header | bytes,
        body: bytes = b"",
        *,
        now: float = 0.0,
        route: bytes | None = None,
    ) -> None:
        """A frame of ``name`` on its (or another) connection."""
        raw = header if isinstance(header, bytes) else header.encode()
        door = self.hosting or self.core
        door.arrived(route or self.route(name), self.curve(name), raw, body, now, self.now_ms)

    def route(self, name: str) -> bytes:
        return name.encode() if self.hosting is None else f"{self.mark} {name}".encode()

    def greet(self, *names: str) -> None:
        """HELLO, and the WELCOME taken off."""
        for name in names:
            self.send(name, Header(kind=Kind.HELLO), HELLO)
            assert [h.kind for h, _ in self.drain(name)] == [Kind.WELCOME]

    def address(self, name: str) -> bytes:
        return self.keys[name].address

    def drain(self, name: str, now: float = 0.0) -> list[tuple[Header, bytes]]:
        """What waits for ``name`` and may go now."""
        found = []
        for connection in self.core.connections():
            if connection.route in (name.encode(), self.route(name)):
                while (parcel := connection.queue.next(now)) is not None:
                    connection.queue.took(parcel)
                    self.core.waiting -= parcel.size
                    found.append((decode(parcel.header), bytes(parcel.body)))
        return found
