"""The policy service's store as the command line sees it: beside the service's ``federation.toml``.

Rule to keep: only a directory that joined as a service gets a store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from podsql.cli.options import now_ms
from podsql.errors import error

if TYPE_CHECKING:
    from podsql.policy.service.database import Database
    from podsql.policy.service.orders import Orders


def write_store(federation: Path | None) -> Path:
    """Make an empty store beside the membership of a service."""
    from podsql.membership import find_membership, read_membership_file
    from podsql.policy.service.database import Database
    from podsql.policyd import store_path

    file = read_membership_file(find_membership(federation))
    if file.me.role != "service":
        raise error(
            "ROLE",
            f"{file.me.name!r} joined as {file.me.role}, not as service",
            hint="podsql invite NAME --role service",
        )
    path = store_path(federation)
    if path.exists():
        raise error("CONFIG", f"{str(path)!r} exists", hint="podsql policy serve")
    Database(path).close()
    path.chmod(0o600)
    return path


def open_database(federation: Path | None) -> "Database":
    """The service's store; CONFIG if there is none."""
    from podsql.policy.service.database import Database
    from podsql.policyd import store_path

    path = store_path(federation)
    if not path.exists():
        raise error("CONFIG", f"no store at {str(path)!r}", hint="podsql policy init")
    return Database(path)


@contextmanager
def open_orders(federation: Path | None) -> "Iterator[tuple[Database, Orders]]":
    """The store and the acts on it, until the block ends."""
    from podsql.policy.service.orders import Orders

    database = open_database(federation)
    try:
        yield database, Orders(database, now_ms)
    finally:
        database.close()


def analyst_key(federation: Path | None, who: str) -> tuple[str, bytes]:
    """Name and identity key of a member by name, or of any fingerprint."""
    from podsql.membership import find_membership, read_membership_file
    from podsql.relay.keys import fingerprint_key
    from podsql.relay.manifest import ManifestStore

    path = find_membership(federation)
    file = read_membership_file(path)
    home = path.resolve().parent
    manifest = ManifestStore(home / file.me.manifest, file.federation.fingerprint).current
    for card in manifest.members() if manifest else ():
        if who in (card.name, card.fingerprint):
            return card.name, card.identity
    if who.startswith("ps1"):
        return who[:12], fingerprint_key(who)
    raise error(
        "UNKNOWN_PEER",
        f"the manifest names no {who!r}",
        hint="their fingerprint works too: podsql key show",
    )
