"""A relay's directory, as its operator makes and edits it (``relay/places.py`` says what is where).

Rule to keep: nothing secret but the relay's own key goes in here; a running relay reads an edit at
SIGHUP, and never writes the list of the federations it hosts itself.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import tomli
from nacl.bindings import crypto_scalarmult_base

from podsql.errors import Error, error
from podsql.membership import check_endpoint, toml_text
from podsql.relay.keys import replace_file, save_seed
from podsql.relay.manifest import Manifest, ManifestStore
from podsql.relay.places import FILE, KEY, manifest_path, status_path


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPlan:
    """Where a relay listens, and with which TLS certificate if it is a ``tls://`` one."""

    listen: str
    certificate: Path | None = None
    key: Path | None = None


def plan_relay(
    endpoint: str,
    *,
    listen: str | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
) -> RelayPlan:
    """Plan a relay that peers reach at ``endpoint``; ARGUMENT if TLS is half described."""
    check_endpoint(endpoint)
    parts = urlsplit(endpoint)
    if (parts.scheme == "tls") != (tls_certificate is not None) or (
        (tls_certificate is None) != (tls_key is None)
    ):
        raise error(
            "ARGUMENT",
            "a tls:// relay needs a certificate and its key, and no other takes them",
            hint="--tls-cert FILE --tls-key FILE",
        )
    for path in (tls_certificate, tls_key):
        if path is not None and not path.is_file():
            raise error("ARGUMENT", f"no file {str(path)!r}")
    return RelayPlan(
        listen=listen or f"tcp://*:{parts.port}", certificate=tls_certificate, key=tls_key
    )


def write_relay(directory: Path, plan: RelayPlan, *, federation: str) -> bytes:
    """Write a relay's directory for a federation; its public CURVE key."""
    public = prepare_relay(directory, plan)
    _edit(directory, lambda named: [*named, federation])
    return public


def prepare_relay(directory: Path, plan: RelayPlan) -> bytes:
    """Write a relay's directory before any federation is known; its public CURVE key."""
    if (directory / FILE).exists():
        raise error("CONFIG", f"{str(directory)!r} holds a relay already", hint="--dir OTHER")
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    secret = os.urandom(32)
    save_seed(directory / KEY, secret)
    sections: dict[str, dict[str, Any]] = {
        "relay": {"listen": plan.listen, "key": KEY, "federations": []}
    }
    if plan.certificate is not None and plan.key is not None:
        shutil.copyfile(plan.certificate, directory / "tls.pem")
        replace_file(directory / "tls.key", plan.key.read_bytes(), mode=0o600)
        sections["tls"] = {"certificate": "tls.pem", "key": "tls.key"}
    replace_file(directory / FILE, toml_text(sections).encode(), mode=0o644)
    return crypto_scalarmult_base(secret)


def trust_federation(directory: Path, raw: bytes, manifest: Manifest) -> None:
    """Let the members of a manifest's federation in, beside those of others."""
    install_manifest(directory, raw, manifest)
    if manifest.federation not in hosted(directory):
        _edit(directory, lambda named: [*named, manifest.federation])


def untrust_federation(directory: Path, federation: str) -> None:
    """Let them in no more; ARGUMENT if the relay does not host that federation.

    Its manifest stays: should it be hosted again, it cannot go back behind that version.
    """
    if federation not in hosted(directory):
        raise error("ARGUMENT", "the relay hosts no such federation", hint="podsql relay list")
    _edit(directory, lambda named: [each for each in named if each != federation])


def hosted(directory: Path) -> tuple[str, ...]:
    """Fingerprints of the federations that a relay's file names."""
    return tuple(_read(directory)["relay"]["federations"])


def read_hosted(directory: Path) -> list[dict[str, Any]]:
    """What the relay's own files say of each federation; ``connections`` as of a few seconds ago."""
    return [_describe(directory, federation) for federation in hosted(directory)]


def _describe(directory: Path, federation: str) -> dict[str, Any]:
    try:
        manifest = ManifestStore(manifest_path(directory, federation), federation).current
    except Error:
        manifest = None  # damaged: the relay does not host it either
    try:
        status = msgspec.json.decode(status_path(directory, federation).read_bytes())
    except (OSError, msgspec.MsgspecError):
        status = {}
    return {
        "federation": federation,
        "version": manifest.version if manifest else 0,
        "expires": manifest.expires if manifest else None,
        "members": len(manifest.members()) if manifest else 0,
        "connections": status.get("connections", 0),
    }


def install_manifest(directory: Path, raw: bytes, manifest: Manifest) -> None:
    """Give a relay a manifest, unless it holds a newer one."""
    hosted(directory)
    path = manifest_path(directory, manifest.federation)
    try:
        held = ManifestStore(path, manifest.federation).current
    except Error:
        held = None  # damaged: replaced
    if held is None or held.version < manifest.version:
        replace_file(path, raw, mode=0o600)


def _edit(directory: Path, change: Callable[[list[str]], list[str]]) -> None:
    sections = _read(directory)
    sections["relay"]["federations"] = change(sections["relay"]["federations"])
    _write(directory, sections)


def _read(directory: Path) -> dict[str, dict[str, Any]]:
    try:
        sections = tomli.loads((directory / FILE).read_text(encoding="utf-8"))
        if "federation" in sections["relay"]:
            _migrate(directory, sections)
        sections["relay"].setdefault("federations", [])
    except (OSError, ValueError, KeyError, TypeError):
        raise error(
            "CONFIG", f"no relay in {str(directory)!r}", hint="podsql relay init ENDPOINT"
        ) from None
    return sections


def _migrate(directory: Path, sections: dict[str, dict[str, Any]]) -> None:
    """A file that named its one federation, with the manifest beside it, lists it from now on."""
    relay = sections["relay"]
    only, manifest = relay.pop("federation"), directory / relay.pop("manifest", "manifest.bin")
    relay["federations"] = [only] if only else []
    if only and manifest.exists():
        replace_file(manifest_path(directory, only), manifest.read_bytes(), mode=0o600)
    _write(directory, sections)
    manifest.unlink(missing_ok=True)


def _write(directory: Path, sections: dict[str, dict[str, Any]]) -> None:
    replace_file(directory / FILE, toml_text(sections).encode(), mode=0o644)
