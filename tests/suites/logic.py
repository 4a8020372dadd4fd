"""How much of public sqllogictest files is answered over pods: ``make coverage TESTS=/folder``.

Every table that a file makes is spread over four pods before each SELECT, and the answer over the
pods is compared with that of one DuckDB, once where rows may leave and once where only groups may.
Rule to keep: a SELECT that the one DuckDB does not answer, or answers differently when the rows of
its tables stand in another order, is never held for or against us.
"""

import argparse
import json
import re
import sys
import zlib
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
sys.path.insert(0, str(Path(__file__).parent))
from logic_file import Skipped, read
from splits import connect, first_difference
from suite import GROUPS_ONLY, PODS, WITH_ROWS

from podsql.engine.faults import code_of, message_of
from podsql.engine.merge import Merger
from podsql.errors import Error
from podsql.planner.catalog import build_catalog
from podsql.planner.offer import ColumnOffer, Offer, TableOffer
from podsql.planner.planning import plan
from podsql.planner.render import render
from podsql.planner.settings import PINNED_SETTINGS
from podsql.planner.wire_types import known_type

MODES = {"rows": WITH_ROWS, "groups": GROUPS_ONLY}
ORDERS = {"reversed": "rowid DESC", "mixed": "hash(rowid)"}
"""Databases whose tables hold the same rows in another order."""
UNRUN = frozenset(
    ["ATTACH", "COPY", "COPY_DATABASE", "DETACH", "EXPORT", "LOAD", "PRAGMA", "SET", "VARIABLE_SET"]
)
"""Settings stay as they are pinned, and nothing outside the database is touched."""
FAULTS = (duckdb.Error, pa.ArrowException, RecursionError, ArithmeticError, AttributeError)
FAULTS += (LookupError, TypeError, ValueError)
"""What planning and running must not end with: a refusal is an Error of podsql."""


class Rig:
    """One DuckDB with all rows, and beside it, per pod and per order of rows, a database."""

    def __init__(self, name, merger):
        self.name = name
        self.merger = merger
        self.pooled = connect()
        self.home = self.pooled.sql("SELECT current_database()").fetchall()[0][0]
        self.others = {place: self._beside(place) for place in (*PODS, *ORDERS)}
        self.stale = True
        self.columns = {}
        self.not_tables = frozenset()

    def _beside(self, place):
        self.pooled.execute(f"ATTACH ':memory:' AS {place}")
        cursor = self.pooled.cursor()
        for setting in (*PINNED_SETTINGS, f"USE {place}"):
            cursor.execute(setting)
        return cursor

    def change(self, sql):
        """Run what is not a SELECT."""
        self.stale = True
        self.pooled.execute(sql)

    def tables(self):
        """Full name -> columns of every plain table; all copies brought up to date."""
        if self.stale:
            self.columns = {}
            found = self.pooled.execute(
                "SELECT schema_name, table_name FROM duckdb_tables()"
                " WHERE database_name = ? AND NOT temporary AND NOT internal",
                [self.home],
            ).fetchall()
            for schema, table in found:
                self._spread(schema, table)
            made = self.pooled.execute(
                "SELECT lower(function_name) FROM duckdb_functions()"
                " WHERE NOT internal AND function_type LIKE '%macro'"
                " UNION SELECT lower(view_name) FROM duckdb_views() WHERE NOT internal"
                " UNION SELECT lower(table_name) FROM duckdb_tables() WHERE temporary"
            ).fetchall()
            self.not_tables = frozenset(name for (name,) in made)
            self.stale = False
        return self.columns

    def _spread(self, schema, table):
        full = f'"{schema}"."{table}"'
        source = f'"{self.home}".{full}'
        described = self.pooled.sql(f"DESCRIBE {source}").fetchall()
        self.columns[f"{schema}.{table}"] = tuple(ColumnOffer(r[0], r[1]) for r in described)
        number = zlib.crc32(f"{self.name}:{table}".encode())
        holding = 1 + number % len(PODS)
        first = number // len(PODS) % len(PODS)
        numbered = f"FROM {source} QUALIFY (row_number() OVER (ORDER BY rowid) - 1) % {holding}"
        wanted = {place: f"FROM {source} ORDER BY {order}" for place, order in ORDERS.items()}
        for place, pod in enumerate(PODS):
            share = (place - first) % len(PODS)
            wanted[pod] = f"{numbered} = {share}"
        for place, query in wanted.items():
            self.pooled.execute(f'CREATE SCHEMA IF NOT EXISTS {place}."{schema}"')
            self.pooled.execute(f"CREATE OR REPLACE TABLE {place}.{full} AS {query}")

    def read_by(self, sql):
        """The tables that ``sql`` reads; None if it reads something else."""
        known = self.tables()
        found = {}
        for name in self.pooled.get_table_names(sql, qualified=True):
            name = name.partition(" AS ")[0]
            parts = [part.strip('"') for part in name.split(".")]
            wanted = ".".join(parts if len(parts) > 1 else ["main", *parts]).lower()
            full = next((t for t in known if t.lower() == wanted), None)
            if full is None:
                return None
            found[full] = known[full]
        return None if self.not_tables.intersection(re.findall(r"\w+", sql.lower())) else found

    def catalog(self, read, classes):
        release = "rows" if "rows" in classes else "sdc_local"
        tables = tuple(
            TableOffer(name, "federated", columns, release=release, disclosures=classes)
            for name, columns in read.items()
        )
        version = f"{self.name} {tables}"
        return build_catalog({pod: Offer(pod, version, tables, 0, 1) for pod in PODS})

    def over_pods(self, made):
        gathered = {}
        for stage in made.stages:
            fragment = self.merger.fill(stage, made, gathered)
            gathered[stage.name] = {
                pod: self.others[pod].sql(render(fragment, pod=pod)).to_arrow_table()
                for pod in stage.pods
            }
        return self.merger.run(made, gathered)

    def judge(self, sql, read, classes, expected):
        """``exact``, ``undefined``, ``refused: code: reason`` or ``wrong: what``."""
        try:
            made = plan(sql, self.catalog(read, classes))
            ours = self.over_pods(made)
        except Error as refusal:
            nested = any(known_type(c.type) is None for columns in read.values() for c in columns)
            reason = "a table holds nested values" if nested else _reason(refusal)
            return f"refused: {refusal.code}: {reason}"
        except FAULTS as fault:
            if code_of(fault) in ("DATA", "OVERFLOW"):
                return f"refused: {code_of(fault)}: a pod: {message_of(code_of(fault))}"
            wrong = f"{type(fault).__name__}: {fault}"
            return "undefined" if self._depends_on_order(sql, expected) else f"wrong: {wrong}"
        described = [(r[0], r[1]) for r in self.pooled.sql(f"DESCRIBE {sql}").fetchall()]
        if [(f.name, f.type) for f in made.columns] != described:
            return f"wrong: columns {made.columns} for {described}"
        wrong = first_difference(ours, expected, ordered=False)
        if wrong is None and "order by" in sql.lower():
            sequence = first_difference(ours, expected, ordered=True)
            if sequence and not self._depends_on_order(sql, expected, ordered=True):
                wrong = sequence
        if wrong is None:
            return "exact"
        return "undefined" if self._depends_on_order(sql, expected) else f"wrong: {wrong}"

    def _depends_on_order(self, sql, expected, *, ordered=False):
        """Whether the rows' order changes the one DuckDB's answer."""
        for place in ORDERS:
            try:
                other = answer(self.others[place], sql)
            except duckdb.Error:
                return True
            if first_difference(other, expected, ordered=ordered):
                return True
        return False

    def close(self):
        for con in (*self.others.values(), self.pooled):
            con.close()


class Coverage:
    """What became of the SELECTs of all files."""

    def __init__(self):
        self.merger = Merger()
        self.files = 0
        self.skipped = Counter()
        self.selects = Counter()
        self.ended = {mode: Counter() for mode in MODES}
        self.wrong = []
        self.refused = []

    def add(self, path, name):
        try:
            records = read(path)
        except (Skipped, UnicodeDecodeError) as reason:
            self.skipped[str(reason)] += 1
            return
        self.files += 1
        rig = Rig(name, self.merger)
        try:
            for record in records:
                if record.expects != "error":
                    self._run(rig, record)
        finally:
            rig.close()

    def _run(self, rig, record):
        try:
            parsed = duckdb.extract_statements(record.sql)
        except duckdb.Error:
            return
        for statement in parsed:
            kind = statement.type.name
            try:
                if kind == "SELECT":
                    self._select(rig, record, statement.query)
                elif kind not in UNRUN:
                    rig.change(statement.query)
            except duckdb.Error:
                self.selects["not answered by DuckDB"] += kind == "SELECT"

    def _select(self, rig, record, sql):
        sql = sql.strip().rstrip(";")
        expected = answer(rig.pooled, sql)
        found = rig.read_by(sql)
        if not found:
            self.selects["not a table" if found is None else "no table"] += 1
            return
        self.selects["over tables"] += 1
        for mode, classes in MODES.items():
            verdict = rig.judge(sql, found, classes, expected)
            self.ended[mode][verdict.partition(": ")[0]] += 1
            where = f"{rig.name}:{record.line}"
            one = {"where": where, "mode": mode, "sql": sql, "what": verdict.partition(": ")[2]}
            if verdict.startswith("refused"):
                self.ended[mode][verdict] += 1
                self.refused.append(one)
            if verdict.startswith("wrong"):
                self.wrong.append(one)

    def as_dict(self):
        return {
            "duckdb": duckdb.__version__,
            "files": self.files,
            "skipped": dict(self.skipped.most_common()),
            "selects": dict(self.selects),
            "modes": {mode: dict(ended.most_common()) for mode, ended in self.ended.items()},
            "wrong": self.wrong,
            "refused": self.refused,
        }

    def as_table(self):
        yield f"DuckDB {duckdb.__version__}, {self.files} files"
        yield from (f"  {n:5} skipped: {reason}" for reason, n in self.skipped.most_common())
        yield from (f"  {n:5} SELECTs: {kind}" for kind, n in self.selects.most_common())
        for mode, ended in self.ended.items():
            yield f"{mode} may leave"
            yield from (f"  {n:5} {verdict}" for verdict, n in ended.most_common())
        for one in self.wrong:
            yield f"WRONG {one['where']} ({one['mode']}): {one['sql']}\n      {one['what']}"


def answer(con, sql):
    """The answer of one database; BIT as its text, as Arrow has no such type."""
    described = con.sql(f"DESCRIBE {sql}").fetchall()
    if all(row[1] != "BIT" for row in described):
        return con.sql(sql).to_arrow_table()
    kinds = ["VARCHAR" if row[1] == "BIT" else row[1] for row in described]
    casts = ", ".join(f"CAST(c{n} AS {kind})" for n, kind in enumerate(kinds))
    names = ", ".join(f"c{n}" for n in range(len(kinds)))
    found = con.sql(f"SELECT {casts} FROM ({sql}) AS answer({names})").to_arrow_table()
    return found.rename_columns([row[0] for row in described])


def _reason(refusal):
    """The message without names, but for functions'."""
    message = refusal.message
    return message if message.startswith("function") else re.sub(r"'[^']*'", "…", message)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    chosen = parser.parse_args(arguments)
    coverage = Coverage()
    paths = [p for p in sorted(chosen.folder.rglob("*")) if p.suffix in (".test", ".slt")]
    for path in paths:
        coverage.add(path, str(path.relative_to(chosen.folder)))
    if chosen.format == "json":
        print(json.dumps(coverage.as_dict(), indent=1))
    else:
        print("\n".join(coverage.as_table()))
    return 1 if coverage.wrong or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
