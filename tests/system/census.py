"""A small population, two documents over it, and federations of both: what test_sequences asks.

Everything that a test relies on is a formula of the person's number, so that it can be written down
by hand: two neighbours 2k and 2k + 1 are alike but for pay and birthday, one at each pod.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

import podsql
from podsql.errors import Error
from podsql.local_federation import LocalFederation
from podsql.pod.daemon import Pod
from podsql.policy.document import preset_bytes
from podsql.policy.ledger.cost import NOTHING, Cost, epsilon_of, rho_for, zcdp_cost
from podsql.policy.ledger.store import Ledger

PEOPLE = 1200
BUSY_ROWS = 1000
FIGURES = 16
"""What the strict document answers a project, a day and in all."""
DELTA = 1e-5
SMALL = 0.1
"""Epsilon of a statement where a budget is counted to its end."""
PROJECTS = [f"case-{number}{letter}" for number in range(1, 36) for letter in "abcd"]
PURPOSES = ["study", "a", "b", "c", *(f"case {number}" for number in range(1, 36))]
"""Named by the documents: a name that anybody may make up has no budget or memory of its own."""

TABLES = f"""
CREATE TABLE person AS SELECT i::INTEGER AS id, 'canary-' || i AS name,
  ['n', 's', 'e', 'w'][1 + i // 2 % 4] AS region, (20 + i // 8 % 50)::INTEGER AS age,
  (i // 2)::INTEGER AS score, (100 + i * 37 % 900)::INTEGER AS pay,
  'z' || (i // 2 % 12) AS zip, DATE '1980-01-01' + i::INTEGER AS dob,
  CASE WHEN i < 8 THEN 'rare' WHEN i // 2 % 2 = 0 THEN 'flu' ELSE 'cold' END AS diag,
  CASE i % 12 WHEN 0 THEN NULL WHEN 1 THEN 'nan' WHEN 2 THEN 'inf' WHEN 3 THEN '-inf' WHEN 4 THEN '1e308'
    WHEN 5 THEN '-1e308' ELSE '7.5' END::DOUBLE AS odd,
  (i % 7 / 3)::DOUBLE AS dose, NULL::INTEGER AS void
  FROM range({PEOPLE}) r(i);
CREATE TABLE visit AS SELECT i::INTEGER AS id, 'c0' AS code FROM range({PEOPLE}) r(i)
  UNION ALL SELECT 0, 'c0' FROM range({BUSY_ROWS})
  UNION ALL SELECT 0, 'c' || i FROM range(40) r(i);
"""
NOISED = f"""
version = 1
name = "census"
people = "*"
purposes = {PURPOSES}
release = "dp"
[dp]
epsilon_per_query = 5.0
epsilon_budget = 200.0
delta = 1e-5
per = ["purpose"]
max_rows_contributed = 2
max_groups_contributed = 2
[tables.person.columns]
id = {{roles = ["entity_key", "join_key"]}}
name = {{roles = ["filter"]}}
region = {{roles = ["dimension", "filter"], values = ["n", "s", "e", "w", "never"]}}
age = {{roles = ["measure", "filter"], bounds = [16, 80]}}
zip = {{roles = ["filter"]}}
dob = {{roles = ["filter"]}}
odd = {{roles = ["measure", "filter"], bounds = [-10, 100]}}
dose = {{roles = ["measure", "filter"], bounds = [0, 2.5]}}
void = {{roles = ["measure", "filter"], bounds = [0, 9]}}
[tables.visit.columns]
id = {{roles = ["entity_key", "join_key"]}}
code = {{roles = ["dimension", "filter"]}}
"""
UNIT = zcdp_cost(rho_for(SMALL, DELTA))
"""What a statement of ``SMALL`` costs."""


def changed(text: str, *pairs: tuple[str, str]) -> str:
    """``text`` with each first replaced by its second; each must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def strict(*pairs: tuple[str, str]) -> str:
    """The preset ``strict`` with few figures, for named projects."""
    return changed(
        preset_bytes("strict").decode(),
        ("per_day = 200", f"per_day = {FIGURES}"),
        ("total = 2000", f"total = {FIGURES}"),
        ('people = "*"', f'people = "*"\nprojects = {PROJECTS}'),
        *pairs,
    )


def times(count: int) -> Cost:
    """What ``count`` statements of ``SMALL`` cost together."""
    return sum([UNIT] * count, NOTHING)


def budget(count: int, everybody: int | None = None) -> str:
    """A document whose budget is that of exactly ``count`` statements, ``everybody`` for all."""
    nano = 1e-9  # caps round down
    total = f"\nepsilon_total = {epsilon_of(times(everybody), DELTA) + nano!r}" if everybody else ""
    return changed(
        NOISED,
        ("epsilon_per_query = 5.0", f"epsilon_per_query = {SMALL}"),
        (
            "epsilon_budget = 200.0",
            f"epsilon_budget = {epsilon_of(times(count), DELTA) + nano!r}{total}",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running federation and its two analysts, each with their one connection."""

    federation: LocalFederation
    ana: podsql.Connection
    bob: podsql.Connection

    @property
    def pod(self) -> Pod:
        """The first pod."""
        return self.federation.pods["pod0"]

    def asking_for(self, purpose: str) -> tuple[podsql.Connection, podsql.Connection]:
        """Both analysts with a purpose, and so a budget, of their own."""
        self.ana.purpose = self.bob.purpose = purpose
        return self.ana, self.bob

    def charges(self) -> list[int]:
        """How many charges each pod has taken."""
        return [len(ledger(pod).charges()) for pod in self.federation.pods.values()]


@contextmanager
def world(
    folder: Path,
    document: str,
    *,
    pods: int = 2,
    tables: str = TABLES,
    reference: Collection[str] = (),
) -> Iterator[World]:
    """The population over ``pods`` pods under ``document``, kept as ``folder/policy.toml``."""
    policy = folder / "policy.toml"
    policy.write_text(document)
    with duckdb.connect() as con:
        con.execute(tables)
        held = [name for (name,) in con.execute("SHOW TABLES").fetchall()]
        names = [name for name in held if name not in reference]
        public = {name: con.sql(f"FROM {name}").to_arrow_table() for name in reference}
        wheres = [f"id % {pods} = {pod}" if pods > 1 else "true" for pod in range(pods)]
        parts = {
            f"pod{pod}": {
                name: con.sql(f"FROM {name} WHERE {where}").to_arrow_table() for name in names
            }
            for pod, where in enumerate(wheres)
        }
    keys = {name: ["id"] for name in names}
    with (
        podsql.local(
            parts,
            reference=public,
            local_keys=keys,
            privacy_unit=dict.fromkeys(names, "id"),
            policy=policy,
            isolation="thread",
            analysts=("ana", "bob"),
        ) as federation,
        federation.connect("ana", purpose="study") as ana,
        federation.connect("bob", purpose="study") as bob,
    ):
        yield World(federation=federation, ana=ana, bob=bob)


def birthday(person: int) -> str:
    """As a literal."""
    return f"DATE '{date(1980, 1, 1) + timedelta(person)}'"


def ask(con: podsql.Connection, sql: str, project: str = "") -> list[tuple]:
    """The rows of ``sql``, asked in ``project``."""
    con.project = project
    return con.execute(sql).fetchall()


def one(con: podsql.Connection, sql: str, project: str = ""):
    """The only value of ``sql``."""
    ((value,),) = ask(con, sql, project)
    return value


def fault_of(con: podsql.Connection, sql: str, project: str = "") -> Error:
    """How ``sql`` fails."""
    with pytest.raises(Error) as caught:
        ask(con, sql, project)
    return caught.value


def code_of(con: podsql.Connection, sql: str, project: str = "") -> str:
    """The code that ``sql`` fails with."""
    return fault_of(con, sql, project).code


def end_of(con: podsql.Connection, sql: str, project: str = "") -> str:
    """The code that ``sql`` fails with; nothing if it is answered."""
    try:
        ask(con, sql, project)
    except Error as fault:
        return fault.code
    return ""


def ledger(pod: Pod) -> Ledger:
    """A running pod's ledger."""
    return pod._releasing._ledger


def left(con: podsql.Connection, sql: str) -> float:
    """Epsilon that is left for ``sql``, by the first pod's own word."""
    return con.execute(f"EXPLAIN POLICY {sql}").fetch_arrow_table().to_pylist()[0]["epsilon_left"]
