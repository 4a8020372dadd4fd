"""Writes the public suites' statements and data below the folder it is given.

Runs in an environment of its own (see the Makefile): the generators are packages that need another
DuckDB than podsql does. ``tpch/*.sql``, ``tpch/*.parquet``, ``tpcds/*.sql``, ``tpcds/*.parquet``.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb

TPCH_SCALE = "0.1"
TPCDS_SCALE = "0.02"


def load(con, name):
    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    (path,) = Path(package.submodule_search_locations[0]).rglob(f"{name}.duckdb_extension")
    con.execute(f"LOAD '{path}'")


def write_statements(con, name, folder):
    for number, text in con.sql(f"FROM {name}_queries()").fetchall():
        (folder / f"q{number:02}.sql").write_text(text)


def main(home):
    shutil.rmtree(home, ignore_errors=True)
    for name in ("tpch", "tpcds"):
        folder = home / name
        folder.mkdir(parents=True)
        con = duckdb.connect()
        load(con, name)
        write_statements(con, name, folder)
        if name == "tpch":
            tool = Path(sys.executable).with_name("tpchgen-cli")
            subprocess.run(
                [tool, "parquet", "-s", TPCH_SCALE, f"--output-dir={folder}"], check=True
            )
        else:
            con.execute(f"CALL dsdgen(sf = {TPCDS_SCALE})")
            for (table,) in con.sql("SELECT table_name FROM duckdb_tables()").fetchall():
                con.execute(f"COPY {table} TO '{folder / table}.parquet'")
        con.close()


main(Path(sys.argv[1]).resolve())
