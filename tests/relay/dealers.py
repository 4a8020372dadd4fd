"""Bare DEALER sockets that speak to a real relay frame by frame."""

from collections.abc import Iterator
from contextlib import contextmanager

import zmq
from nacl.bindings import crypto_scalarmult_base

from podsql.relay.frames import Header, Kind, decode
from podsql.relay.keys import z85
from podsql.relay.sockets.router import Relay

HELLO = b"\x94\xa7hello/1\x01\xa0\x00"
PATIENCE = 5000


@contextmanager
def dealer(relay: Relay, secret: bytes | None, **options: object) -> Iterator["zmq.Socket[bytes]"]:
    """A bare DEALER with CURVE (or without, for ``secret=None``)."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.linger = 0
    made.setsockopt(zmq.IMMEDIATE, 1)
    made.setsockopt(zmq.SNDTIMEO, 1500)
    for name, value in options.items():
        setattr(made, name, value)
    if secret is not None:
        made.curve_secretkey = z85(secret)
        made.curve_publickey = z85(crypto_scalarmult_base(secret))
        made.curve_serverkey = z85(relay.public)
    made.connect(relay.endpoint)
    try:
        yield made
    finally:
        made.close()
        context.term()


def receive(made: "zmq.Socket[bytes]") -> tuple[Header, bytes]:
    assert made.poll(PATIENCE), "the relay did not answer"
    header, body = made.recv_multipart()
    return decode(header), body


def greet(made: "zmq.Socket[bytes]") -> None:
    made.send_multipart([Header(kind=Kind.HELLO).encode(), HELLO])
    assert receive(made)[0].kind is Kind.WELCOME


def refused(made: "zmq.Socket[bytes]") -> bool:
    """Nothing this peer sends gets an answer."""
    try:
        made.send_multipart([Header(kind=Kind.HELLO).encode(), HELLO])
    except zmq.Again:
        return True
    return not made.poll(700)
