"""What a browser carries for us before it is signed in: texts sealed under a key of this process.

So strangers fill no table. Rule to keep: what was sealed for one use or federation opens for no
other, and ends with its time or with the process.
"""

import secrets
import threading
from typing import Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

LIFE_MS: Final = 10 * 60_000
TEXT_LIMIT: Final = 2_000


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    use: str
    federation: str
    ends: int
    texts: dict[str, str]


class Seal:
    """The key, and which one-time texts were used."""

    def __init__(self) -> None:
        self._box = SecretBox(secrets.token_bytes(SecretBox.KEY_SIZE))
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}

    def shut(
        self, use: str, federation: str, now: int, *, life: int = LIFE_MS, **texts: str
    ) -> str:
        """Seal ``texts`` for ``life`` ms."""
        body = msgspec.msgpack.encode(_Sealed(use, federation, now + life, texts))
        return self._box.encrypt(body).hex()

    def open(self, use: str, federation: str, now: int, text: str) -> dict[str, str] | None:
        """What was sealed for this use and federation, if it has not ended."""
        try:
            if len(text) > TEXT_LIMIT:
                return None
            found = msgspec.msgpack.decode(self._box.decrypt(bytes.fromhex(text)), type=_Sealed)
        except (ValueError, CryptoError, msgspec.MsgspecError):
            return None
        if (found.use, found.federation) != (use, federation) or found.ends <= now:
            return None
        return found.texts

    def once(self, mark: str, now: int) -> bool:
        """Whether ``mark`` (a challenge, a state) is used for the first time."""
        with self._lock:
            self._used = {one: ends for one, ends in self._used.items() if ends > now}
            if mark in self._used:
                return False
            self._used[mark] = now + LIFE_MS
            return True
