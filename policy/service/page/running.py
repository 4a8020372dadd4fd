"""The page as a process: where it listens, which it refuses, and how it stops.

Rule to keep: in the clear it is reached from its own machine only.
"""

import ipaddress
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvicorn

from podsql.errors import error
from podsql.lifecycle import notify_ready
from podsql.policy.service.page.app import make_app
from podsql.policy.service.page.hosting import Site

log = logging.getLogger("podsql.policy.page")

CONNECTIONS: Final = 200
QUIET_SECONDS: Final = 15
STOP_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where, and how browsers reach it."""

    host: str
    port: int
    origins: tuple[str, ...]
    certificate: Path | None
    key: Path | None
    proxied: bool


def listening(
    address: str,
    *,
    certificate: Path | None,
    key: Path | None,
    origin: str,
    proxied: bool,
) -> Listening:
    """Read the options; ARGUMENT for a page that strangers could read on its way."""
    host, _, number = address.rpartition(":")
    host = host.strip("[]")
    if not host or not number.isdecimal() or not 0 < int(number) < 65536:
        raise error("ARGUMENT", "--listen wants ADDRESS:PORT", hint="--listen 127.0.0.1:8443")
    if (certificate is None) != (key is None):
        raise error("ARGUMENT", "--tls-cert and --tls-key go together")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise error("CONFIG", f"no file {str(path)!r}")
    tls, local = certificate is not None, _is_loopback(host)
    if origin:
        _require_origin(origin, secure=tls or proxied)
    if proxied and not origin:
        raise error(
            "ARGUMENT", "--behind-proxy needs --origin", hint="--origin https://access.example"
        )
    if not local and not tls and not proxied:
        raise error(
            "ARGUMENT",
            f"{host} is not this machine alone, and the page would be in the clear",
            hint="--tls-cert and --tls-key, or --behind-proxy with --origin https://…",
        )
    if not local and not origin:
        raise error("ARGUMENT", "--origin says how browsers reach it", hint="--origin https://…")
    scheme = "https" if tls else "http"
    if origin:
        origins: tuple[str, ...] = (origin,)
    else:
        origins = (f"{scheme}://localhost:{number}", f"{scheme}://127.0.0.1:{number}")
    return Listening(
        host=host,
        port=int(number),
        origins=origins,
        certificate=certificate,
        key=key,
        proxied=proxied,
    )


def serve(site: Site, where: Listening) -> int:
    """Serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        make_app(site),
        ssl_certfile=where.certificate,
        ssl_keyfile=where.key,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=QUIET_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=32 * 1024,
        http="h11",
        ws="none",
        lifespan="off",
    )
    sockets = [_bind(where.host, where.port)]
    log.info("the page of %s is at %s", _names(list(site.tenants)), where.origins[0])
    notify_ready()  # the socket listens: who comes from here on is answered
    uvicorn.Server(config).run(sockets=sockets)
    return 0


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(CONNECTIONS)  # who comes before the loop runs waits, and is not refused
    except OSError as failure:
        bound.close()
        raise error(
            "CONFIG", f"cannot listen on {host}:{port}: {(failure.strerror or '').lower()}"
        ) from None
    return bound


def _require_origin(origin: str, *, secure: bool) -> None:
    parts = urlsplit(origin)
    plain = f"{parts.scheme}://{parts.netloc}" == origin and parts.netloc
    if not plain or parts.username or (secure and parts.scheme != "https"):
        raise error(
            "ARGUMENT",
            "--origin wants scheme and host alone",
            hint="--origin https://access.example",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} federations"
