"""Random fragments and statements: the gate neither crashes nor lets a hidden column be read.

What is accepted runs over three copies of a pod: as it is, with other hidden data, and without the
hidden columns at all. The three answers must be equal. Left out is only what never leaves the pod:
the members behind each figure, which the overlap guard knows by a mark of their whole rows.
"""

import os
import random
import re
import sys
import time
from collections import Counter
from math import isclose, isfinite
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_grammar import AGGREGATES, CODING, HIDDEN, OPEN_AGGREGATES, SCALARS, TYPES, Grammar
from fuzz_models import Models

from podsql.engine.faults import INTERRUPTED, code_of
from podsql.engine.limits import Limits
from podsql.engine.lock import lock
from podsql.errors import Error
from podsql.planner.catalog import Catalog, build_catalog
from podsql.planner.fragment import (
    Binned,
    Field,
    Fragment,
    Noised,
    Rows,
    decode_fragment,
    encode_fragment,
)
from podsql.planner.offer import Offer
from podsql.planner.planning import plan
from podsql.policy.denial import Denial
from podsql.policy.document import load_preset, parse_policy
from podsql.policy.functions import (
    AGGREGATE_CLASSES,
    AGGREGATE_NAMES,
    CODING_CLASSES,
    CODING_NAMES,
    PATTERN_CLASSES,
    SCALAR_CLASSES,
    SCALAR_NAMES,
)
from podsql.policy.gate import Gate
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

SECONDS = float(os.environ.get("PODSQL_FUZZ_SECONDS", "20"))
ENOUGH = 200
SEED = os.environ.get("PODSQL_FUZZ_SEED") or str(random.SystemRandom().getrandbits(48))
ONLY = os.environ.get("PODSQL_FUZZ_TRY")
"""The number of one try to repeat."""
NOW = 1_770_000_000_000
ANA = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
MOST_ROWS = 50_000
MODELS = 0.2
"""The share of rounds of models among fragments."""

MARK = re.compile(r'hash\((?:"(?:[^"]|"")+"\.(?:"(?:[^"]|"")+"|_rows)(?:, )?)+\)', re.IGNORECASE)
"""The gate's own mark of a row; an analyst cannot call ``hash``."""

P10 = (
    (Path(__file__).parent / "cases" / "p10.toml")
    .read_text()
    .replace("version = 1\n", 'version = 1\nallow = ["select", "train"]\n')
)
BINNED = (
    P10.replace("min_units = 10", 'min_units = 10\nquantile = "binned"')
    .replace('"regr"]', '"regr", "quantile"]')
    .replace('"measure"] }', '"measure"], bounds = [0, 100], bin = 10 }')
    .replace("bounds = [0, 500000]", "bounds = [0, 1000], bin = 50")
    .replace("bounds = [0, 100000]", "bounds = [0, 100], bin = 5")
)
SITE = '[tables."main.site"]\npublic = true\n[tables."main.site".columns."*"]\n'
PERSON = "id = {}\nage = {}\nregion = {}\nsalary = {}\ndiag = {}\nhosp_id = {}\n"
LISTED_COLUMNS = {
    "person": ("id", "age", "region", "salary", "diag", "hosp_id"),
    "visit": ("id", "vdate", "code", "cost"),
    "site": ("hosp_id", "city"),
}
VISIT = "id = {}\nvdate = {}\ncode = {}\ncost = {}\n"
PLAIN = 'version = 1\nname = "plain"\npeople = "*"\nallow = ["select", "train"]\n'
JOINS = '[joins]\ntypes = ["inner", "left", "right", "full", "semi", "anti", "cross"]\n'
POLICIES = {
    "p10": P10,
    "binned": BINNED,
    # Every use of every listed column, behind the guard.
    "free": f'{PLAIN}[tables."main.person".columns]\n{PERSON}[tables."main.visit".columns]\n{VISIT}{SITE}',
    # Listed columns may leave row by row.
    "rows": f'{PLAIN}release = "rows"\n{JOINS}[output]\nextremes = "allow"\n'
    f'[tables."main.person"]\nrows = ["*"]\n[tables."main.person".columns]\n{PERSON}'
    f'[tables."main.visit"]\nrows = ["*"]\n[tables."main.visit".columns]\n{VISIT}{SITE}',
    "dp": BINNED.replace('release = "sdc_local"', 'release = "dp"')
    + "[dp]\nepsilon_per_query = 1.0\nepsilon_budget = 10.0\ndelta = 1e-5\n"
    "max_groups_contributed = 2\nmax_rows_contributed = 3\n",
}
HEAD = '[tables."main.person".columns]\n'
FREE = POLICIES["free"]
BROKEN = {
    "a text is a dimension": (
        "name",
        P10.replace(HEAD, f'{HEAD}name = {{ roles = ["dimension", "filter"] }}\n').replace(
            '"code"]', '"code", "name"]'
        ),
    ),
    "a date is a filter": (
        "dob",
        P10.replace(HEAD, f'{HEAD}dob = {{ roles = ["filter"] }}\n').replace(
            '"code"]', '"code", "dob"]'
        ),
    ),
    "a text is listed": ("name", FREE.replace(HEAD, f"{HEAD}name = {{}}\n")),
    "a date is a measure": ("dob", FREE.replace(HEAD, f'{HEAD}dob = {{ roles = ["measure"] }}\n')),
}
"""Hidden columns, and policies that list them: what a gate with a hole would let through."""


def pod_tables():
    return {
        f"main.{name}": PodTable(
            name=f"main.{name}",
            kind="reference" if name == "site" else "federated",
            columns=tuple(Field(column, kind) for column, kind in columns.items()),
            privacy_unit=None if name == "site" else "id",
        )
        for name, columns in TYPES.items()
    }


def gate_of(document):
    policy = load_preset("open") if document is None else parse_policy(document.encode())
    return Gate(pod="north", tables=pod_tables(), policy=policy, salt="5a")


def pod_copy(hidden):
    """A pod's database; ``hidden``: ``as it is``, ``changed`` or ``absent``."""
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT i::INTEGER AS id, 'name' || (i % 90) AS name,"
        " (20 + i % 40)::INTEGER AS age, ['n', 's', 'e', NULL][1 + i % 4] AS region,"
        " CASE WHEN i % 7 > 0 THEN (i * 37 % 900)::INTEGER END AS salary,"
        " DATE '1980-01-01' + (i * 20 % 900)::INTEGER AS dob, ['flu', 'hiv'][1 + i % 3 // 2] AS diag,"
        " (i % 3)::INTEGER AS hosp_id, {'city': 'city' || (i % 2), 'region': 'n', 'code': 'c1',"
        " 'age': (i % 50)::INTEGER, 'n': 7::INTEGER} AS info FROM range(400) r(i)"
    )
    con.execute(
        "CREATE TABLE visit AS SELECT (i * 7 % 420)::INTEGER AS id,"
        " DATE '2026-01-01' + (i % 9 * 20)::INTEGER AS vdate, (i % 50 + 10)::INTEGER AS cost,"
        " 'c' || (i % 3) AS code, 'r' || (i % 4) AS region FROM range(800) r(i)"
    )
    con.execute(
        "CREATE TABLE site AS SELECT i::INTEGER AS hosp_id, 'city' || i AS city FROM range(3) r(i)"
    )
    con.execute("CREATE TABLE secret AS SELECT id, name, name || '!' AS note FROM person")
    if hidden == "changed":
        # Other values, other numbers of them, missing ones, and other row numbers in the same order.
        con.execute(
            "CREATE OR REPLACE TABLE person AS SELECT * REPLACE ("
            " CASE WHEN id % 5 > 0 THEN reverse(name) || 'ÄB' || (id * 13 % 17) END AS name,"
            " CASE WHEN id % 3 > 0 THEN DATE '1951-05-05' + id * 31 END AS dob,"
            " CASE WHEN id % 6 > 0 THEN {'city': name, 'region': 's', 'code': diag, 'age': id, 'n': age} END"
            " AS info) FROM (SELECT * FROM person WHERE id < 9 UNION ALL FROM person)"
        )
        con.execute("UPDATE visit SET region = CASE WHEN id % 4 > 0 THEN 'n' || cost END")
        con.execute("DELETE FROM person WHERE rowid < 9")
        con.execute(
            "CREATE OR REPLACE TABLE secret AS SELECT id + 1 AS id, 'x' AS name, 'y' AS note FROM visit"
        )
    if hidden == "absent":
        con.execute("DROP TABLE secret")
        for table, columns in HIDDEN.items():
            for column in columns:
                con.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    lock(con, Limits(threads=1, memory_mb=512, seconds=5.0))
    return con


def listed_values():
    """Texts of what the listed columns hold: an analyst may read them where rows may leave."""
    found = set()
    with pod_copy("as it is") as con:
        for table, columns in LISTED_COLUMNS.items():
            for column in columns:
                sql = f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM {table}"
                found |= {value for (value,) in con.sql(sql).fetchall()}
    return found


class Skipped(Exception):
    """Too long or too much to compare."""


class Copies:
    """Three copies of a pod, and the comparison of what one statement answers over them."""

    def __init__(self):
        self._copies = {name: pod_copy(name) for name in ("as it is", "changed", "absent")}
        self._listed = listed_values()

    def close(self):
        for con in self._copies.values():
            con.close()

    def compare(self, sql, members=0):
        """What ends differently than over the pod as it is, and how it ended there.

        The last ``members`` columns stay in the pod.
        """
        base = leaving(self._ending("as it is", sql), members)
        changed = leaving(self._ending("changed", sql), members)
        absent = leaving(self._ending("absent", MARK.sub("hash(0)", sql)), members)
        found = {"changed": changed, "absent": absent}
        return [name for name, ending in found.items() if not alike(base, ending)], base

    def _ending(self, name, sql):
        """A table, or the class of the engine's error."""
        try:
            reader = self._copies[name].sql(sql).to_arrow_reader(MOST_ROWS)
            batches, rows = [], 0
            for batch in reader:
                batches.append(batch)
                rows += batch.num_rows
                if rows > MOST_ROWS:
                    raise Skipped
            return pa.Table.from_batches(batches, reader.schema)
        except (duckdb.Error, OSError) as fault:
            if code_of(fault) in (INTERRUPTED, "OUT_OF_MEMORY"):
                raise Skipped from None
            # The text may list columns near to a wrong name, so it differs where some are absent.
            return kind_of(fault), self._told(fault) if name != "absent" else None

    def _told(self, fault):
        """Which of the rows with a listed value fails first is the engine's choice: its row order."""
        return re.sub(
            '"([^"]*)"', lambda found: '"…"' if found[1] in self._listed else found[0], str(fault)
        )


def kind_of(fault):
    """An error in the middle of a stream is Arrow's, with the engine's kind in front of its text."""
    if isinstance(fault, duckdb.Error):
        return type(fault).__name__
    return str(fault).split(" Error:")[0].title().replace(" ", "") + "Exception"


def leaving(ending, members):
    if isinstance(ending, tuple) or not members:
        return ending
    return ending.select(range(ending.num_columns - members))


def alike(one, other):
    if isinstance(one, tuple) or isinstance(other, tuple):
        if not (isinstance(one, tuple) and isinstance(other, tuple)):
            return False
        return one[0] == other[0] and (None in (one[1], other[1]) or one[1] == other[1])
    if one.equals(other):
        return True
    if one.schema != other.schema or one.num_rows != other.num_rows:
        return False
    pairs = list(zip(normal(one), normal(other), strict=True))
    if "dropped" in one.column_names:
        # Sums of a round over the same rows in other chunks: rounded as its largest one.
        return all(sums_alike(*pair) for pair in pairs)
    return all(close(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


def sums_alike(one, other):
    known = [abs(value) for value in (*one, *other) if isinstance(value, float) and isfinite(value)]
    grain = 1e-9 * max(known, default=0.0)
    return all(
        close(a, b) or (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= grain)
        for a, b in zip(one, other, strict=True)
    )


def normal(table):
    """Rows as a multiset."""
    columns = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
            column = column.cast(pa.string())
        columns.append(
            [
                sorted(map(repr, value)) if isinstance(value, list) else value
                for value in column.to_pylist()
            ]
        )
    return sorted(zip(*columns, strict=True), key=lambda row: [rough(value) for value in row])


def rough(value):
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def close(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other) or isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other


class Fuzz:
    """Tries by number, each from a seed of its own, and what came of them."""

    def __init__(self, gates, copies, about="", **grammar):
        """``about``: only what writes this column is judged."""
        self.gates = gates
        self._about = re.compile(rf"\b{about}\b(?!=)")  # a fragment's own fields are name=...
        self._grammar = grammar
        self.copies = copies
        self.tally = Counter()
        self.kinds = Counter()
        self.denied = Counter()
        self.engine = Counter()
        # "all" offers the planner what no gate here grants.
        offering = {name: gate_of(text) for name, text in POLICIES.items()} | {"all": gate_of(None)}
        self._catalogs = {name: catalog_of(gate) for name, gate in offering.items()}

    def attempt(self, number):
        """What is wrong with an accepted statement of this try, and how to repeat it.

        Wrong: the copies over which it ends differently, an ending that no statement may have.
        """
        chance = random.Random(f"{SEED}/{number}")
        self.tally["tries"] += 1
        written = {}
        found = set()
        try:
            for fragment in self._fragments(chance, written):
                written["fragment"] = fragment
                if not self._about.search(repr(fragment)):
                    continue
                gate = self._gate(chance, fragment)
                self.tally["fragments"] += 1
                try:
                    verdict = gate.check(
                        fragment, person=ANA, purpose="diabetes-2026", project="p", now=NOW
                    )
                except Denial as denial:
                    self.denied[denial.reason] += 1
                    continue
                self.tally["accepted"] += 1
                self.kinds[type(fragment).__name__] += 1
                written |= {"policy": gate.policy.name, "sql": verdict.sql}
                found |= set(self._findings(gate, fragment, verdict))
                if found:
                    break
        except BaseException as fault:
            fault.add_note(self.repeat(number, written))
            raise
        return found, self.repeat(number, written)

    def _findings(self, gate, fragment, verdict):
        if isinstance(fragment, Rows) and fragment.limit is not None:
            # Which of equal rows are first is the engine's choice, also over the same data.
            whole = type(fragment)(**{**asdict(fragment), "limit": None})
            verdict = gate.check(whole, person=ANA, purpose="diabetes-2026", project="p", now=NOW)
        members = verdict.cells
        if verdict.bins is not None and verdict.bins.named:
            members = verdict.bins.units
        try:
            differing, ending = self.copies.compare(verdict.sql, members)
            if verdict.again:
                differing += self.copies.compare(verdict.again)[0]
        except Skipped:
            self.tally["skipped"] += 1
            return []
        if isinstance(ending, tuple):
            self.engine[ending[0]] += 1
            if not lawful(*ending):
                differing.append(" ".join(map(str, ending)))
        else:
            self.tally["compared"] += 1
        return differing

    def _fragments(self, chance, written):
        grammar = Grammar(chance, **self._grammar)
        if chance.random() >= 0.1:
            # As it would come off the wire.
            rounds = chance.random() < MODELS
            made = Models(grammar, chance).step() if rounds else grammar.fragment()
            return [decode_fragment(encode_fragment(made))]
        self.tally["statements"] += 1
        written["statement"] = grammar.statement()
        if not self._about.search(written["statement"]):
            return []
        catalog: Catalog = self._catalogs[chance.choice((*self._catalogs, "all", "all"))]
        try:
            return [stage.fragment for stage in plan(written["statement"], catalog).stages]
        except Error as refusal:
            self.denied[f"planner {refusal.code}"] += 1
            return []

    def _gate(self, chance, fragment: Fragment):
        names = list(self.gates)
        noisy = isinstance(fragment, Noised) or getattr(fragment, "noisy", False)
        if noisy and "dp" in names and chance.random() < 0.9:
            return self.gates["dp"]
        if isinstance(fragment, Binned) and "binned" in names and chance.random() < 0.8:
            return self.gates["binned"]
        shares = {"p10": 5, "free": 4, "rows": 8 if isinstance(fragment, Rows) else 3}
        return self.gates[chance.choices(names, [shares.get(name, 0.4) for name in names])[0]]

    def repeat(self, number, written):
        told = [f"{name}: {text}" for name, text in written.items()]
        again = f"PODSQL_FUZZ_SEED={SEED} PODSQL_FUZZ_TRY={number} repeats it"
        return "\n".join([again, *told])

    def summary(self, seconds):
        reasons = ", ".join(f"{name} {count}" for name, count in self.denied.most_common(10))
        engine = ", ".join(f"{name} {count}" for name, count in self.engine.most_common())
        counts = ", ".join(f"{name} {count}" for name, count in self.tally.items())
        rate = self.tally["tries"] / seconds
        kinds = ", ".join(f"{name} {count}" for name, count in self.kinds.most_common())
        return (
            f"{counts}; {rate:.0f} tries/s; accepted: {kinds}; denied: {reasons};"
            f" engine errors: {engine or 'none'}"
        )


RUNTIME = ("Conversion", "InvalidInput", "OutOfRange")
BINDING = (
    *("No function matches", "Could not choose", "Cannot compare", "Cannot mix", " type"),
    # A fragment whose grouping sets leave a key out: no planner's, and no row is read for it.
    *("GROUPING child", "GROUPING statement"),
)


def lawful(kind, text):
    """Values or types may be at fault, which the gate does not look at; never syntax or names."""
    if kind == "BinderException":
        return any(words in text for words in BINDING)
    return kind.removesuffix("Exception") in RUNTIME


def asdict(fragment):
    return {name: getattr(fragment, name) for name in fragment.__struct_fields__}


def catalog_of(gate):
    tables = gate.offer_tables(ANA, "diabetes-2026", "p", NOW)
    offer = Offer(pod="north", version="1", tables=tables, issued=NOW, expires=NOW + 1)
    return build_catalog({"north": offer})


@pytest.fixture(scope="module")
def copies():
    made = Copies()
    yield made
    made.close()


def test_every_listed_function_is_written_by_the_grammar():
    texts = [*AGGREGATES, *OPEN_AGGREGATES]
    for pools in (SCALARS, CODING):
        texts += [text for pool in pools.values() for text in pool]
    together = " ".join(texts).lower()
    names = {*SCALAR_CLASSES.values(), *SCALAR_NAMES, *PATTERN_CLASSES.values()}
    names |= {*CODING_CLASSES.values(), *CODING_NAMES, *AGGREGATE_NAMES}
    names |= {name for name, _ in AGGREGATE_CLASSES.values()}
    assert [name for name in sorted(names) if name not in together] == []


@pytest.mark.timeout(SECONDS + 240)
def test_the_gate_under_random_statements(copies):
    fuzz = Fuzz({name: gate_of(text) for name, text in POLICIES.items()}, copies)
    start = time.monotonic()
    number = int(ONLY or 0)
    wrong = {}
    while True:
        found, told = fuzz.attempt(number)
        if found:
            # One example, the shortest, of each kind.
            kind = tuple(sorted(" ".join(one.split()[:6]) for one in found))
            wrong[kind] = min(wrong.get(kind, told), told, key=len)
        number += 1
        spent = time.monotonic() - start
        # A slow machine tries fewer in a minute, not less.
        if ONLY or (spent > SECONDS and fuzz.tally["accepted"] >= ENOUGH):
            break
    print(f"\n{fuzz.summary(spent)}")
    listed = "\n\n".join(f"{', '.join(kind)}\n{told}" for kind, told in wrong.items())
    assert not wrong, f"a hidden column was read, or SQL was made that does not run:\n{listed}"
    if not ONLY:
        assert fuzz.tally["accepted"] >= 0.1 * fuzz.tally["tries"]
        assert fuzz.tally["compared"] >= 0.8 * fuzz.tally["accepted"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", BROKEN)
def test_the_fuzz_sees_a_gate_that_lets_a_hidden_column_through(copies, fault):
    column, policy = BROKEN[fault]
    fuzz = Fuzz({"p10": gate_of(policy)}, copies, about=column, overt=1.0)
    seen = set()
    for number in range(20_000):
        seen |= fuzz.attempt(number)[0]
        if seen >= {"changed", "absent"}:
            return
    raise AssertionError(f"only {seen} in {fuzz.summary(1)}")
