"""Public suites over four pods: how their tables are spread, what may leave, and the oracle."""

import glob
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from splits import connect, first_difference

from podsql.engine.merge import Merger
from podsql.errors import Error
from podsql.planner.catalog import build_catalog
from podsql.planner.offer import ColumnOffer, Offer, TableOffer
from podsql.planner.planning import plan
from podsql.planner.render import render

HOME = Path(__file__).parents[2] / ".suites"
PODS = ("alpha", "beta", "delta", "gamma")
GROUPS_ONLY = ("additive", "moments", "extreme", "distinct")
WITH_ROWS = (*GROUPS_ONLY, "rows")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """``parts``: table -> condition for pod {i}; tables without one are reference tables."""

    suite: str
    parts: dict[str, str]
    keys: dict[str, tuple[str, ...]]
    units: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self):
        return HOME / self.suite

    @property
    def tables(self):
        return {Path(f).stem: f for f in sorted(glob.glob(f"{self.folder}/*.parquet"))}

    def statements(self):
        return {f.stem: f.read_text() for f in sorted(self.folder.glob("q*.sql"))}


def _by(column):
    return f"hash({column}) % 4 = {{i}}"


_ORDERS = HOME / "tpch" / "orders.parquet"
TPCH = {
    # Orders with their lines where the order is kept; customers elsewhere.
    "order": Spread(
        suite="tpch",
        parts={
            "lineitem": _by("l_orderkey"),
            "orders": _by("o_orderkey"),
            "customer": _by("c_custkey"),
        },
        keys={
            "lineitem": ("l_orderkey as order_no",),
            "orders": ("o_orderkey as order_no",),
            "customer": ("c_custkey as customer_no",),
        },
        units={"lineitem": "l_orderkey", "orders": "o_orderkey", "customer": "c_custkey"},
    ),
    # Orders with their customers.
    "customer": Spread(
        suite="tpch",
        parts={
            "lineitem": "l_orderkey IN (SELECT o_orderkey FROM"
            f" '{_ORDERS}' WHERE {_by('o_custkey')})",
            "orders": _by("o_custkey"),
            "customer": _by("c_custkey"),
        },
        keys={
            "lineitem": ("l_orderkey as order_no",),
            "orders": ("o_orderkey as order_no", "o_custkey as customer_no"),
            "customer": ("c_custkey as customer_no",),
        },
        units={"lineitem": "l_orderkey", "orders": "o_custkey", "customer": "c_custkey"},
    ),
}
_SPREAD_BY = {
    "store_sales": ("ss_ticket_number", "ticket"),
    "store_returns": ("sr_ticket_number", "ticket"),
    "catalog_sales": ("cs_order_number", "catalog_order"),
    "catalog_returns": ("cr_order_number", "catalog_order"),
    "web_sales": ("ws_order_number", "web_order"),
    "web_returns": ("wr_order_number", "web_order"),
    "customer": ("c_customer_sk", "customer_no"),
    "customer_address": ("ca_address_sk", "address_no"),
    "inventory": ("inv_item_sk", "stock"),
}
TPCDS = Spread(
    suite="tpcds",
    parts={table: _by(column) for table, (column, _) in _SPREAD_BY.items()},
    keys={table: (f"{column} as {kind}",) for table, (column, kind) in _SPREAD_BY.items()},
    units={table: column for table, (column, _) in _SPREAD_BY.items()},
)


class Suite:
    """Four pods' databases, and one with every row."""

    def __init__(self, spread):
        self.spread = spread
        self.pooled = connect()
        self.pods = {pod: connect() for pod in PODS}
        self.merger = Merger()
        self.columns = {}
        for table, file in spread.tables.items():
            self.pooled.execute(f"CREATE TABLE {table} AS FROM '{file}'")
            described = self.pooled.sql(f"DESCRIBE {table}").fetchall()
            self.columns[table] = tuple(ColumnOffer(r[0], r[1]) for r in described)
            for place, con in enumerate(self.pods.values()):
                where = spread.parts.get(table, "true").format(i=place)
                con.execute(f"CREATE TABLE {table} AS SELECT * FROM '{file}' WHERE {where}")

    def catalog(self, classes):
        offers = {
            pod: Offer(
                pod,
                f"{pod} {classes} {self.spread.keys}",
                tuple(self._offer(table, classes) for table in self.columns),
                0,
                1,
            )
            for pod in PODS
        }
        return build_catalog(offers)

    def _offer(self, table, classes):
        public = table not in self.spread.parts
        return TableOffer(
            f"main.{table}",
            "reference" if public else "federated",
            self.columns[table],
            local_keys=self.spread.keys.get(table, ()),
            privacy_unit=self.spread.units.get(table),
            release="rows" if public or "rows" in classes else "sdc_local",
            disclosures=WITH_ROWS if public else classes,
            content_hash="same",
        )

    def judge(self, sql, catalog):
        """``equal``, ``refused …`` or what is wrong, and the plan if there is one."""
        try:
            made = plan(sql, catalog)
        except Error as refusal:
            return f"refused {refusal.code}", None
        try:
            ours = self.run(made)
        except (Error, duckdb.Error) as fault:
            return f"failed: {fault}", made
        expected = self.pooled.sql(sql).to_arrow_table()
        described = [(r[0], r[1]) for r in self.pooled.sql(f"DESCRIBE {sql}").fetchall()]
        if [(f.name, f.type) for f in made.columns] != described:
            return f"wrong columns: {made.columns} for {described}", made
        wrong = first_difference(ours, expected, ordered=False)
        return ("equal" if wrong is None else f"wrong: {wrong}"), made

    def run(self, made):
        gathered = {}
        for stage in made.stages:
            fragment = self.merger.fill(stage, made, gathered)
            gathered[stage.name] = {
                pod: self.pods[pod].sql(render(fragment, pod=pod)).to_arrow_table()
                for pod in stage.pods
            }
        return self.merger.run(made, gathered)

    def close(self):
        for con in (self.pooled, *self.pods.values()):
            con.close()
        self.merger.close()
