"""Results that wait at the pod for a review: sealed files that survive a restart, and expire.

Two files a result in one folder, both of mode 0600: its bytes, sealed in chunks under a key derived
from the pod's secret, and what is known of it. Rule to keep: a result is held once its second file is
there, which is written last; the bytes leave, if they do, exactly as they came.
"""

import hashlib
import hmac
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from podsql.errors import Error, error
from podsql.relay.keys import replace_file
from podsql.relay.sealing import STREAM_BYTES, TAG_BYTES, ChunkOpener, ChunkSealer

if TYPE_CHECKING:
    from typing_extensions import Buffer

PIECE_BYTES: Final = 1 << 20
DAY_MS: Final = 24 * 3600 * 1000
_LENGTH: Final = 4


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a held result. ``id`` is the services' name of it, ``key`` the pod's."""

    id: str
    key: str
    stream: bytes
    created: int
    analyst: str
    identity: bytes
    purpose: str
    project: str
    tables: tuple[str, ...]
    release: str
    statement: str
    rows: int
    withheld: int
    noise: tuple[float, ...]
    size: int
    columns: int
    query_hash: bytes
    result_hash: bytes


class Draft:
    """A result while it is made. ``close`` drops it, unless it was kept."""

    def __init__(self, path: Path, secret: bytes, *, room: int) -> None:
        self.stream = os.urandom(STREAM_BYTES)
        self.total = 0
        self.path: Path | None = path.with_name(f"{self.stream.hex()}.draft")
        self._sealer = ChunkSealer(self.stream, _key(secret, self.stream))
        self._room = room
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._index = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = os.fdopen(os.open(self.path, flags, 0o600), "wb")

    @property
    def sha256(self) -> bytes:
        """Of every byte added."""
        return self._digest.digest()

    def add(self, data: bytes) -> None:
        """More bytes of the result; RESULT_TOO_BIG when the pod holds enough already."""
        self.total += len(data)
        if self.total > self._room:
            raise error("RESULT_TOO_BIG", "the pod has no room for another result in review")
        self._digest.update(data)
        self._pending += data
        while len(self._pending) > PIECE_BYTES:
            self._seal(bytes(self._pending[:PIECE_BYTES]), final=False)
            del self._pending[:PIECE_BYTES]

    def finish(self) -> None:
        """The result is whole and on the disk."""
        self._seal(bytes(self._pending), final=True)
        self._pending.clear()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            raise _full() from None
        self._file.close()

    def close(self) -> None:
        """Drop the bytes."""
        self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def _seal(self, data: bytes, *, final: bool) -> None:
        sealed = self._sealer.seal(self._index, data, final)
        self._index += 1
        try:
            self._file.write(len(sealed).to_bytes(_LENGTH, "big") + sealed)
        except OSError:
            raise _full() from None


class Holds:
    """The folder. ``secret`` is the pod's; ``limit_bytes`` of all held results together."""

    def __init__(self, folder: Path, secret: bytes, *, limit_bytes: int, days: float) -> None:
        self._folder = folder
        self._secret = secret
        self._limit = limit_bytes
        self._keeping = threading.Lock()
        self._life = int(days * DAY_MS)

    def begin(self) -> None:
        """Drop what an earlier process left half made."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        kept = {path.stem for path in self._folder.glob("*.hold")}
        for path in (*self._folder.glob("*.draft"), *self._folder.glob("*.sealed")):
            if path.suffix == ".draft" or path.stem not in kept:
                path.unlink(missing_ok=True)

    def draft(self, key: str) -> Draft:
        """Begin a result of this key."""
        used = sum(path.stat().st_size for path in self._folder.glob("*.sealed"))
        return Draft(self._sealed(key), self._secret, room=self._limit - used)

    def keep(self, draft: Draft, hold: Hold) -> Hold:
        """Hold a finished draft; the one of the same key that is held already, if there is one."""
        with self._keeping:  # two of one key must not mix their files
            known = self.find(hold.key, hold.created)
            if known is not None or draft.path is None:
                draft.close()
                return known or hold
            try:
                os.replace(draft.path, self._sealed(hold.key))
                draft.path = None
                replace_file(self._meta(hold.key), msgspec.json.encode(hold), mode=0o600)
            except OSError:
                raise _full() from None
        return hold

    def find(self, key: str, now: int) -> Hold | None:
        """The result of this key, if it is held and has not expired."""
        hold = self._read(key)
        return hold if hold is not None and now < self.expires(hold) else None

    def all(self) -> list[Hold]:
        """Every held result, oldest first."""
        keys = [path.stem for path in self._folder.glob("*.hold")]
        # One may be dropped meanwhile.
        found = [hold for key in keys if (hold := self._read(key)) is not None]
        return sorted(found, key=lambda hold: (hold.created, hold.id))

    def one(self, ident: str) -> Hold:
        """The held result of an id; ARGUMENT if there is none."""
        for hold in self.all():
            if hold.id == ident:
                return hold
        raise error("ARGUMENT", f"no held result {ident!r}", hint="podsql pod held list")

    def expires(self, hold: Hold) -> int:
        """Until when it is held (ms since the epoch)."""
        return hold.created + self._life

    def pieces(self, hold: Hold) -> Iterator[bytes]:
        """The bytes of a held result, a MiB at a time; POD_FAILED if they are not what was held."""
        opener = ChunkOpener(hold.stream, _key(self._secret, hold.stream))
        left = hold.size
        try:
            with self._sealed(hold.key).open("rb") as file:
                for index in range(1 + max(0, hold.size - 1) // PIECE_BYTES):
                    length = int.from_bytes(file.read(_LENGTH), "big")
                    sealed = file.read(min(length, PIECE_BYTES + TAG_BYTES))
                    left -= len(sealed) - TAG_BYTES
                    yield opener.open(index, sealed, left == 0)
        except OSError:
            raise error("POD_FAILED", "a held result cannot be read") from None

    def file(self, hold: Hold) -> io.BufferedReader:
        """The bytes of a held result, as a file to read."""
        return io.BufferedReader(_Pieces(self.pieces(hold)))

    def drop(self, hold: Hold) -> None:
        """Forget a held result."""
        self._meta(hold.key).unlink(missing_ok=True)
        self._sealed(hold.key).unlink(missing_ok=True)

    def sweep(self, now: int) -> list[Hold]:
        """Drop what has expired; what that was."""
        over = [hold for hold in self.all() if now >= self.expires(hold)]
        for hold in over:
            self.drop(hold)
        return over

    def _read(self, key: str) -> Hold | None:
        try:
            return msgspec.json.decode(self._meta(key).read_bytes(), type=Hold)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError):
            raise error("POD_FAILED", "a held result is damaged") from None

    def _meta(self, key: str) -> Path:
        return self._folder / f"{key}.hold"

    def _sealed(self, key: str) -> Path:
        return self._folder / f"{key}.sealed"


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        target = memoryview(buffer).cast("B")
        self._left = self._left or memoryview(next(self._pieces, b""))
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _key(secret: bytes, stream: bytes) -> bytes:
    return hmac.digest(secret, b"podsql hold " + stream, "sha256")


def _full() -> Error:
    return error("DISK_FULL", "a result in review cannot be written")
