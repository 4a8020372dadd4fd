"""Attack: read the relay's whole memory. Nothing of data, statements, columns or tables is in it."""

import subprocess
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import memory

from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.errors import Error

VALUE, LITERAL = "canary-value-8c1f", "canary-literal-5d2a"
SCHEMA, TABLE, COLUMN, ALIAS = (
    "canary_schema_41",
    "canary_table_77",
    "canary_column_90",
    "canary_alias_13",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("blind")
    pods = {}
    for name in ("north", "south"):
        path = home / f"{name}.parquet"
        pq.write_table(pa.table({COLUMN: [VALUE, VALUE, "b"] * 20, "x": list(range(60))}), path)
        pods[name] = {f"{SCHEMA}.{TABLE}": {"path": str(path)}}
    made = Stage(home=home, pods=pods, preset="open")
    try:
        made.build()
        yield made
    finally:
        made.close()


def relay_pid(stage: Stage) -> int:
    found = subprocess.run(
        ["pgrep", "-f", f"podsql.relayd {stage.home}"], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])


def test_no_canary_is_in_any_byte_the_relay_holds(stage):
    with connect(stage.analyst, purpose="canary-purpose-22", project="canary-project-23") as con:
        grouped = f"SELECT {COLUMN} AS {ALIAS}, count(*) FROM {SCHEMA}.{TABLE} WHERE {COLUMN} <> '{LITERAL}' GROUP BY 1"
        assert sorted(con.execute(grouped).fetchall()) == [("b", 40), (VALUE, 80)]
        assert len(con.execute(f"SELECT * FROM {SCHEMA}.{TABLE}").fetchall()) == 120
        with pytest.raises(Error):
            con.execute(f"SELECT {COLUMN}_absent FROM {SCHEMA}.{TABLE}")
        held = memory(relay_pid(stage))
    # The manifest names its peers: were this not found, the search below would prove nothing.
    assert b"north" in held
    for canary in (
        VALUE,
        LITERAL,
        SCHEMA,
        TABLE,
        COLUMN,
        ALIAS,
        "canary-purpose-22",
        "canary-project-23",
    ):
        assert canary.encode() not in held
        assert canary.encode("utf-16-le") not in held
