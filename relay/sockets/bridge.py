"""Carrying bytes between two asyncio streams, for the TLS edge and the peers' tunnel.

An event loop of its own on a thread of its own: this is the border to TLS and proxies, not the
core. Rule to keep: bounded buffers both ways, and an end on one side ends the other.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Final

PIECE: Final = 256 * 1024
FLUSH_SECONDS: Final = 1.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def carry(
    left: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    right: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Copy both ways until one side ends; then both are closed."""
    ways = [
        asyncio.ensure_future(_copy(left[0], right[1])),
        asyncio.ensure_future(_copy(right[0], left[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for _, writer in (left, right):
            await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection once what was written has left, or after a moment."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), FLUSH_SECONDS)
    writer.transport.abort()


def accepting(serve: Serve) -> Serve:
    """``serve`` for ``asyncio.start_server``: ends quietly when the loop stops, never leaks."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the loop is stopping, and asyncio would report this as a fault
        finally:
            await hang_up(writer)

    return accepted


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    except OSError:
        return  # the other end vanished: the same as an end


class LoopThread:
    """An asyncio loop on a thread; ``serve`` is awaited there and gives the server to close."""

    def __init__(self, name: str, serve: Callable[[], Awaitable[asyncio.AbstractServer]]) -> None:
        self._name = name
        self._serve = serve
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.AbstractServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> asyncio.AbstractServer:
        """Run ``serve``; raises what it raises."""
        self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
        self._thread.start()
        try:
            self._server = asyncio.run_coroutine_threadsafe(self._started(), self._loop).result()
        except BaseException:
            self._end()
            raise
        return self._server

    async def _started(self) -> asyncio.AbstractServer:
        return await self._serve()

    def stop(self) -> None:
        """Close the server and every connection; idempotent."""
        if self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._stopped(), self._loop).result(5.0)
        self._end()

    async def _stopped(self) -> None:
        if self._server is not None:
            self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        self._loop.close()
