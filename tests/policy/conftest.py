"""Statements as fragments, without a planner: the gate must hold against any fragment at all."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from podsql.planner.fragment import Aggregate, Column, Field, Fragment, Literal, Rows
from podsql.policy.document import load_policy, load_preset
from podsql.policy.gate import Gate
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

CASES = Path(__file__).parent / "cases"
NOW = 1_770_000_000_000
"""In February 2026."""

COLUMNS = {
    "main.person": {
        "id": "INTEGER",
        "name": "VARCHAR",
        "age": "INTEGER",
        "region": "VARCHAR",
        "salary": "INTEGER",
        "dob": "DATE",
        "diag": "VARCHAR",
        "hosp_id": "INTEGER",
    },
    "main.visit": {"id": "INTEGER", "vdate": "DATE", "cost": "INTEGER", "code": "VARCHAR"},
    "main.site": {"hosp_id": "INTEGER", "city": "VARCHAR"},
}
UNITS = {"main.person": "id", "main.visit": "id"}

Style = Callable[[str], str]
STYLES: dict[str, Style] = {
    "as written": lambda text: text,
    "comments": lambda text: _outside_quotes(text, " ", "/* ; */ "),
    "trailing comment": lambda text: text + " -- done",
    "line breaks": lambda text: _outside_quotes(text, " ", "\n\t"),
    "double colon": lambda text: re.sub(r"CAST\(([\w.]+|\([^()]*\)) AS (\w+)\)", r"\1::\2", text),
}


def _outside_quotes(text: str, old: str, new: str) -> str:
    pieces = re.split(r"('[^']*'|\"[^\"]*\")", text)
    return "".join(p if p[:1] in "'\"" else p.replace(old, new) for p in pieces)


def tables() -> dict[str, PodTable]:
    return {
        name: PodTable(
            name=name,
            kind="reference" if name == "main.site" else "federated",
            columns=tuple(Field(name=column, type=kind) for column, kind in columns.items()),
            privacy_unit=UNITS.get(name),
        )
        for name, columns in COLUMNS.items()
    }


def to_fragment(
    sql: str,
    *,
    style: str = "as written",
    rename: Callable[[exp.Expression], exp.Expression] | None = None,
) -> Fragment:
    """A fragment an honest planner would make of a single SELECT; a hostile one of anything else."""
    write = STYLES[style]
    try:
        found = sqlglot.parse(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        found = []
    if len(found) != 1 or type(found[0]) is not exp.Select:
        return Rows(source=sql, columns=(Column(name="c0", sql="1", type="INTEGER"),))
    statement = found[0] if rename is None else found[0].transform(rename)
    literals: list[Literal] = []
    statement = statement.transform(lambda node: _placeholder(node, literals))
    named = {item.alias: item.this for item in statement.expressions if isinstance(item, exp.Alias)}
    outputs = [item.unalias() for item in statement.expressions]
    group = statement.args.get("group")
    keys = _keys(group, outputs, named)
    parts = [*outputs, statement.args.get("having"), statement.args.get("order")]
    calls = [node for part in parts if part is not None for node in _pieces(part)]
    source = statement.copy()
    for part in ("group", "having", "order", "limit", "qualify", "distinct"):
        source.set(part, None)
    source.set("expressions", [exp.Literal.number(1)])
    text = write(source.sql("duckdb").removeprefix("SELECT 1 "))
    if not calls and group is None:
        columns = tuple(
            Column(name=f"c{at}", sql=write(item.sql("duckdb")), type="VARCHAR")
            for at, item in enumerate(outputs)
        )
        return Rows(source=text, columns=columns, literals=tuple(literals))
    sets = None
    if group is not None and group.find(exp.Cube, exp.Rollup) is not None:
        sets = tuple(tuple(range(width)) for width in range(len(keys) + 1))
    return Aggregate(
        source=text,
        keys=tuple(
            Column(name=f"k{at}", sql=write(key.sql("duckdb")), type="VARCHAR")
            for at, key in enumerate(keys)
        ),
        aggregates=tuple(
            Column(name=f"a{at}", sql=write(call.sql("duckdb")), type="DOUBLE")
            for at, call in enumerate(calls)
        )
        or (Column(name="a0", sql="count(*)", type="DOUBLE"),),
        grouping_sets=sets,
        literals=tuple(literals),
    )


def _placeholder(node: exp.Expression, literals: list[Literal]) -> exp.Expression:
    if not isinstance(node, exp.Literal) or isinstance(
        node.parent, exp.Interval | exp.DataTypeParam | exp.Ordered | exp.Limit
    ):
        return node
    literals.append(Literal(kind="string" if node.is_string else "number", text=node.name))
    return exp.Placeholder(this=str(len(literals)))


def _keys(
    group: exp.Expression | None, outputs: list[exp.Expression], named: dict[str, exp.Expression]
) -> list[exp.Expression]:
    if group is None:
        return []
    if group.args.get("all"):
        return [item for item in outputs if not _aggregates(item)]
    written = [
        key
        for one in group.expressions
        for key in (one.expressions if isinstance(one, exp.Cube | exp.Rollup) else [one])
    ]
    return [named.get(key.name, key) if isinstance(key, exp.Column) else key for key in written]


def _aggregates(tree: exp.Expression) -> list[exp.Expression]:
    found = []
    for node in tree.walk(prune=lambda node: isinstance(node, exp.AggFunc | exp.Filter)):
        if isinstance(node, exp.AggFunc | exp.Filter):
            found.append(node)
    return found


def _pieces(tree: exp.Expression) -> list[exp.Expression]:
    """What a pod would be asked for: the aggregates, or all of an output that is no plain scalar."""
    nested = tree.find(exp.Struct, exp.Array, exp.Subquery, exp.Window, exp.Lambda)
    return [tree] if nested is not None and _aggregates(tree) else _aggregates(tree)


@pytest.fixture(scope="session")
def ana() -> Person:
    return Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)


@pytest.fixture(scope="session")
def make_gate() -> Callable[[str], Gate]:
    """A gate for a preset or for ``p10``."""

    def make(name: str) -> Gate:
        policy = load_policy(CASES / "p10.toml") if name == "p10" else load_preset(name)
        return Gate(pod="north", tables=tables(), policy=policy)

    return make


@pytest.fixture(scope="session")
def fragment_of() -> Callable[..., Fragment]:
    return to_fragment


@pytest.fixture(scope="session")
def pod_tables() -> Callable[[], dict[str, PodTable]]:
    return tables


@pytest.fixture(scope="session")
def judge(make_gate: Callable[[str], Gate], ana: Person) -> Callable[..., object]:
    """Judge a fragment under a policy for ``ana``; the verdict, or Denial."""
    gates = {name: make_gate(name) for name in ("p10", "open", "standard")}

    def run(fragment: Fragment, policy: str = "p10", **more: object) -> object:
        return gates[policy].check(
            fragment, person=ana, purpose="diabetes-2026", project="p", now=NOW, **more
        )

    return run
