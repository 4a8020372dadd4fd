"""What one peer and one federation may do to the relay: rates, strikes, queue sizes.

Pure; time is an argument.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

STRIKES: Final = 3
STRIKE_SECONDS: Final = 60.0
MUTE_SECONDS: Final = 60.0


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]`` of ``relay.toml``: of a peer, unless the name says ``federation``."""

    messages_per_second: float = 20_000.0
    bytes_per_second: float = 1 << 30
    federation_messages_per_second: float = 40_000.0
    federation_bytes_per_second: float = 2 << 30
    federation_peers: int = 5_000
    """Peers of one federation that may be connected at once."""
    federation_manifest_bytes_per_second: float = 256 << 10
    """Manifests to be verified, which takes the relay's time; one larger than two seconds' worth
    counts as that."""
    window_bytes: int = 8 << 20
    """Bytes on their way to one peer that it has not yet acknowledged."""
    queue_bytes: int = 72 << 20
    """Bytes that may wait for one peer beyond its window: one stream's largest credit, and some."""
    process_bytes: int = 1 << 30
    """Bytes that may wait in the whole process; each federation it hosts has an equal part."""
    ttl_ms: int = 30_000
    longest_ttl_ms: int = 120_000
    watches: int = 1_000
    silence_seconds: float = 100.0
    """A peer from which nothing came for so long is gone."""


class Bucket:
    """A token bucket: ``rate`` a second, at most two seconds' worth at once."""

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._level = 2 * rate
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take ``amount``: 0.0, or the seconds to wait until there is enough."""
        level = min(2 * self._rate, self._level + (now - self._at) * self._rate)
        self._at = now
        if level < amount:
            self._level = level
            return (amount - level) / self._rate
        self._level = level - amount
        return 0.0


@dataclass(slots=True)
class Conduct:
    """Malformed frames of one key: three within a minute mute it for another."""

    strikes: int = 0
    since: float = 0.0
    muted_until: float = 0.0

    def strike(self, now: float) -> None:
        """It sent something malformed."""
        if now - self.since > STRIKE_SECONDS:
            self.strikes, self.since = 0, now
        self.strikes += 1
        if self.strikes >= STRIKES:
            self.muted_until = now + MUTE_SECONDS
            self.strikes = 0

    def muted(self, now: float) -> bool:
        """Whether what it sends is dropped."""
        return now < self.muted_until
