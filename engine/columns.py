"""The columns of an import: declared types, markers that mean NULL, and the hash of the content.

Rule to keep: a value that does not fit its declared type stops the import; it is never bent.
"""

import difflib
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import duckdb

from podsql.connectors.source import quoted, text_literal
from podsql.engine.import_request import TableSource
from podsql.errors import Error, error


def relation_name(name: str) -> str:
    """``schema.table`` as SQL."""
    return ".".join(quoted(part) for part in name.split("."))


def check_declared(table: TableSource, found: Sequence[str]) -> None:
    """Every declared column is there."""
    known = {name.lower() for name in found}
    for name in (*table.columns, *table.null_values):
        if name.lower() not in known:
            close = difflib.get_close_matches(name, found, n=1)
            hint = f"did you mean {close[0]!r}?" if close else ""
            raise error("SOURCE", f"table {table.name!r} has no column {name!r}", hint=hint)


def projection(table: TableSource, found: Sequence[tuple[str, str]]) -> str:
    """The select list that turns the source's columns into the declared ones."""
    types = {name.lower(): kind for name, kind in table.columns.items()}
    nulls = {name.lower(): marker for name, marker in table.null_values.items()}
    out = []
    for name, _ in found:
        value = quoted(name)
        if name.lower() in nulls:
            value = _without(value, nulls[name.lower()])
        if name.lower() in types:
            value = f"CAST({value} AS {types[name.lower()]})"
        out.append(f"{value} AS {quoted(name)}")
    return ", ".join(out)


def _without(value: str, marker: str) -> str:
    """``value`` with NULL where it is ``marker``, as text or, if that is a number, as a number."""
    same = f"CAST({value} AS VARCHAR) = {text_literal(marker)}"
    try:
        float(marker)
    except ValueError:
        return f"CASE WHEN {same} THEN NULL ELSE {value} END"
    number = (
        f"TRY_CAST(CAST({value} AS VARCHAR) AS DOUBLE) = CAST({text_literal(marker)} AS DOUBLE)"
    )
    return f"CASE WHEN {same} OR {number} THEN NULL ELSE {value} END"


def cast_failures(
    con: duckdb.DuckDBPyConnection, table: str, origin: str, declared: Mapping[str, str]
) -> Error:
    """The SOURCE error that says how many values of which column do not fit."""
    for name, kind in declared.items():
        column = quoted(name)
        row = con.execute(
            f"SELECT count({column}) - count(TRY_CAST({column} AS {kind})) FROM {origin}"
        ).fetchone()
        if row and row[0]:
            return error(
                "SOURCE",
                f"table {table!r}: {row[0]} values of column {name!r} are not {kind}",
                hint="declare another type, or the marker that means NULL in null_values",
            )
    return error("SOURCE", f"table {table!r}: a value does not fit its column")


def content_hash(
    con: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]
) -> tuple[int, str]:
    """Rows, and a hash of names and rows that neither row nor column order changes.

    Each row becomes one text (every value with its length in front, so no two rows share one);
    the sum of the rows' 128-bit hashes does not depend on their order and, unlike a XOR, sees duplicates.
    """
    ordered = sorted(columns, key=str.lower)
    parts = []
    for name in ordered:
        text = f"CAST({quoted(name)} AS VARCHAR)"
        parts.append(f"coalesce(strlen({text}) || ':' || {text}, '-')")
    row = con.execute(
        f"SELECT count(*), sum(md5_number_upper(line)), sum(md5_number_lower(line))"
        f" FROM (SELECT {' || '.join(parts)} AS line FROM {relation})"
    ).fetchone()
    assert row is not None
    digest = blake2b(digest_size=16)
    digest.update("\0".join(name.lower() for name in ordered).encode())
    digest.update(f"\0{row[0]}\0{row[1]}\0{row[2]}".encode())
    return int(row[0]), digest.hexdigest()
