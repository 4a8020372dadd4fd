"""``service.toml``: what the operator of a policy service writes. Read once, strictly.

    [service]
    federation = "federation.toml"   # membership written by `podsql join`; paths relative to this
    store = "policy.sqlite"          # people, grants, decisions: back this up

Rule to keep: both the service and the commands that write its store read this file with this reader.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli

from podsql.errors import error

CONFIG_BYTES = 64 * 1024
"""A larger file is refused before it is parsed."""


class ServiceSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[service]``."""

    federation: str = "federation.toml"
    store: str = "policy.sqlite"


class ServiceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    service: ServiceSection = ServiceSection()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """Where a policy service's membership and store lie."""

    federation: Path
    store: Path


def load_service_config(path: Path) -> ServiceConfig:
    """Read ``service.toml``; CONFIG errors."""
    hint = "podsql policy init writes one; --config names it"
    try:
        data = path.read_bytes()
    except OSError:
        raise error("CONFIG", f"cannot read {path.name!r}", hint=hint) from None
    if len(data) > CONFIG_BYTES:
        raise error("CONFIG", f"{path.name!r} is larger than {CONFIG_BYTES} bytes")
    try:
        file = msgspec.convert(tomli.loads(data.decode()), ServiceFile)
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise error("CONFIG", f"{path.name!r} is not valid TOML", hint=hint) from None
    except msgspec.ValidationError as fault:
        raise error("CONFIG", f"{path.name!r}: {str(fault).lower()}", hint=hint) from None
    home = path.resolve().parent
    return ServiceConfig(
        federation=home / file.service.federation, store=home / file.service.store
    )
