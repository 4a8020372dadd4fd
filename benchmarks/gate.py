"""What the policy check adds to a small query at a pod: a statement seen before, and a new one."""

import os
import time
from collections.abc import Callable

from benchmarks.rows import Row, percentile
from podsql.planner.catalog import build_catalog
from podsql.planner.fragment import Field, Fragment
from podsql.planner.offer import Offer
from podsql.planner.planning import plan
from podsql.policy.document import load_preset
from podsql.policy.gate import Gate
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

SQL = "SELECT month, count(temp) AS hours, avg(temp) AS mean FROM weather WHERE temp > {} GROUP BY month"
COLUMNS = {"origin": "VARCHAR", "month": "INTEGER", "day": "INTEGER", "temp": "DOUBLE"}
RUNS = 300
NOW = 1_770_000_000_000


def run() -> list[Row]:
    """Both under the presets of most and fewest rules, in turn."""
    ana = Person(name="ana", identity=os.urandom(32), fingerprint="ps1" + "a" * 56)
    rows = []
    for preset in ("standard", "strict"):
        table = PodTable(
            name="main.weather",
            columns=tuple(Field(name, kind) for name, kind in COLUMNS.items()),
        )
        gate = Gate(pod="ewr", tables={table.name: table}, policy=load_preset(preset))
        offered = gate.offer_tables(ana, "", "", NOW)
        catalog = build_catalog({"ewr": Offer("ewr", "1", offered, NOW, NOW + 1)})
        fragments = [plan(SQL.format(n), catalog).stages[0].fragment for n in range(RUNS)]

        def check(fragment: Fragment, gate: Gate = gate) -> None:
            gate.check(fragment, person=ana, purpose="", project="", now=NOW)

        fresh = [_time(lambda f=one: check(f)) for one in fragments]
        known = [_time(lambda f=one: check(f)) for one in fragments]
        for name, times in (("seen before", known), ("new text", fresh)):
            rows.append(
                Row(
                    name=f"policy check, preset {preset}, {name}: p50",
                    value=percentile(times, 50),
                    unit="ms",
                    reference=2,
                    against="goal",
                )
            )
    return rows


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
