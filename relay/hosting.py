"""The federations of one relay: a core each, and the choice among them.

A core knows no key, address or counter of another, so no frame, presence or manifest crosses: what
another federation has is to it what nobody has. Rule to keep: whose a frame is follows from the
CURVE key of its connection, and from nothing that a peer wrote.
"""

from collections import Counter
from collections.abc import Callable

from podsql.relay.claims import Claims
from podsql.relay.core import Connection, RelayCore
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import ManifestStore
from podsql.relay.queues import Body
from podsql.relay.roster import Roster


class Hosting:
    """Cores by fingerprint. ``ready`` is called with each connection that has something queued."""

    def __init__(
        self,
        limits: RelayLimits,
        ready: Callable[[Connection], None],
        claims: Claims | None = None,
    ) -> None:
        self.limits = limits
        self.drops: Counter[str] = Counter()
        """Frames of keys that are in no federation."""
        self.draining = False
        self.cores: dict[str, RelayCore] = {}
        """Replaced as a whole, so that any thread may read it."""
        self._ready = ready
        self._claims = claims or Claims()

    @property
    def complete(self) -> bool:
        """Whether a key that is not listed is a stranger: every federation has a manifest."""
        return bool(self.cores) and all(core.roster.loaded for core in self.cores.values())

    def admits(self, curve: bytes, now_ms: int) -> bool:
        """Whether the CURVE handshake of this key may succeed (any thread)."""
        core = self._core(curve)
        return core is not None and core.roster.admits(curve, now_ms)

    def host(self, federation: str, store: ManifestStore) -> RelayCore:
        """Begin to serve a federation whose manifests ``store`` holds."""
        core = RelayCore(Roster(store, self._claims), self.limits, self._ready)
        self._share({**self.cores, federation: core})
        return core

    def drop(self, federation: str, now: float) -> None:
        """Serve a federation no more: its keys are strangers, its connections count no longer."""
        core = self.cores[federation]
        self._share({name: each for name, each in self.cores.items() if each is not core})
        self._claims.release(federation)
        for connection in core.connections():
            core.lost(connection, now)

    def _share(self, cores: dict[str, RelayCore]) -> None:
        for core in cores.values():
            core.part = self.limits.process_bytes // len(cores)
        self.cores = cores

    def _core(self, curve: bytes) -> RelayCore | None:
        owner = self._claims.owner(curve)
        return None if owner is None else self.cores.get(owner)

    def arrived(
        self, route: bytes, curve: bytes, header: bytes, body: Body, now: float, now_ms: int
    ) -> None:
        """A pair of frames from a connection whose key is ``curve``."""
        core = self._core(curve)
        if core is None:
            # Its key was taken off the manifest while it was connected: that federation says so.
            greeted = (each for each in self.cores.values() if each.greeted(route))
            core = next(greeted, None)
        if core is None:
            self.drops["unknown"] += 1
        else:
            core.arrived(route, curve, header, body, now, now_ms)

    def malformed(self, curve: bytes, now: float) -> None:
        """A key sent something that is no pair of frames."""
        core = self._core(curve)
        if core is None:
            self.drops["malformed"] += 1
        else:
            core.malformed(curve, now)

    def sweep(self, now: float) -> None:
        """Drop connections that fell silent; call every few seconds."""
        for core in self.cores.values():
            core.sweep(now)

    def drain(self, reconnect_ms: int, spread_ms: int, now: float) -> None:
        """Tell every peer that this relay is about to restart."""
        self.draining = True
        for core in self.cores.values():
            core.drain(reconnect_ms, spread_ms, now)
