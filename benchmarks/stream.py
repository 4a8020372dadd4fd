"""A sealed stream from a pod's process through the relay's to an analyst: MB a second."""

import tempfile
import time
from pathlib import Path
from queue import SimpleQueue

from benchmarks.pair import Pair
from benchmarks.rows import Row
from podsql.errors import Error
from podsql.relay.sealing import ChunkOpener

CHUNKS = 512


class Inbox:
    """Chunks as they come."""

    def __init__(self) -> None:
        self.arrived: SimpleQueue[tuple[int, bytes, bool] | Error] = SimpleQueue()

    def chunk(self, index: int, sealed: bytes, final: bool) -> None:
        """On the I/O thread."""
        self.arrived.put((index, sealed, final))

    def failed(self, fault: Error) -> None:
        """On the I/O thread."""
        self.arrived.put(fault)


def run() -> list[Row]:
    """512 MiB, sealed while it is sent, opened as it arrives."""
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as folder, Pair(Path(folder)) as pair:
        _read(pair, 16)
        rate = _read(pair, CHUNKS)
    return [
        Row(
            name="sealed stream through the relay",
            value=rate,
            unit="MB/s",
            reference=300,
            against="goal",
        )
    ]


def _read(pair: Pair, chunks: int) -> float:
    began = time.perf_counter()
    ticket = pair.analyst.call_wait(pair.pod, b"stream %d" % chunks, timeout=30)
    opener, inbox = ChunkOpener(ticket[:16], ticket[16:]), Inbox()
    reader = pair.analyst.read_stream(pair.pod, ticket[:16], inbox)
    size = 0
    while True:
        item = inbox.arrived.get(timeout=60)
        if isinstance(item, Error):
            raise item
        size += len(opener.open(*item))
        if item[2]:
            break
        reader.grant(1)
    reader.close()
    return size / (time.perf_counter() - began) / 1e6
