"""How a writer of the store tells the serving process that something changed: one byte, no answer.

A datagram socket beside the store, of mode 0600. A service that does not run is not woken, and needs
not be: it reads the store when it starts.
"""

import os
import socket
from pathlib import Path

SUFFIX = ".wake"


class Bell:
    """The listening side."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + SUFFIX)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        mask = os.umask(0o177)
        try:
            self._socket.bind(str(self._path))
        finally:
            os.umask(mask)

    def fileno(self) -> int:
        """To be watched for reading."""
        return self._socket.fileno()

    def hush(self) -> None:
        """Take every ring so far."""
        try:
            while self._socket.recv(1):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def listens(store: Path) -> bool:
    """Whether a process serves ``store``."""
    path = store.with_name(store.name + SUFFIX)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        try:
            link.connect(str(path))
        except OSError:
            return False
    return True


def ring(store: Path) -> None:
    """Wake the process that serves ``store``, if one does."""
    path = store.with_name(store.name + SUFFIX)
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        try:
            link.sendto(b"!", str(path))
        except OSError:
            return  # nobody listens, or a ring is waiting to be heard already
