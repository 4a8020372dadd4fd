"""What ``podsql doctor`` looks at, one function a check.

Rule to keep: a check never raises for what it is there to find, changes nothing but the stored
manifest, and names the next command.
"""

import importlib.metadata
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from podsql.errors import Error
from podsql.findings import Finding
from podsql.membership import Membership, find_membership, load_membership
from podsql.relay.keys import fingerprint
from podsql.relay.sockets.endpoint import Endpoint
from podsql.times import iso

DAY: Final = 24 * 3600 * 1000
SKEW: Final = 60_000
FREE_BYTES: Final = 1 << 30
LIBRARIES: Final = ("duckdb", "sqlglot", "pyarrow", "pyzmq", "pynacl", "cryptography", "msgspec")
ADVICE: Final = {
    "RELAY_UNREACHABLE": "is the host and port right, and may this machine connect out to it?",
    "RELAY_KEY": "do not go on: ask the convener, on another channel, for the relay's key",
    "NOT_ADMITTED": "ask the convener for a new invite: podsql invite NAME --role ROLE --replace",
    "REVOKED": "ask the convener; a new invite makes a new identity",
    "MANIFEST": "the convener signs a new one: podsql federation renew",
    "PROXY": "check PODSQL_PROXY, https_proxy and [relay] in federation.toml",
    "CLOCK": "set this machine's clock: timedatectl set-ntp true",
}


def diagnose(
    path: Path | None, *, now: int, passphrase: str | None, environ: Mapping[str, str]
) -> list[Finding]:
    """Every check in order; those that need a membership end early without one."""
    findings = [versions()]
    try:
        found = find_membership(path, environ)
        membership = load_membership(found, passphrase=passphrase, environ=environ)
    except Error as fault:
        return [*findings, _failed("membership", fault)]
    findings.append(
        Finding(
            check="membership",
            state="ok",
            text=f"{membership.name!r} ({membership.role}) of {membership.file.federation.name!r}, "
            f"{membership.keys.fingerprint}",
        )
    )
    findings += [keys(membership), proxy(membership, environ), relay(membership)]
    findings += [manifest(membership, now), clock(membership, now), disk(found.parent)]
    if membership.role == "pod":
        findings.append(sandbox())
    return findings


def versions() -> Finding:
    """This installation."""
    names = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    python = ".".join(map(str, sys.version_info[:3]))
    mine = importlib.metadata.version("podsql")
    return Finding(
        check="versions", state="ok", text=f"podsql {mine}, python {python}, {', '.join(names)}"
    )


def keys(membership: Membership) -> Finding:
    """The key file opened, so it is private; its keys must be those of the manifest's card."""
    stored = membership.store.current
    card = stored.by_name(membership.name) if stored else None
    if card is not None and card.identity != membership.keys.identity_public:
        return Finding(
            check="keys",
            state="failed",
            text=f"the manifest's card of {membership.name!r} has other keys than this file",
            next="podsql key recover INVITE",
        )
    interrupted = membership.path.resolve().parent / "keys.next.json"
    if interrupted.exists():
        return Finding(
            check="keys",
            state="warning",
            text="a rotation was interrupted",
            next="podsql key rotate",
        )
    return Finding(check="keys", state="ok", text="private to their owner, same as the manifest's")


def proxy(membership: Membership, environ: Mapping[str, str]) -> Finding:
    """Which way out is taken, and why."""
    egress = membership.egress
    way = "a SOCKS5 proxy" if egress.socks else "an HTTP proxy" if egress.proxy else "no proxy"
    named = "PODSQL_PROXY" if environ.get("PODSQL_PROXY") else "federation.toml or environment"
    return Finding(
        check="proxy", state="ok", text=f"{way} (from {named})" if way != "no proxy" else way
    )


def relay(membership: Membership) -> Finding:
    """Connect for real: address, key, admission, manifest."""
    endpoint = Endpoint(
        keys=membership.keys,
        relay=membership.relay,
        store=membership.store,
        egress=membership.egress,
        name="doctor",
    )
    try:
        endpoint.start(timeout=5.0)
    except Error as fault:
        return _failed("relay", fault)
    finally:
        endpoint.close()
    mark = fingerprint(membership.relay.curve)[:12]
    return Finding(
        check="relay",
        state="ok",
        text=f"{membership.relay.endpoint} answers with the pinned key ({mark}…) and admits us",
    )


def manifest(membership: Membership, now: int) -> Finding:
    """Is the stored manifest fresh, and are we in it?"""
    stored = membership.store.current
    if stored is None:
        return Finding(check="manifest", state="failed", text="none seen yet", next="podsql doctor")
    text = f"version {stored.version}, {len(stored.members())} members, until {iso(stored.expires)}"
    if stored.by_identity(membership.keys.identity_public) is None:
        return Finding(
            check="manifest",
            state="failed",
            text=f"{text}; we are not in it",
            next=ADVICE["REVOKED"],
        )
    left = stored.expires - now
    if left < 0:
        return Finding(check="manifest", state="failed", text=text, next=ADVICE["MANIFEST"])
    if left < 3 * DAY:
        return Finding(check="manifest", state="warning", text=text, next=ADVICE["MANIFEST"])
    return Finding(check="manifest", state="ok", text=text)


def clock(membership: Membership, now: int) -> Finding:
    """This clock against what the convener signed: it cannot be earlier than that."""
    stored = membership.store.current
    if stored is not None and stored.issued > now + SKEW:
        minutes = (stored.issued - now) // 60_000
        return Finding(
            check="clock",
            state="failed",
            text=f"{minutes} minutes behind the manifest's time of signing",
            next=ADVICE["CLOCK"],
        )
    return Finding(check="clock", state="ok", text=f"{iso(now)}, not behind the manifest")


def disk(home: Path) -> Finding:
    """Room for snapshots, spools and the audit."""
    free = shutil.disk_usage(home.resolve()).free
    text = f"{free / (1 << 30):.1f} GiB free where federation.toml lies"
    if free < FREE_BYTES:
        return Finding(
            check="disk", state="warning", text=text, next="make room, or move the directory"
        )
    return Finding(check="disk", state="ok", text=text)


def sandbox() -> Finding:
    """Which walls this kernel puts around the processes that run SQL: tried out in a child."""
    from podsql.engine.probing import probe_sandbox  # only where there are such walls

    report = probe_sandbox()
    if report is None:
        return Finding(
            check="sandbox",
            state="failed",
            text="a process could not restrict itself",
            next="run the pod in a container, and allow trusted analysts only",
        )
    held, missing = report.held, report.missing
    lacking = ", ".join(f"{name} ({reason})" for name, reason in missing)
    text = f"holds: {', '.join(held)}" + (f"; missing: {lacking}" if lacking else "")
    if "landlock" in held and {"network", "seccomp"} & set(held):
        return Finding(check="sandbox", state="ok", text=text)
    return Finding(
        check="sandbox",
        state="warning",
        text=text,
        next="a newer kernel or a container closes files and network to hostile SQL",
    )


def _failed(check: str, fault: Error) -> Finding:
    advice = ADVICE.get(fault.code) or fault.hint
    return Finding(check=check, state="failed", text=f"{fault.code}: {fault.message}", next=advice)
