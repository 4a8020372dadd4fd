"""Row 4: the pack for information security: what this installation is, opens, holds and lacks.

Each row of the questions that hospitals' and banks' IT ask is answered for *this* installation:
``yes``, ``partly`` or ``no``. Rule to keep: an answer that was not looked at is not ``yes``.
"""

from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from podsql.governance.crypto import CRYPTOGRAPHY, Flow, Primitive, flows
from podsql.governance.facts import Facts, Key
from podsql.governance.flow import flow_svg
from podsql.governance.installed import Installation
from podsql.governance.pages import Grid, Heading, Page, Pairs, Text
from podsql.governance.sbom import cyclonedx
from podsql.times import iso

DAY_MS = 24 * 3600 * 1000
MAIN = ("duckdb", "sqlglot", "pyarrow", "pyzmq", "pynacl", "cryptography", "msgspec", "opendp")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One question of IT."""

    area: str
    asked: str
    state: Literal["yes", "partly", "no"]
    here: str


class KeyAge(msgspec.Struct, frozen=True, kw_only=True):
    """A key, its age and how it rests."""

    name: str
    use: str
    made: str
    days: int | None
    sealed: str


class InfoSec(msgspec.Struct, frozen=True, kw_only=True):
    """The pack. ``sbom`` is CycloneDX, ``flow_svg`` a picture."""

    pod: str
    at: str
    answers: tuple[Answer, ...]
    flows: tuple[Flow, ...]
    cryptography: tuple[Primitive, ...]
    keys: tuple[KeyAge, ...]
    sandbox_held: tuple[str, ...]
    sandbox_missing: tuple[str, ...]
    isolation: str
    versions: dict[str, str]
    origin: str
    signature: str
    files: int
    files_changed: int
    sbom: dict[str, Any]
    flow_svg: str


def infosec(facts: Facts, here: Installation) -> InfoSec:
    """The pack for a pod on this installation."""
    versions = {one.name: one.version for one in here.components}
    return InfoSec(
        pod=facts.pod,
        at=iso(facts.now),
        answers=_answers(facts, here),
        flows=flows(facts.network),
        cryptography=CRYPTOGRAPHY,
        keys=tuple(_age(key, facts.now) for key in facts.keys),
        sandbox_held=here.sandbox_held,
        sandbox_missing=tuple(f"{name}: {why}" for name, why in here.sandbox_missing),
        isolation=facts.isolation,
        versions={
            "podsql": here.version,
            "python": here.python,
            "platform": here.platform,
            **{name: versions[name] for name in MAIN if name in versions},
        },
        origin=here.origin,
        signature=here.signature,
        files=here.files,
        files_changed=here.files_changed,
        sbom=cyclonedx(here.components, root="podsql", now=facts.now),
        flow_svg=flow_svg(facts),
    )


def _age(key: Key, now: int) -> KeyAge:
    return KeyAge(
        name=key.name,
        use=key.use,
        made=iso(key.made) if key.made is not None else "",
        days=None if key.made is None else (now - key.made) // DAY_MS,
        sealed=key.sealed,
    )


def _answers(facts: Facts, here: Installation) -> tuple[Answer, ...]:
    return (
        *_network(facts),
        *_install(here),
        *_service(here),
        *_watching(),
        *_supply(here),
        *_governance(facts),
    )


def _answer(area: str, asked: str, state: Literal["yes", "partly", "no"], here: str) -> Answer:
    return Answer(area=area, asked=asked, state=state, here=here)


def _network(facts: Facts) -> tuple[Answer, ...]:
    network = facts.network
    parts = urlsplit(network.relay if network else "")
    one = parts.scheme == "tls" and parts.port == 443
    way = network.way if network else "direct"
    return (
        _answer(
            "network",
            "outbound only, nothing listens",
            "yes",
            "by design: one outbound connection, and a unix socket for the custodian; ss -ltnp shows it",
        ),
        _answer(
            "network",
            "one TLS port, 443",
            "yes" if one else "no",
            f"relay at {network.relay if network else 'none: not joined'}"
            + ("" if one else "; move the relay to tls://…:443"),
        ),
        _answer(
            "network",
            "proxy and private CA",
            "yes",
            f"HTTP CONNECT and SOCKS5 are supported; here: {way}, {'a private CA' if network and network.private_ca else 'no private CA'}",
        ),
        _answer(
            "network",
            "fixed list of hosts",
            "yes",
            f"one: {parts.hostname or 'none yet'}"
            + ("" if way == "direct" else ", through the proxy"),
        ),
        _answer("network", "IPv4 and IPv6", "yes", "both, as the name resolves"),
        _answer(
            "network",
            "reconnects by itself, with a reason",
            "yes",
            "with back-off; the pod's log names the reason",
        ),
    )


def _install(here: Installation) -> tuple[Answer, ...]:
    return (
        _answer(
            "installation",
            "offline, from a wheelhouse, no compiler",
            "yes",
            f"wheels only; here from: {here.origin}",
        ),
        _answer(
            "installation",
            "hashes of every file that is installed",
            "no",
            "constraints.txt pins versions, without hashes",
        ),
        _answer(
            "installation",
            "container image by digest",
            "no",
            "a Dockerfile comes with the source; no image is published",
        ),
        _answer(
            "installation",
            "not as root",
            "no" if here.root else "yes",
            "this command runs as root" if here.root else "this command does not run as root",
        ),
        _answer(
            "installation",
            "state in one directory; a backup is that directory",
            "yes",
            "state, keys and configuration beside pod.toml; the ledger's witness apart",
        ),
        _answer(
            "installation",
            "files are as the wheel recorded them",
            "partly" if here.editable else "no" if here.files_changed or not here.files else "yes",
            f"{here.files} recorded, {here.files_changed} changed or gone"
            + ("; a working copy: its source is not recorded" if here.editable else ""),
        ),
    )


def _service(here: Installation) -> tuple[Answer, ...]:
    return (
        _answer(
            "service",
            "hardened systemd unit",
            "yes" if here.unit else "partly",
            "installed on this host"
            if here.unit
            else "comes with the source; not installed on this host",
        ),
        _answer("service", "says when it is ready; watchdog", "partly", "Type=notify; no watchdog"),
    )


def _watching() -> tuple[Answer, ...]:
    return (
        _answer("watching", "structured logs", "no", "lines of text on stderr"),
        _answer(
            "watching",
            "metrics and health endpoints",
            "no",
            "podsql pod status and podsql doctor, on the host",
        ),
        _answer(
            "watching",
            "no SQL literal or value in logs",
            "yes",
            "statements stand in the audit alone; a test looks for values in every file a pod writes",
        ),
        _answer(
            "watching",
            "tamper-evident audit, exported to a SIEM",
            "yes",
            "podsql audit export --format jsonl, cef or syslog",
        ),
    )


def _supply(here: Installation) -> tuple[Answer, ...]:
    return (
        _answer(
            "supply chain",
            "SBOM",
            "yes",
            f"CycloneDX 1.6, {len(here.components)} distributions: podsql audit infosec --sbom sbom.json",
        ),
        _answer("supply chain", "signed releases, verifiable offline", "no", here.signature),
        _answer(
            "supply chain",
            "hashes required at installation",
            "no",
            "pip's --require-hashes needs a list that is not published",
        ),
        _answer("supply chain", "security policy, CVE feed", "no", "none is published"),
        _answer(
            "supply chain", "licences", "partly", "as the distributions state them, in the SBOM"
        ),
    )


def _governance(facts: Facts) -> tuple[Answer, ...]:
    apart = {
        True: "on another disk",
        False: "on the same disk as the state",
        None: "not written yet",
    }
    return (
        _answer(
            "governance",
            "DPIA template, data flow, retention",
            "yes",
            "podsql audit dpia, infosec --svg, retention",
        ),
        _answer(
            "governance",
            "roles, single sign-on, SCIM",
            "no",
            "people are keys in a signed manifest; no identity provider is asked",
        ),
        _answer(
            "governance",
            "break-glass",
            "no",
            "nobody can overrule a pod's policy; the custodian edits it",
        ),
        _answer(
            "governance",
            "clock check",
            "yes",
            "a clock set back is refused; podsql doctor compares with the manifest",
        ),
        _answer(
            "governance",
            "kill switch",
            "yes",
            "podsql pod pause, or a freeze at a policy service; no restart ends either",
        ),
        _answer(
            "governance",
            "proof of what left",
            "yes",
            "podsql audit outputs: one report a release, with its hash",
        ),
        _answer(
            "governance",
            "a restored backup is noticed",
            "yes" if facts.witness_apart else "partly",
            f"the ledger's witness is {apart[facts.witness_apart]}",
        ),
        _answer(
            "governance",
            "support bundle that redacts",
            "no",
            "podsql audit pack holds statements' texts",
        ),
    )


def page(found: InfoSec) -> Page:
    """For people."""
    sandbox = ", ".join(found.sandbox_held) or "none"
    lacking = "; ".join(found.sandbox_missing) or "none"
    return Page(
        f"InfoSec pack of pod {found.pod}",
        (
            Text(f"As of {found.at}."),
            Heading("Questions and answers"),
            Grid(
                ("area", "asked", "state", "here"),
                tuple((a.area, a.asked, a.state, a.here) for a in found.answers),
            ),
            Heading("Ports and directions"),
            Grid(
                ("from", "to", "direction", "port", "protected by", "carries"),
                tuple(
                    (
                        f.source,
                        f.target,
                        f.direction,
                        f.port,
                        f.protected_by or "nothing to protect",
                        f.carries or "nothing",
                    )
                    for f in found.flows
                ),
            ),
            Heading("Sandbox of engines, tried on this host"),
            Pairs(
                {
                    "isolation": found.isolation,
                    "layers that hold": sandbox,
                    "layers that are missing": lacking,
                }
            ),
            Heading("Cryptography"),
            Grid(
                ("use", "algorithm", "keys", "library"),
                tuple((p.use, p.algorithm, p.keys, p.library) for p in found.cryptography),
            ),
            Heading("Keys"),
            Grid(
                ("key", "use", "made", "age", "at rest"),
                tuple(
                    (
                        k.name,
                        k.use,
                        k.made or "unknown",
                        "unknown" if k.days is None else f"{k.days} days",
                        k.sealed,
                    )
                    for k in found.keys
                ),
            ),
            Heading("Versions"),
            Pairs(
                {
                    **found.versions,
                    "installed from": found.origin,
                    "signature of the release": found.signature,
                    "files of the wheel": f"{found.files} recorded, {found.files_changed} changed or gone",
                    "SBOM": f"{len(found.sbom['components']) + 1} components: --sbom FILE writes CycloneDX",
                }
            ),
        ),
    )
