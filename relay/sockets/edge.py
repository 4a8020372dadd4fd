"""The relay's TLS edge: accepts on a public port, carries each connection to the loopback ROUTER.

For peers behind proxies that let only TLS out. TLS ends here; CURVE and the sessions inside it do
not. Rule to keep: a connection that has not finished its TLS handshake in time is closed.
"""

import asyncio
import logging
import ssl
from collections import Counter
from pathlib import Path
from typing import Final

from podsql.errors import error
from podsql.relay.sockets.bridge import LoopThread, accepting, carry

log = logging.getLogger("podsql.relay")

HANDSHAKE_SECONDS: Final = 5.0
PER_ADDRESS: Final = 1024
"""Connections of one network address at once: a proxy may stand for a whole hospital."""


class Edge:
    """One listening TLS socket."""

    def __init__(self, *, listen: str, certificate: Path, key: Path, target: str) -> None:
        self.address = listen
        self._listen = _host_port(listen)
        self._target = _host_port(target)
        self._live: Counter[str] = Counter()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError):
            raise error("CONFIG", "the TLS certificate or its key cannot be read") from None
        self._loop = LoopThread("edge", self._serve)

    def start(self) -> None:
        """Listen; RELAY_UNREACHABLE if the port is taken."""
        try:
            server = self._loop.start()
        except OSError as fault:
            raise error(
                "RELAY_UNREACHABLE", f"cannot listen at {self.address}: {fault.strerror}"
            ) from None
        host, port = server.sockets[0].getsockname()[:2]  # type: ignore[attr-defined]
        self.address = f"{host}:{port}"

    def stop(self) -> None:
        """Close every connection."""
        self._loop.stop()

    async def _serve(self) -> asyncio.AbstractServer:
        host, port = self._listen
        return await asyncio.start_server(
            accepting(self._accepted),
            None if host == "*" else host,
            port,
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            backlog=4096,
        )

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername")[0])
        if self._live[address] >= PER_ADDRESS:
            return
        self._live[address] += 1
        try:
            await carry((reader, writer), await asyncio.open_connection(*self._target))
        except OSError as fault:
            log.warning("the edge cannot reach its relay: %s", fault.strerror)
        finally:
            self._live[address] -= 1
            self._live += Counter()


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise error("CONFIG", f"{text!r} is not host:port")
    return host.strip("[]"), int(port)
