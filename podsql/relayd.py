"""The relay as a process: ``python -m podsql.relayd relay.toml``.

It knows keys, sizes and times. SIGHUP makes it host the federations that the file names now; the peers
of the others notice nothing. Rule to keep: nothing here reaches the planner, the engine, the policy or
a connector; import-linter proves it, and a test reads the running process's modules.
"""

import json
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import tomli

from podsql.errors import Error, error
from podsql.lifecycle import wait_for_stop
from podsql.relay.claims import Claims
from podsql.relay.keys import load_seed, parse_fingerprint, replace_file
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import ManifestStore
from podsql.relay.places import DISPUTES, KEY, STATUS, manifest_path, status_path
from podsql.relay.sockets.edge import Edge
from podsql.relay.sockets.router import Relay

log = logging.getLogger("podsql.relay")

CONFIG_BYTES = 64 * 1024
STATUS_SECONDS = 5.0
DRAIN_MS = 500


class RelaySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[relay]``."""

    listen: str
    key: str = KEY
    federations: tuple[str, ...] = ()
    """Fingerprints; the relay keeps their newest manifests in ``manifests/``."""


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
        config = msgspec.convert(tomli.loads(data.decode()), RelayConfig)
        named = dict.fromkeys(map(parse_fingerprint, config.relay.federations))
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise error("CONFIG", f"{path.name!r} is not valid TOML") from None
    except msgspec.ValidationError as fault:
        hint = "podsql relay list brings it up to date" if "`federation`" in str(fault) else ""
        raise error("CONFIG", f"{path.name!r}: {str(fault).lower()}", hint=hint) from None
    except Error as fault:
        raise error("CONFIG", f"{path.name!r}: {fault.message}") from None
    relay = msgspec.structs.replace(config.relay, federations=tuple(named))
    return msgspec.structs.replace(config, relay=relay)


def run_relay(path: Path) -> int:
    """Serve until SIGTERM or SIGINT, then announce the restart and stop."""
    config, home = load_relay_config(path), path.resolve().parent
    relay = Relay(
        listen="tcp://127.0.0.1:*" if config.tls else config.relay.listen,
        secret=load_seed(home / config.relay.key),
        limits=config.limits,
        claims=Claims(home / DISPUTES),
    )
    settle(relay, home, config.relay.federations)
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
    _report(relay, home)
    log.info("relay listens at %s", config.relay.listen)
    stopping = threading.Event()
    writer = threading.Thread(target=_keep_reporting, args=(relay, home, stopping), daemon=True)
    writer.start()
    try:
        wait_for_stop({signal.SIGHUP: lambda: reload(relay, path)})
    finally:
        stopping.set()
        writer.join()
        _report(relay, home)
        if edge is not None:
            edge.stop()
        relay.stop(drain_ms=DRAIN_MS)
    return 0


def settle(relay: Relay, home: Path, federations: tuple[str, ...]) -> None:
    """Host these federations and no others, each with the newest manifest there is.

    One whose manifest cannot be used is left out or as it was: that is no business of the others.
    """
    for federation in relay.hosting.cores.keys() - set(federations):
        relay.drop(federation)
        log.info("no longer hosts %s", federation)
    for federation in federations:
        try:
            store = ManifestStore(manifest_path(home, federation), federation)
            core = relay.hosting.cores.get(federation)
            if core is None:
                relay.host(federation, store)
                log.info("hosts %s", federation)
            elif store.raw not in (None, core.roster.raw):
                relay.adopt(federation, store.raw)
        except Error as fault:
            log.error("federation %s: %s", federation, fault)


def reload(relay: Relay, path: Path) -> None:
    """Read ``relay.toml`` again, for the federations it names."""
    try:
        federations = load_relay_config(path).relay.federations
    except Error as fault:
        log.error("everything stays as it is: %s", fault)
    else:
        settle(relay, path.resolve().parent, federations)


def _report(relay: Relay, home: Path) -> None:
    """Write the counters: the process's for its operator, each federation's in a file of its own."""
    _write(home / STATUS, relay.status())
    hosted = relay.hosting.cores
    for federation, core in hosted.items():
        _write(status_path(home, federation), core.status())
    for path in status_path(home, "").parent.glob("*.json"):
        if path.stem not in hosted:
            path.unlink(missing_ok=True)


def _keep_reporting(relay: Relay, home: Path, stopping: threading.Event) -> None:
    while not stopping.wait(STATUS_SECONDS):
        _report(relay, home)


def _write(path: Path, counters: dict[str, Any]) -> None:
    content = json.dumps(counters).encode()
    if not path.exists() or path.read_bytes() != content:  # most federations are idle
        replace_file(path, content, mode=0o600)


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
