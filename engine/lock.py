"""DuckDB with every door shut: the settings in the one order that works, and a probe that proves it.

Rule to keep: ``enable_external_access`` goes off *before* the local file system is disabled (the
other way round the first fails), the configuration is locked last, and any exception on the way
ends the process. What a setting reads back as proves nothing; the probe does.
"""

from pathlib import Path
from typing import Final

import duckdb

from podsql.engine.limits import Limits
from podsql.errors import error
from podsql.planner.settings import PINNED_SETTINGS

NO_SURPRISES: Final = (
    "SET autoinstall_known_extensions=false",
    "SET autoload_known_extensions=false",
    "SET allow_community_extensions=false",
    "SET allow_extension_repositories='forbidden'",
    "SET allow_persistent_secrets=false",
    "SET allow_unredacted_secrets=false",
    "SET python_enable_replacements=false",
    "SET python_scan_all_frames=false",
    "SET enable_external_file_cache=false",
    "SET catalog_error_max_schemas=0",
    "SET enable_progress_bar=false",
)
"""Extensions, secrets and what Python variables could leak: also at import."""

OWN: Final = ("SET enable_progress_bar=", "SET operator_memory_limit=")
"""What DuckDB knows of one connection only; ``memory_limit`` holds for all of them together."""

SHUT: Final = (
    "SET enable_external_access=false",
    "SET disabled_filesystems='LocalFileSystem'",
    "SET lock_configuration=true",
)
"""The switches, in this order."""


def resource_settings(limits: Limits) -> tuple[str, ...]:
    """DuckDB's own limits; the operating system's stand behind them."""
    return (
        f"SET threads={limits.threads}",
        f"SET memory_limit='{limits.memory_mb}MB'",
        f"SET operator_memory_limit='{limits.memory_mb}MB'",
        "SET temp_directory=''",
        "SET max_temp_directory_size='0B'",
        f"SET max_execution_time={int(limits.seconds * 1000)}",
        "SET max_expression_depth=250",
    )


def connect_read_only(database: Path) -> duckdb.DuckDBPyConnection:
    """Open a snapshot; unsigned extensions are off from the start."""
    return duckdb.connect(
        str(database), read_only=True, config={"allow_unsigned_extensions": "false"}
    )


def lock(con: duckdb.DuckDBPyConnection, limits: Limits) -> None:
    """Shut every door of this instance for good: for ``con`` and for every cursor made of it."""
    for setting in (*NO_SURPRISES, *PINNED_SETTINGS, *resource_settings(limits)):
        # A cursor starts with the instance's values, not with those of its connection.
        everywhere = setting.replace("SET ", "SET GLOBAL ", 1)
        con.execute(setting if setting.startswith(OWN) else everywhere)
    for setting in SHUT:
        con.execute(setting)


def prove_locked(con: duckdb.DuckDBPyConnection, database: Path) -> None:
    """Try what must not work; POD_FAILED if anything does."""
    own = str(database).replace("'", "''")
    for attempt in (
        f"SELECT count(*) FROM read_blob('{own}')",
        f"SELECT count(*) FROM read_duckdb('{own}', table_name='t')",
        f"ATTACH '{own}' AS again",
        f"COPY (SELECT 1) TO '{own}.copy'",
        "SELECT count(*) FROM glob('/*')",
        "SET threads=1",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
    ):
        try:
            con.execute(attempt).fetchall()
        except duckdb.Error:
            continue
        raise error("POD_FAILED", f"the engine is not locked: {attempt.split()[0].lower()} worked")
