"""Rows spread over pods in every way that has broken a federated engine, and the pooled oracle."""

import datetime as dt
import math
import random
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from podsql.engine.merge import Merger
from podsql.planner.catalog import Catalog, build_catalog
from podsql.planner.offer import ColumnOffer, Offer, TableOffer
from podsql.planner.planning import plan
from podsql.planner.render import render
from podsql.planner.settings import PINNED_SETTINGS

VISITS = {
    "id": "INTEGER",
    "sex": "VARCHAR",
    "age": "INTEGER",
    "w": "DOUBLE",
    "price": "DECIMAL(10,2)",
    "d": "DATE",
    "ts": "TIMESTAMP",
    "ok": "BOOLEAN",
    "code": "VARCHAR",
    "big": "BIGINT",
    "small": "SMALLINT",
    "f": "DOUBLE",
    "note": "VARCHAR",
}
LABS = {"id": "INTEGER", "value": "DOUBLE", "kind": "VARCHAR"}
CODES = {"code": "VARCHAR", "label": "VARCHAR", "weight": "INTEGER"}
CODE_ROWS = [("a", "alpha", 1), ("aa", "alpha", 2), ("b", "beta", 3), ("zz", None, 4)]
SHAPES = {"visits": VISITS, "labs": LABS, "codes": CODES}
EVERY_CLASS = ("additive", "moments", "extreme", "distinct", "rows")
SPLITS = (
    "one pod",
    "random",
    "skewed",
    "an empty pod",
    "an all-null pod",
    "one row a pod",
    "schema drift",
)


@dataclass(kw_only=True)
class Federation:
    """Pods' databases, the catalog, and one database with every row."""

    pods: dict[str, duckdb.DuckDBPyConnection]
    catalog: Catalog
    pooled: duckdb.DuckDBPyConnection
    pooled_with_pod: duckdb.DuckDBPyConnection
    merger: Merger = field(default_factory=Merger)

    def answer(self, sql, parameters=()):
        made = plan(sql, self.catalog, parameters)
        gathered = {}
        for stage in made.stages:
            fragment = self.merger.fill(stage, made, gathered)
            gathered[stage.name] = {
                pod: self.pods[pod].sql(render(fragment, pod=pod)).to_arrow_table()
                for pod in stage.pods
            }
        return made, self.merger.run(made, gathered)

    def expected(self, sql):
        oracle = self.pooled_with_pod if "_pod" in sql else self.pooled
        return oracle.sql(sql).to_arrow_table()

    def described(self, sql):
        oracle = self.pooled_with_pod if "_pod" in sql else self.pooled
        return [(r[0], r[1]) for r in oracle.sql(f"DESCRIBE {sql}").fetchall()]

    def close(self):
        for con in (*self.pods.values(), self.pooled, self.pooled_with_pod):
            con.close()
        self.merger.close()


def connect():
    con = duckdb.connect()
    con.execute("SET threads = 1")
    for setting in PINNED_SETTINGS:
        con.execute(setting)
    return con


def make_rows(seed, size):
    rng = random.Random(seed)

    def maybe(value, share=0.2):
        return None if rng.random() < share else value

    visits = []
    for i in range(size):
        visits.append(
            (
                i,
                maybe(rng.choice("fm")),
                maybe(rng.randrange(90)),
                maybe(rng.choice([rng.randrange(-40, 40) / 8, rng.random() * 100])),
                maybe(rng.randrange(-9999, 9999) / 100),
                maybe(dt.date(2020, rng.randrange(1, 5), rng.randrange(1, 28))),
                maybe(dt.datetime(2020, rng.randrange(1, 13), 3, rng.randrange(24), 5, 7, 11)),
                maybe(rng.random() < 0.5),
                maybe(rng.choice(["a", "aa", "b", "c"])),
                maybe(rng.randrange(-(2**60), 2**60)),
                rng.randrange(-4, 5),
                maybe(rng.choice([0.0, -0.0, math.nan, 1.5, math.inf])),
                maybe(rng.choice(["x", "y"])),
            )
        )
    labs = [
        (rng.randrange(size + 3), maybe(rng.randrange(80) / 8), rng.choice(["hb", "crp"]))
        for _ in range(size)
    ]
    return visits, labs


def spread(split, visits, seed):
    """pod -> rows of visits; labs follow their id."""
    rng = random.Random(seed)
    names = ["alpha", "beta", "gamma", "delta"]
    if split == "one pod":
        return {"alpha": visits}
    if split == "one row a pod":
        return {f"p{n:02}": [row] for n, row in enumerate(visits[:8])} | {"alpha": []}
    pods = {name: [] for name in names}
    for row in visits:
        if split == "skewed":
            name = "alpha" if rng.random() < 0.9 else rng.choice(names)
        else:
            name = rng.choice(names[:3] if split == "an empty pod" else names)
        pods[name].append(row)
    if split == "an all-null pod":
        pods["delta"] = [(1000 + n, *[None] * 9, 0, None, None) for n in range(3)]
    if split == "schema drift":
        pods["delta"] = [(*row[:-1], None) for row in pods["delta"]]
    return pods


def build(
    split, *, seed=0, size=24, rows=None, extra_empty=False, rename=None, classes=EVERY_CLASS
):
    """``classes``: what every pod lets leave."""
    visits, labs = rows if rows is not None else make_rows(seed, size)
    parts = spread(split, visits, seed)
    if extra_empty:
        parts["omega"] = []
    if rename:
        parts = {rename.get(name, name): part for name, part in parts.items()}
    home = {row[0]: name for name, part in parts.items() for row in part}
    kept = {name: [] for name in parts}
    for lab in labs:
        kept[home.get(lab[0], min(parts))].append(lab)
    pods, offers = {}, {}
    for name in parts:
        shapes = _drifted(name) if split == "schema drift" else SHAPES
        con = connect()
        _fill(con, shapes["visits"], "visits", parts[name])
        _fill(con, shapes["labs"], "labs", kept[name])
        _fill(con, shapes["codes"], "codes", CODE_ROWS)
        pods[name] = con
        offers[name] = _offer(name, shapes, classes)
    catalog = build_catalog(offers)
    plain, tagged = connect(), connect()
    for con, with_pod in ((plain, False), (tagged, True)):
        for table, by_pod in (("visits", parts), ("labs", kept)):
            settled = {c.name: c.type for c in catalog.tables[f"main.{table}"].columns}
            shape = {n: settled[n] for n in SHAPES[table]}
            everything = [
                (*row, pod) if with_pod else row for pod in sorted(by_pod) for row in by_pod[pod]
            ]
            _fill(con, shape | ({"_pod": "VARCHAR"} if with_pod else {}), table, everything)
        _fill(con, CODES, "codes", CODE_ROWS)
    return Federation(pods=pods, catalog=catalog, pooled=plain, pooled_with_pod=tagged)


def _drifted(name):
    """What differs between pods: order, widths, scales, an ENUM, a missing column."""
    if name == "beta":
        return SHAPES | {"visits": VISITS | {"age": "BIGINT", "sex": "ENUM('f', 'm')"}}
    if name == "gamma":
        order = ["note", *[n for n in VISITS if n != "note"]]
        changed = VISITS | {"price": "DECIMAL(12,3)", "big": "HUGEINT", "d": "TIMESTAMP"}
        return SHAPES | {"visits": {n: changed[n] for n in order}}
    if name == "delta":
        return SHAPES | {"visits": {n: t for n, t in VISITS.items() if n != "note"}}
    return SHAPES


def _fill(con, shape, table, rows):
    columns = ", ".join(f'"{n}" {t}' for n, t in shape.items())
    con.execute(f"CREATE TABLE {table} ({columns})")
    full = list({"visits": VISITS, "labs": LABS, "codes": CODES}[table])
    if "_pod" in shape:
        full.append("_pod")
    places = [full.index(n) for n in shape]
    if rows:
        marks = "(" + ", ".join("?" * len(shape)) + ")"
        values = [row[p] for row in rows for p in places]
        con.execute(f"INSERT INTO {table} VALUES {', '.join([marks] * len(rows))}", values)


def _offer(pod, shapes, classes):
    tables = tuple(
        TableOffer(
            f"main.{name}",
            "reference" if name == "codes" else "federated",
            tuple(ColumnOffer(n, t) for n, t in shape.items()),
            local_keys=() if name == "codes" else ("id",),
            release="rows" if "rows" in classes or name == "codes" else "sdc_local",
            disclosures=classes,
            content_hash="same",
        )
        for name, shape in shapes.items()
    )
    return Offer(pod, f"{pod}-{hash(str(shapes))}-{classes}", tables, 0, 1)


def same(a, b):
    """One value beside another: doubles within 1e-9, NaN equals NaN."""
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b))
    return type(a) is type(b) and a == b


def rows_of(table):
    columns = [_plain(column).to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _plain(column):
    """Days and instants as numbers: Python has no infinite ones."""
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.int32())
    return column.cast(pa.int64()) if pa.types.is_timestamp(kind) else column


def first_difference(ours, theirs, *, ordered):
    """None if the answers are the same."""
    if ours.column_names != theirs.column_names:
        return f"names {ours.column_names} != {theirs.column_names}"
    a, b = rows_of(ours), rows_of(theirs)
    if len(a) != len(b):
        return f"{len(a)} rows != {len(b)}: {a[:5]} {b[:5]}"
    if not ordered:
        a, b = sorted(a, key=_sortable), sorted(b, key=_sortable)
    for one, other in zip(a, b, strict=True):
        if not all(same(x, y) for x, y in zip(one, other, strict=True)):
            return f"{one} != {other}"
    return None


def _sortable(row):
    return tuple(
        (
            value is None,
            str(type(value)),
            f"{value + 0.0:.7g}" if isinstance(value, float) else str(value),
        )
        for value in row
    )
