"""``podsql pod mock``: synthetic tables, true to the schema, to write statements on before a grant.

Rule to keep: rows are made of names, types, keys and the policy's clauses. The data are imported
for their types (a view has no other) and thrown away before the first row is made.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from podsql.engine.mock_rows import MockColumn, write_rows
from podsql.errors import error
from podsql.membership import toml_text
from podsql.planner.local_keys import key_column
from podsql.pod.config import PodConfig, load_pod_config, qualified
from podsql.pod.datasets import Place, freeze, pod_tables, read_policy
from podsql.policy.document import Policy
from podsql.policy.rights import PodTable, table_rights

POD_FILE: Final = "pod.toml"


def write_mock(config_path: Path, directory: Path, *, rows: int, seed: int) -> list[Path]:
    """One Parquet file a table that the policy lists, and a ``pod.toml`` that declares them.

    ``pod.toml`` holds kinds, keys, and the types that Parquet has no form for. Nothing is left in
    ``directory`` unless all of it was made; CONFIG if a file of it exists.
    """
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    policy = read_policy(config, place)
    names = [qualified(name) for name in (*config.tables, *config.views)]
    _require_absent(directory / name for name in (*map(_file, names), POD_FILE))
    tables = _declared(config, place)
    listed = {name: mock_columns(policy, table) for name, table in tables.items()}
    if not any(listed.values()):
        raise error(
            "CONFIG",
            "the policy lists no column of any table",
            hint="list tables and columns under [tables] of the policy",
        )
    directory.mkdir(parents=True, exist_ok=True)
    sections: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix=".mock-", dir=directory) as folder:
        for name, columns in sorted(listed.items()):
            if columns:
                written = write_rows(
                    Path(folder) / _file(name), name, columns, rows=rows, seed=seed
                )
                held = {field.name: field.type for field in written}
                bent = {c.name: c.type for c in columns if held[c.name] != c.type}
                sections |= _sections(tables[name], columns, bent)
        (Path(folder) / POD_FILE).write_text(toml_text(sections), encoding="utf-8")
        made = sorted(path.name for path in Path(folder).iterdir())
        for name in made:
            (Path(folder) / name).rename(directory / name)
    return [directory / name for name in made]


def mock_columns(policy: Policy, table: PodTable) -> tuple[MockColumn, ...]:
    """What the custodian declared about each column that the policy lists; empty: no such table."""
    rights = table_rights(policy, table)
    if rights is None:
        return ()
    keys = {key_column(written).lower() for written in table.local_keys}
    if rights.unit is not None:
        keys.add(rights.unit.lower())
    found = []
    for folded, column in rights.columns.items():
        found.append(
            MockColumn(
                name=column.name,
                type=column.type,
                key=folded in keys or column.is_key,
                bounds=column.bounds,
                bin=column.bin,
                values=column.values,
            )
        )
    return tuple(found)


def _declared(config: PodConfig, place: Place) -> dict[str, PodTable]:
    """Tables as the pod would serve them; the snapshot is gone when this returns."""
    with tempfile.TemporaryDirectory(prefix="podsql-mock-") as folder:
        return pod_tables(config, freeze(config, place, Path(folder)))


def _sections(
    table: PodTable, columns: Iterable[MockColumn], bent: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """The table's part of ``pod.toml``; it names no column that the mock does not have."""
    there = {column.name.lower() for column in columns}
    unit = table.privacy_unit
    at = f'tables."{table.name}"'
    section = {
        "path": _file(table.name),
        "kind": table.kind,
        "privacy_unit": unit if unit is not None and unit.lower() in there else None,
        "local_keys": [key for key in table.local_keys if key_column(key).lower() in there] or None,
    }
    if not bent:
        return {at: section}
    return {at: section, f"{at}.columns": {json.dumps(n): kind for n, kind in bent.items()}}


def _require_absent(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise error(
                "CONFIG",
                f"{str(path)!r} exists",
                hint="remove it first, or give another directory",
            )


def _file(table: str) -> str:
    return f"{table}.parquet"
