"""ZAP (rfc.zeromq.org/spec/27): who may finish a CURVE handshake. Own handler, fail closed.

200: a hosted federation lists the key. 300: one has no manifest yet, try again. 400: a stranger, for
good; which federations there are, nobody hears. libzmq admits everybody when no handler answers, unless a domain is set and enforced; the socket does both.
"""

import logging
import threading
import time
from typing import Final

import zmq

from podsql.relay.hosting import Hosting

log = logging.getLogger("podsql.relay")

ENDPOINT: Final = "inproc://zeromq.zap.01"
DOMAIN: Final = b"relay"
_STOP: Final = b"stop"


class ZapHandler:
    """Answers libzmq's questions on a thread of its own."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", hosting: Hosting) -> None:
        self._context = context
        self._hosting = hosting
        self.admitted = 0
        self.refused = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; returns once questions are answered."""
        socket = self._context.socket(zmq.REP)
        socket.linger = 0
        socket.bind(ENDPOINT)
        self._thread = threading.Thread(target=self._run, args=(socket,), name="zap", daemon=True)
        self._thread.start()
        self._prove()

    def stop(self) -> None:
        """Stop; further handshakes fail."""
        if self._thread is not None:
            with self._context.socket(zmq.REQ) as asker:
                asker.linger = 0
                asker.connect(ENDPOINT)
                asker.send(_STOP)
                asker.poll(2000)
            self._thread.join(2.0)
            self._thread = None

    def _prove(self) -> None:
        """A stranger must be refused before the relay binds."""
        with self._context.socket(zmq.REQ) as asker:
            asker.linger = 0
            asker.connect(ENDPOINT)
            asker.send_multipart([b"1.0", b"self-test", DOMAIN, b"", b"", b"CURVE", bytes(32)])
            if not asker.poll(5000) or asker.recv_multipart()[2] == b"200":
                raise RuntimeError("the ZAP handler does not refuse strangers")

    def _run(self, socket: "zmq.Socket[bytes]") -> None:
        while True:
            question = socket.recv_multipart()
            if question == [_STOP]:
                socket.send(b"")
                socket.close()
                return
            socket.send_multipart(self._answer(question))

    def _answer(self, question: list[bytes]) -> list[bytes]:
        request = question[1] if len(question) > 1 else b""
        code, text = b"400", b"not admitted"
        shaped = len(question) == 7 and question[0] == b"1.0" and question[2] == DOMAIN
        if shaped and question[5] == b"CURVE" and len(question[6]) == 32:
            if self._hosting.admits(question[6], time.time_ns() // 1_000_000):
                code, text = b"200", b"OK"
            elif not self._hosting.complete:
                code, text = b"300", b"no roster yet"
        if code == b"200":
            self.admitted += 1
            return [b"1.0", request, code, text, question[6].hex().encode(), b""]
        self.refused += 1
        return [b"1.0", request, code, text, b"", b""]
