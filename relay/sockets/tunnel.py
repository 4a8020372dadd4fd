"""A peer's way through a firewall that lets only TLS, or only an HTTP proxy, out.

libzmq speaks neither, so it connects to a private unix socket here (a loopback port where there is
none), and each connection is carried through HTTP CONNECT (RFC 9110 §9.3.6) and TLS to the relay's
edge. Rule to keep: the certificate is verified, always; the reason of a failure is kept for people.
"""

import asyncio
import base64
import logging
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from podsql.errors import Error, error
from podsql.relay.sockets.bridge import LoopThread, accepting, carry

log = logging.getLogger("podsql.relay")

DIAL_SECONDS: Final = 10.0
ANSWER_BYTES: Final = 8192


class Tunnel:
    """Listens for libzmq at ``endpoint``; dials the relay anew for each connection."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: bool,
        ca: Path | None = None,
        proxy: str | None = None,
        on_fault: Callable[[Error], None],
    ) -> None:
        self.endpoint = ""
        self._host = host
        self._port = port
        self._proxy = proxy
        self._on_fault = on_fault
        self._context: ssl.SSLContext | None = None
        if tls:
            try:
                self._context = ssl.create_default_context(cafile=ca)
            except (OSError, ssl.SSLError):
                raise error("CONFIG", "the CA file of the relay cannot be read") from None
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._loop = LoopThread("tunnel", self._serve)

    def start(self) -> None:
        """Begin to listen; ``endpoint`` is set then."""
        self._loop.start()

    def stop(self) -> None:
        """Close every connection."""
        self._loop.stop()
        if self._folder is not None:
            self._folder.cleanup()

    async def _serve(self) -> asyncio.AbstractServer:
        if hasattr(asyncio, "start_unix_server"):
            self._folder = tempfile.TemporaryDirectory(prefix="podsql-tunnel-")
            path = str(Path(self._folder.name) / "relay")
            self.endpoint = f"ipc://{path}"
            return await asyncio.start_unix_server(accepting(self._accepted), path)
        server = await asyncio.start_server(accepting(self._accepted), "127.0.0.1", 0)
        self.endpoint = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.wait_for(self._dial(), DIAL_SECONDS)
        except Error as fault:
            self._failed(fault)
        except ssl.SSLCertVerificationError as fault:
            self._failed(_untrusted(self._host, fault.verify_message))
        except TimeoutError:
            self._failed(self._unreachable("did not answer in time"))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as fault:
            reason = getattr(fault, "strerror", None) or "the connection broke"
            self._failed(self._unreachable(str(reason)))
        else:
            await carry((reader, writer), far)

    def _failed(self, fault: Error) -> None:
        log.warning("no way to the relay: %s", fault.message)
        self._on_fault(fault)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._proxy is None:
            return await asyncio.open_connection(self._host, self._port, ssl=self._context)
        login, _, place = self._proxy.rpartition("@")
        host, _, port = place.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=1 << 20)
        try:
            await self._ask_proxy(reader, writer, login)
            if self._context is not None:
                await writer.start_tls(self._context, server_hostname=self._host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _ask_proxy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, login: str
    ) -> None:
        target = f"[{self._host}]" if ":" in self._host else self._host
        place = f"{target}:{self._port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        if login:
            token = base64.b64encode(login.encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {token}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        status = answer.split(b"\r\n", 1)[0].split(b" ")
        if len(answer) > ANSWER_BYTES or len(status) < 2 or not status[0].startswith(b"HTTP/1."):
            raise error("PROXY", "the proxy did not answer as an HTTP proxy")
        if status[1] == b"407":
            raise error(
                "PROXY",
                "the proxy wants a login",
                hint="PODSQL_PROXY=http://user:password@host:port",
            )
        if not status[1].startswith(b"2"):
            code = status[1][:3].decode("ascii", "replace")
            raise error(
                "PROXY",
                f"the proxy refuses {place} (status {code!r})",
                hint="ask its operators to let CONNECT to this host and port through",
            )

    def _unreachable(self, reason: str) -> Error:
        if self._proxy is not None:
            place = self._proxy.rpartition("@")[2]
            return error("PROXY", f"no way through the proxy {place}: {reason}")
        return error("RELAY_UNREACHABLE", f"the relay at {self._host}:{self._port}: {reason}")


def _untrusted(host: str, reason: str) -> Error:
    return error(
        "PROXY",
        f"the TLS certificate of {host!r} is not trusted: {reason}",
        hint="name the CA of the relay (or of an inspecting proxy): [relay] ca in federation.toml",
    )
