"""The pod's local control socket: a command, with at most one argument; a line of JSON back.

A unix socket of mode 0600 in the pod's state directory; whoever may write there is the custodian.
"""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from podsql.errors import Error, error
from podsql.pod.config import load_pod_config

SOCKET: Final = "control.sock"
COMMANDS: Final = (
    *("status", "pause", "resume", "reload", "prune", "services", "forget", "drop", "remove"),
)
LINE_BYTES: Final = 4096


def send(config_path: Path, command: str, timeout: float = 30.0) -> dict[str, Any]:
    """Ask the running pod of ``config_path``; OperationalError if it does not run."""
    config = load_pod_config(config_path)
    path = config_path.resolve().parent / config.pod.state / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        try:
            link.connect(str(path))
            link.sendall(command.encode() + b"\n")
            answer = b"".join(iter(lambda: link.recv(LINE_BYTES), b""))
        except OSError:
            raise error(
                "POD_LOST",
                "the pod does not run here",
                hint=f"podsql pod serve --config {config_path}",
            ) from None
    found: dict[str, Any] = json.loads(answer)
    if "code" in found:
        raise error(found["code"], found["message"], hint=found.get("hint", ""))
    return found


class Control:
    """The listening side, on the pod's I/O thread."""

    def __init__(
        self,
        path: Path,
        *,
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
        run: Callable[[str, Callable[[dict[str, Any]], None]], None],
    ) -> None:
        self._path = path
        self._watch = watch
        self._unwatch = unwatch
        self._run = run
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Listen (I/O thread)."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(mask)
        listener.listen(8)
        listener.setblocking(False)
        self._listener = listener
        self._watch(listener.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening (I/O thread)."""
        if self._listener is not None:
            self._unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            link, _ = self._listener.accept()
        except BlockingIOError:
            return
        link.setblocking(False)
        self._watch(link.fileno(), lambda: self._read(link))

    def _read(self, link: socket.socket) -> None:
        self._unwatch(link.fileno())
        try:
            command = link.recv(LINE_BYTES).decode(errors="replace").strip()
        except OSError:
            link.close()
            return

        def answer(found: dict[str, Any]) -> None:
            with link:
                try:
                    link.sendall(json.dumps(found).encode() + b"\n")
                except OSError:
                    pass  # the asker left; nothing is owed to it

        if command.partition(" ")[0] not in COMMANDS:
            answer({"code": "ARGUMENT", "message": "unknown command"})
            return
        try:
            self._run(command, answer)
        except Error as fault:
            answer(failure(fault))


def failure(fault: Error) -> dict[str, Any]:
    """An error as the control socket sends it."""
    return {"code": fault.code, "message": fault.message, "hint": fault.hint}
