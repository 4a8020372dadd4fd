"""Starting and stopping, for every daemon of podsql: readiness by sd_notify, an end by signal."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping


def notify_ready() -> None:
    """Say READY=1 to whoever started this process and asked for it (sd_notify(3))."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place or not hasattr(socket, "AF_UNIX"):
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        try:
            link.connect(address)
            link.sendall(b"READY=1")
        except OSError:
            return  # nobody listens any more: being ready is no less true


def wait_for_stop(actions: Mapping[int, Callable[[], None]] | None = None) -> None:
    """Block until SIGTERM or SIGINT; other signals run their action on this thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for given, action in (actions or {}).items():
        signal.signal(given, lambda *_, action=action: action())
    notify_ready()
    stop.wait()
