"""``federation.toml``: one peer's membership of a federation, read once and strictly.

    [federation]
    name = "clinics"
    fingerprint = "ps1…"                  # of the federation key: the root of all trust

    [relay]
    endpoint = "tcp://relay.example:5555" # or tls://relay.example:443
    key = "…"                             # the relay's CURVE key, base64
    ca = "ca.pem"                         # optional: private CA of a tls:// relay
    proxy = "user:pw@proxy:3128"          # optional: HTTP CONNECT; or socks = "host:1080"

    [me]
    name = "ana"
    role = "analyst"
    keys = "keys.json"                    # secrets, 0600; paths are relative to this file
    manifest = "manifest.bin"

Rule to keep: this is the only reader of the file and of the environment variables about it
(``PODSQL_FEDERATION``, ``PODSQL_PROXY``, ``PODSQL_PASSPHRASE``, ``https_proxy``, ``no_proxy``).
"""

import base64
import binascii
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
import tomli

from podsql.errors import Error, error
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import PeerKeys, load_keys, parse_fingerprint
from podsql.relay.manifest import ManifestStore
from podsql.relay.sockets.endpoint import Egress

FILE_BYTES: Final = 64 * 1024
"""A larger file is refused before it is parsed."""
NAME: Final = "federation.toml"
JOIN_HINT: Final = "podsql join INVITE writes one; or name it with PODSQL_FEDERATION"


class FederationSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[federation]``."""

    name: str
    fingerprint: str


class RelaySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[relay]``: where it is, which key it must have, and the way out to it."""

    endpoint: str
    key: str
    ca: str | None = None
    proxy: str | None = None
    socks: str | None = None


class MeSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[me]``: this peer."""

    name: str
    role: str
    keys: str = "keys.json"
    manifest: str = "manifest.bin"


class MembershipFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    federation: FederationSection
    relay: RelaySection
    me: MeSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A peer's membership, ready to use: secrets, relay, way out, and the manifest it last saw."""

    path: Path
    file: MembershipFile
    relay: RelayAddress
    keys: PeerKeys = field(repr=False)
    store: ManifestStore = field(repr=False)
    egress: Egress = field(repr=False)

    @property
    def name(self) -> str:
        """This peer's name in the federation."""
        return self.file.me.name

    @property
    def role(self) -> str:
        """This peer's role."""
        return self.file.me.role

    @property
    def federation(self) -> str:
        """Fingerprint of the federation key."""
        return self.file.federation.fingerprint


def find_membership(
    path: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Path:
    """The file to read: argument, ``$PODSQL_FEDERATION``, ``./``, then ``~/.config/podsql/``."""
    named = path or (os.environ if environ is None else environ).get("PODSQL_FEDERATION")
    if named:
        chosen = Path(named).expanduser()
        chosen = chosen / NAME if chosen.is_dir() else chosen
        if not chosen.is_file():
            raise error("CONFIG", f"no {NAME} at {str(named)!r}", hint=JOIN_HINT)
        return chosen
    for place in (Path(NAME), Path("~/.config/podsql").expanduser() / NAME):
        if place.is_file():
            return place
    raise error("CONFIG", f"no {NAME} here or in ~/.config/podsql", hint=JOIN_HINT)


def load_membership(
    path: Path | str | None = None,
    *,
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Membership:
    """Find and read a membership with its keys and stored manifest; CONFIG or KEY_FILE errors."""
    env = os.environ if environ is None else environ
    found = find_membership(path, env)
    file = read_membership_file(found)
    home = found.resolve().parent
    secret = passphrase if passphrase is not None else env.get("PODSQL_PASSPHRASE")
    keys = load_keys(home / file.me.keys, secret)
    return Membership(
        path=found,
        file=file,
        relay=relay_address(file.relay),
        keys=keys,
        store=ManifestStore(home / file.me.manifest, file.federation.fingerprint),
        egress=egress_of(file.relay, home, env),
    )


def read_membership_file(path: Path) -> MembershipFile:
    """Read and check the public part of a membership."""
    try:
        data = path.read_bytes()
    except OSError:
        raise error("CONFIG", f"cannot read {path.name!r}", hint=JOIN_HINT) from None
    if len(data) > FILE_BYTES:
        raise error("CONFIG", f"{path.name!r} is larger than {FILE_BYTES} bytes")
    try:
        tree = tomli.loads(data.decode())
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise error("CONFIG", f"{path.name!r} is not valid TOML", hint=JOIN_HINT) from None
    try:
        file = msgspec.convert(tree, MembershipFile)
    except msgspec.ValidationError as fault:
        text = str(fault)
        raise error("CONFIG", f"{path.name!r}: {text.lower()}", hint=_nearest(text)) from None
    _check(file, path.name)
    return file


def membership_text(file: MembershipFile) -> str:
    """The TOML of a membership, as ``read_membership_file`` reads it."""
    return toml_text(
        {name: msgspec.to_builtins(getattr(file, name)) for name in file.__struct_fields__}
    )


def toml_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of strings, numbers, booleans, lists and tables as TOML; None values are left out."""
    blocks = []
    for name, section in sections.items():
        lines = [f"[{name}]"]
        lines += [
            f"{key} = {_toml_value(value)}" for key, value in section.items() if value is not None
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_toml_value(key)} = {_toml_value(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    # A JSON string is a TOML basic string once DEL, which JSON leaves bare, is escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_text(raw: bytes) -> str:
    """A 32-byte public key as ``[relay] key`` holds it."""
    return base64.b64encode(raw).decode()


def key_from_text(text: str, what: str = "relay key") -> bytes:
    """The 32 bytes of a base64 key; CONFIG otherwise."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise error("CONFIG", f"{what} is not 32 bytes of base64")
    return raw


def relay_address(section: RelaySection) -> RelayAddress:
    """The relay's address and pinned key."""
    return RelayAddress(endpoint=section.endpoint, curve=key_from_text(section.key))


def egress_of(section: RelaySection, home: Path, environ: Mapping[str, str]) -> Egress:
    """The way out: ``PODSQL_PROXY``, else the file's, else ``https_proxy`` for a tls:// relay."""
    ca = home / section.ca if section.ca else None
    named = environ.get("PODSQL_PROXY", "")
    if named == "direct":
        return Egress(ca=ca)
    if named:
        return proxy_egress(named, ca)
    if section.socks:
        return proxy_egress(f"socks5://{section.socks}", ca)
    if section.proxy:
        return Egress(proxy=section.proxy, ca=ca)
    usual = environ.get("https_proxy") or environ.get("HTTPS_PROXY") or ""
    if usual and section.endpoint.startswith("tls://") and not _bypassed(section.endpoint, environ):
        return proxy_egress(usual, ca)
    return Egress(ca=ca)


def proxy_egress(url: str, ca: Path | None = None) -> Egress:
    """Egress of ``socks5://…`` or ``http://…`` (or a bare ``host:port``, taken as HTTP)."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        place = f"{parts.hostname}:{parts.port}" if parts.hostname and parts.port else ""
    except ValueError:
        place = ""
    if not place:
        raise error("PROXY", "the proxy needs a host and a port", hint="http://proxy:3128")
    if parts.scheme in ("socks5", "socks5h", "socks"):
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return Egress(socks=place, socks_user=user, socks_password=password, ca=ca)
    if parts.scheme != "http":
        raise error(
            "PROXY", f"no way through a {parts.scheme!r} proxy", hint="http:// or socks5://"
        )
    login = parts.netloc.rpartition("@")[0]
    return Egress(proxy=f"{unquote(login)}@{place}" if login else place, ca=ca)


def _bypassed(endpoint: str, environ: Mapping[str, str]) -> bool:
    host = urlsplit(endpoint).hostname or ""
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name.strip().lstrip(".") for name in listed.split(",") if name.strip()]
    return any(name == "*" or host == name or host.endswith(f".{name}") for name in names)


def _check(file: MembershipFile, name: str) -> None:
    parse_fingerprint(file.federation.fingerprint)
    check_endpoint(file.relay.endpoint, f"{name!r}: [relay] endpoint")
    key_from_text(file.relay.key, f"{name!r}: [relay] key")
    if file.relay.proxy and file.relay.socks:
        raise error("CONFIG", f"{name!r}: both proxy and socks", hint="keep one of them")


def check_endpoint(endpoint: str, what: str = "relay endpoint") -> None:
    """CONFIG unless it is ``tcp://host:port`` or ``tls://host:port``."""
    parts = urlsplit(endpoint)
    try:
        fine = parts.scheme in ("tcp", "tls") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        fine = False
    if not fine or parts.path or parts.query or parts.username:
        raise _endpoint_error(what)


def _endpoint_error(what: str) -> Error:
    return error("CONFIG", f"{what} is not tcp://host:port or tls://host:port")


def _nearest(fault: str) -> str:
    kinds = (MembershipFile, FederationSection, RelaySection, MeSection)
    known = [name for kind in kinds for name in kind.__struct_fields__]
    words = fault.split("`")
    close = difflib.get_close_matches(words[1] if len(words) > 1 else "", known, n=1)
    return f"did you mean {close[0]!r}?" if close else JOIN_HINT
