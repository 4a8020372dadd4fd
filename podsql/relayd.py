"""The relay as a process: ``python -m podsql.relayd relay.toml``.

It knows keys, sizes and times. Rule to keep: nothing here reaches the planner, the engine, the
policy or a connector; import-linter proves it, and a test reads the running process's modules.
"""

import json
import logging
import sys
import threading
from pathlib import Path

import msgspec
import tomli

from podsql.errors import Error, error
from podsql.lifecycle import wait_for_stop
from podsql.relay.keys import load_seed, replace_file
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import ManifestStore
from podsql.relay.sockets.edge import Edge
from podsql.relay.sockets.router import Relay

log = logging.getLogger("podsql.relay")

CONFIG_BYTES = 64 * 1024
STATUS = "status.json"
STATUS_SECONDS = 5.0
DRAIN_MS = 500


class RelaySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[relay]``."""

    listen: str
    key: str = "relay.key"
    federation: str
    manifest: str = "manifest.bin"


class TlsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[tls]``: with it, peers come through a TLS edge and the router listens on the loopback."""

    certificate: str
    key: str


class RelayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    relay: RelaySection
    tls: TlsSection | None = None
    limits: RelayLimits = RelayLimits()


def load_relay_config(path: Path) -> RelayConfig:
    """Read ``relay.toml`` strictly; CONFIG says what is wrong."""
    try:
        data = path.read_bytes()
    except OSError:
        raise error("CONFIG", f"cannot read {path.name!r}", hint="podsql relay init") from None
    if len(data) > CONFIG_BYTES:
        raise error("CONFIG", f"{path.name!r} is larger than {CONFIG_BYTES} bytes")
    try:
        return msgspec.convert(tomli.loads(data.decode()), RelayConfig)
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise error("CONFIG", f"{path.name!r} is not valid TOML") from None
    except msgspec.ValidationError as fault:
        raise error("CONFIG", f"{path.name!r}: {str(fault).lower()}") from None


def run_relay(path: Path) -> int:
    """Serve until SIGTERM or SIGINT, then announce the restart and stop."""
    config, home = load_relay_config(path), path.resolve().parent
    store = ManifestStore(home / config.relay.manifest, config.relay.federation)
    relay = Relay(
        listen="tcp://127.0.0.1:*" if config.tls else config.relay.listen,
        secret=load_seed(home / config.relay.key),
        federation=config.relay.federation,
        store=store,
        limits=config.limits,
    )
    relay.start()
    edge = None
    if config.tls is not None:
        edge = Edge(
            listen=config.relay.listen.removeprefix("tcp://"),
            certificate=home / config.tls.certificate,
            key=home / config.tls.key,
            target=relay.endpoint.removeprefix("tcp://"),
        )
        edge.start()
    log.info("relay listens at %s", config.relay.listen)
    stopping = threading.Event()
    writer = threading.Thread(target=_report, args=(relay, home / STATUS, stopping), daemon=True)
    writer.start()
    try:
        wait_for_stop()
    finally:
        stopping.set()
        writer.join()
        if edge is not None:
            edge.stop()
        relay.stop(drain_ms=DRAIN_MS)
    return 0


def _report(relay: Relay, path: Path, stopping: threading.Event) -> None:
    """Write the counters where ``podsql relay status`` reads them."""
    while True:
        replace_file(path, json.dumps(relay.status()).encode(), mode=0o600)
        if stopping.wait(STATUS_SECONDS):
            return


def main() -> int:
    """Entry point; the exit code."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m podsql.relayd relay.toml\n")
        return 2
    try:
        return run_relay(Path(sys.argv[1]))
    except Error as fault:
        sys.stderr.write(f"{fault}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
