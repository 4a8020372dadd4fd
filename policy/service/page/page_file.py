"""``page.toml`` beside the store: single sign-on for one federation's officers, read strictly.

[oidc]
issuer = "https://login.example/realms/clinic"
client_id = "podsql"
client_secret_file = "oidc.secret"     # 0600; relative to this file
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import tomli

from podsql.errors import error

NAME: Final = "page.toml"
FILE_BYTES: Final = 64 * 1024


class OidcFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[oidc]``."""

    issuer: str
    client_id: str
    client_secret_file: str


class Oidc(msgspec.Struct, frozen=True, kw_only=True):
    """The same with the secret read."""

    issuer: str
    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"Oidc(issuer={self.issuer!r}, client_id={self.client_id!r})"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    oidc: OidcFile | None = None


class PageFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says; all of it may be absent."""

    oidc: Oidc | None = None


def read_page_file(folder: Path) -> PageFile:
    """The file of a federation's directory, if there is one; CONFIG says what is wrong."""
    path = folder / NAME
    if not path.exists():
        return PageFile()
    data = path.read_bytes()
    try:
        if len(data) > FILE_BYTES:
            raise ValueError
        document = msgspec.convert(tomli.loads(data.decode()), _Document)
    except msgspec.ValidationError as fault:
        raise error("CONFIG", f"{NAME!r}: {str(fault).lower()}") from None
    except (ValueError, RecursionError):
        raise error("CONFIG", f"{NAME!r} is not valid TOML") from None
    return PageFile(oidc=None if document.oidc is None else _oidc(document.oidc, folder))


def _oidc(section: OidcFile, folder: Path) -> Oidc:
    address = urlsplit(section.issuer)
    local = address.hostname in ("localhost", "127.0.0.1", "::1")
    if address.scheme != "https" and not (local and address.scheme == "http"):
        raise error("CONFIG", f"{NAME!r}: oidc.issuer must begin with https://")
    secret = folder / section.client_secret_file
    if not secret.is_file():
        raise error("CONFIG", f"{NAME!r}: no file {section.client_secret_file!r}")
    if secret.stat().st_mode & 0o077:
        raise error(
            "CONFIG",
            f"{section.client_secret_file!r} may be read by others",
            hint=f"chmod 600 {secret}",
        )
    return Oidc(
        issuer=section.issuer.rstrip("/"),
        client_id=section.client_id,
        client_secret=secret.read_text(encoding="utf-8").strip(),
    )
