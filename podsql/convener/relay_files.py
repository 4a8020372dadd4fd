"""A relay's directory: ``relay.toml``, the relay's CURVE key, the manifest it starts with.

Rule to keep: nothing secret but the relay's own key goes in here.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import tomli
from nacl.bindings import crypto_scalarmult_base

from podsql.errors import Error, error
from podsql.membership import check_endpoint, toml_text
from podsql.relay.keys import replace_file, save_seed
from podsql.relay.manifest import Manifest, ManifestStore

KEY: Final = "relay.key"
MANIFEST: Final = "manifest.bin"
FILE: Final = "relay.toml"


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
    _name_federation(directory, federation)
    return public


def prepare_relay(directory: Path, plan: RelayPlan) -> bytes:
    """Write a relay's directory before any federation is known; its public CURVE key."""
    if (directory / FILE).exists():
        raise error("CONFIG", f"{str(directory)!r} holds a relay already", hint="--dir OTHER")
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    secret = os.urandom(32)
    save_seed(directory / KEY, secret)
    sections: dict[str, dict[str, Any]] = {
        "relay": {"listen": plan.listen, "key": KEY, "federation": "", "manifest": MANIFEST}
    }
    if plan.certificate is not None and plan.key is not None:
        shutil.copyfile(plan.certificate, directory / "tls.pem")
        replace_file(directory / "tls.key", plan.key.read_bytes(), mode=0o600)
        sections["tls"] = {"certificate": "tls.pem", "key": "tls.key"}
    replace_file(directory / FILE, toml_text(sections).encode(), mode=0o644)
    return crypto_scalarmult_base(secret)


def trust_federation(directory: Path, raw: bytes, manifest: Manifest) -> None:
    """Let the members of a manifest's federation in."""
    _name_federation(directory, manifest.federation)
    install_manifest(directory, raw, manifest)


def _name_federation(directory: Path, federation: str) -> None:
    try:
        sections = tomli.loads((directory / FILE).read_text(encoding="utf-8"))
        sections["relay"]["federation"] = federation
    except (OSError, ValueError, KeyError):
        raise error(
            "CONFIG", f"no relay in {str(directory)!r}", hint="podsql relay init ENDPOINT"
        ) from None
    replace_file(directory / FILE, toml_text(sections).encode(), mode=0o644)


def install_manifest(directory: Path, raw: bytes, manifest: Manifest) -> None:
    """Give a relay that does not run a manifest, unless it holds a newer one."""
    path = directory / MANIFEST
    try:
        held = ManifestStore(path, manifest.federation).current
    except Error:
        held = None  # damaged, or of another federation: replaced
    if held is None or held.version < manifest.version:
        replace_file(path, raw, mode=0o600)
