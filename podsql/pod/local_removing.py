"""A custodian removes a local table: the running pod does it, or this process where none runs.

Rule to keep: no table goes without a line in the audit log.
"""

import time
from pathlib import Path

from podsql.errors import Error, error
from podsql.pod.config import load_pod_config
from podsql.pod.control import send
from podsql.pod.datasets import Place, local_tables_of
from podsql.pod.local_tables import LocalTables
from podsql.pod.local_writing import removal
from podsql.policy.audit import FILE, Audit


def local_tables_at(config_path: Path) -> LocalTables:
    """The local tables of a pod; CONFIG if it keeps none."""
    config = load_pod_config(config_path)
    found = local_tables_of(config, Place.of(config, config_path))
    if found is None:
        raise error(
            "CONFIG",
            "this pod keeps no local tables",
            hint='[local_tables] with path = "…" in pod.toml lets people write some',
        )
    return found


def remove_table(config_path: Path, table: str) -> None:
    """Remove a local table; ARGUMENT if there is none of that name."""
    store = local_tables_at(config_path)
    card = store.one(table)
    try:
        send(config_path, f"remove {table}")
        return
    except Error as fault:
        if fault.code != "POD_LOST":
            raise
    config = load_pod_config(config_path)
    now = time.time_ns() // 1_000_000
    audit = Audit(Place.of(config, config_path) / FILE, now=now)
    try:
        audit.append(removal(card, "by the custodian", now))
        store.drop(card)
    finally:
        audit.close()
