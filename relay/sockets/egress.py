"""How a peer gets out of its network to the relay. Rule to keep: outbound only, nothing listens."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """A SOCKS5 proxy, or an HTTP proxy (CONNECT) and a CA for ``tls://`` endpoints."""

    socks: str | None = None
    socks_user: str | None = None
    socks_password: str | None = None
    proxy: str | None = None
    ca: Path | None = None
