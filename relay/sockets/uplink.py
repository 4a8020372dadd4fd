"""Getting to the relay and back to it: names, proxies, refusals, backoff.

Names are resolved here and not in libzmq, whose resolver would stall all its sockets; a connection
that libzmq gave up (ZAP 400), that fell silent, or whose relay moved is built anew after a growing,
random wait. Rule to keep: a relay with another key than the pinned one is never talked to.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Final
from urllib.parse import urlsplit

from podsql.errors import Error, error
from podsql.relay import events as ev
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import fingerprint
from podsql.relay.sockets.dealer import Dealer, Turn, Wiring
from podsql.relay.sockets.egress import Egress
from podsql.relay.sockets.iothread import IoThread
from podsql.relay.sockets.tunnel import Tunnel

_LOG: Final = logging.getLogger("podsql.relay")
FIRST_WAIT: Final = 0.2
LAST_WAIT: Final = 30.0
WRONG_KEY_AFTER: Final = 3
REFUSED_AFTER: Final = 2
MOVED_AFTER: Final = 10.0


class Uplink:
    """One peer's way to its relay; lives on the I/O thread."""

    def __init__(
        self,
        *,
        io: IoThread,
        dealer: Dealer,
        relay: RelayAddress,
        egress: Egress,
        secret: bytes,
        public: bytes,
        feed: Callable[[ev.Event], None],
    ) -> None:
        self._io = io
        self._dealer = dealer
        self._relay = relay
        self._egress = egress
        self._secret = secret
        self._public = public
        self._feed = feed
        self._started: Callable[[Error], None] | None = None
        self._up = False
        self._closed = False
        self._generation = 0
        self._wait = FIRST_WAIT
        self._no_handshake = 0
        self._refused = 0
        self.displaced = False
        self._tunnel: Tunnel | None = None

    def start(self, deadline: float, failed: Callable[[Error], None]) -> None:
        """Begin; ``failed`` hears why the first connection does not come about."""
        self._started = failed
        self._io.later(max(0.0, deadline - time.monotonic()), self._too_late)
        self._connect()

    def close(self) -> None:
        """No more connections."""
        self._closed = True
        self._generation += 1
        if self._tunnel is not None:
            self._tunnel.stop()
            self._tunnel = None

    def welcomed(self) -> None:
        """The relay let this peer in."""
        self._wait = FIRST_WAIT
        self._no_handshake = self._refused = 0
        self.displaced = False
        self._started = None

    def stalled(self) -> None:
        """The relay fell silent: connect anew."""
        _LOG.warning("the relay fell silent; connecting anew")
        self._down()
        self._again()

    def replaced(self) -> None:
        """Another connection of this key is in its place; it stays there until it ends."""
        _LOG.warning("another process with the same keys took this one's place at the relay")
        self.displaced = True

    def colour(self, outcome: bytes | Error) -> bytes | Error:
        """Say of a call that timed out what is known about the connection."""
        if isinstance(outcome, Error) and outcome.code in ("TIMEOUT", "POD_LOST") and not self._up:
            if self._refused:
                return _not_admitted()
            return error("RELAY_UNREACHABLE", "the relay was not reachable in time")
        late = isinstance(outcome, Error) and outcome.code in ("TIMEOUT", "POD_LOST")
        return replaced() if late and self.displaced else outcome

    def turned(self, turn: Turn) -> None:
        """The monitor saw the connection change."""
        if turn is Turn.UP:
            self._up = True
            self._feed(ev.Connected())
            return
        self._down()
        if turn is Turn.REFUSED:
            self._refused += 1
            _LOG.warning("the relay does not admit this peer")
            if self._refused >= REFUSED_AFTER:
                self._fail(_not_admitted())
            self._again()
        elif turn is Turn.NO_HANDSHAKE:
            self._no_handshake += 1
            if self._no_handshake >= WRONG_KEY_AFTER:
                _LOG.warning("no handshake with the relay: its key may have changed")
                self._fail(self._wrong_key())
        elif turn is Turn.NOT_A_RELAY:
            self._fail(
                error("RELAY_UNREACHABLE", f"what answers at {self._relay.endpoint} is no relay")
            )

    def _down(self) -> None:
        if self._up:
            self._up = False
            self._feed(ev.Disconnected())
            self._dealer.forget()
            generation = self._generation
            self._io.later(MOVED_AFTER, lambda: self._moved(generation))

    def _moved(self, generation: int) -> None:
        """Down for long: the name may stand for another address by now."""
        if not self._up and generation == self._generation:
            self._connect()

    def _again(self) -> None:
        self._generation += 1
        generation = self._generation
        self._dealer.close(linger=0)
        wait = self._wait * SystemRandom().uniform(0.75, 1.25)
        self._wait = min(self._wait * 2, LAST_WAIT)
        self._io.later(wait, lambda: self._connect() if generation == self._generation else None)

    def _connect(self) -> None:
        self._generation += 1
        generation = self._generation

        def resolve() -> None:
            try:
                target: str | Error = self._target()
            except Error as fault:
                target = fault
            self._io.post(lambda: self._resolved(generation, target))

        threading.Thread(target=resolve, name="podsql-resolve", daemon=True).start()

    def _target(self) -> str:
        """Where libzmq shall connect to (may wait for a name server, so on a thread of its own)."""
        parts = urlsplit(self._relay.endpoint)
        host, port = parts.hostname or "", parts.port or 443
        egress = self._egress
        if parts.scheme == "tls" or egress.proxy:
            return self._through_tunnel(host, port, tls=parts.scheme == "tls")
        if egress.socks:
            # The name goes to the proxy, which may be the only one that can resolve it.
            return f"tcp://{host}:{port}"
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise error(
                "RELAY_UNREACHABLE", f"the relay's name {host!r} does not resolve"
            ) from None
        address = str(found[0][4][0])
        return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"

    def _through_tunnel(self, host: str, port: int, *, tls: bool) -> str:
        """The local end of a tunnel that dials the relay through TLS, a proxy, or both."""
        if self._tunnel is None:
            tunnel = Tunnel(
                host=host,
                port=port,
                tls=tls,
                ca=self._egress.ca,
                proxy=self._egress.proxy,
                on_fault=lambda fault: self._io.post(lambda: self._fail(fault)),
            )
            tunnel.start()
            self._tunnel = tunnel
        return self._tunnel.endpoint

    def _resolved(self, generation: int, target: str | Error) -> None:
        if self._closed or generation != self._generation:
            return
        if isinstance(target, Error):
            self._fail(target)
            self._again()
            return
        egress = self._egress
        self._dealer.connect(
            Wiring(
                target=target,
                relay_key=self._relay.curve,
                secret=self._secret,
                public=self._public,
                socks=egress.socks,
                socks_user=egress.socks_user,
                socks_password=egress.socks_password,
            )
        )

    def _too_late(self) -> None:
        if self._refused:
            self._fail(_not_admitted())
        elif self._no_handshake:
            self._fail(self._wrong_key())
        self._fail(
            error(
                "RELAY_UNREACHABLE",
                f"the relay at {self._relay.endpoint} does not answer",
                hint="is it running, and may this machine reach it? 'podsql doctor' looks",
            )
        )

    def _fail(self, fault: Error) -> None:
        """Tell who waits in ``start``, once."""
        started, self._started = self._started, None
        if started is not None:
            started(fault)

    def _wrong_key(self) -> Error:
        return error(
            "RELAY_KEY",
            f"the relay at {self._relay.endpoint} does not hold the key {fingerprint(self._relay.curve)}",
            hint="ask the convener whether its key changed; do not go on before you know",
        )


def _not_admitted() -> Error:
    return error(
        "NOT_ADMITTED",
        "the relay does not admit this peer's key",
        hint="join with an invite, or ask the convener whether the key was revoked",
    )


def replaced() -> Error:
    """The same keys are in use somewhere else."""
    return error(
        "REPLACED",
        "another process with the same keys took this connection's place at the relay",
        hint="end that process, or let it join with an identity of its own",
    )
