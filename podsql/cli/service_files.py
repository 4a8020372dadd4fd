"""The policy service's files as the command line sees them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podsql.errors import error

if TYPE_CHECKING:
    from podsql.policy.service.store import Store

SERVICE_FILE = Path("service.toml")
ServiceFile = Annotated[
    Path, typer.Option("--config", help="service.toml that `podsql policy init` wrote.")
]


def write_service(directory: Path) -> Path:
    """Write ``service.toml`` beside the membership of a service, and an empty store."""
    from podsql.membership import read_membership_file, toml_text
    from podsql.policy.service.store import Store
    from podsql.service_config import load_service_config

    file = read_membership_file(directory / "federation.toml")
    if file.me.role != "service":
        raise error(
            "ROLE",
            f"{file.me.name!r} joined as {file.me.role}, not as service",
            hint="podsql invite NAME --role service",
        )
    path = directory / SERVICE_FILE
    if path.exists():
        raise error("CONFIG", f"{str(path)!r} exists", hint="podsql policy serve")
    sections = {"service": {"federation": "federation.toml", "store": "policy.sqlite"}}
    path.write_text(toml_text(sections), encoding="utf-8")
    Store(load_service_config(path).store).close()
    return path


def open_store(config: Path) -> "Store":
    """The service's store; CONFIG if there is none."""
    from podsql.policy.service.store import Store
    from podsql.service_config import load_service_config

    return Store(load_service_config(config).store)


def analyst_key(config: Path, who: str) -> tuple[str, bytes]:
    """Name and identity key of a member by name, or of any fingerprint."""
    from podsql.membership import read_membership_file
    from podsql.relay.keys import fingerprint_key
    from podsql.relay.manifest import ManifestStore
    from podsql.service_config import load_service_config

    path = load_service_config(config).federation
    file = read_membership_file(path)
    manifest = ManifestStore(path.parent / file.me.manifest, file.federation.fingerprint).current
    members = manifest.members() if manifest else ()
    for card in members:
        if who in (card.name, card.fingerprint):
            return card.name, card.identity
    if who.startswith("ps1"):
        return who[:12], fingerprint_key(who)
    raise error(
        "UNKNOWN_PEER",
        f"the manifest names no {who!r}",
        hint="their fingerprint works too: podsql key show",
    )
