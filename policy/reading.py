"""Text fields of a fragment -> checked trees. Rule to keep: nothing here looks at a policy's tables.

Each field is parsed by itself, so that no field can complete another. What comes out holds only
listed nodes, within limits; placeholders are already the fragment's typed literals.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from podsql.errors import Error
from podsql.planner.fragment import Aggregate, Binned, Literal, Noised, Rows
from podsql.planner.syntax import agree
from podsql.policy.denial import Denial, Reason
from podsql.policy.document import PolicyLimits
from podsql.policy.nodes import depth, require_date_parts, require_listed

IN_LITERALS: Final = 1000
BOOLEAN_TERMS: Final = 200
JOINS: Final = 16
COLUMNS: Final = 1000
LITERALS: Final = 4000
SMALL_TEXT: Final = 4096
"""Longer texts are scanned before they are parsed: a parser recurses where a scan does not."""
NESTING: Final = 200
NUMBER: Final = re.compile(r"(\d{1,60}(\.\d{0,60})?|\.\d{1,60})([eE][+-]?\d{1,4})?", re.ASCII)
PREFIXES: Final = frozenset(
    {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.CASE}
)
TABLE_PARTS: Final = frozenset({"this", "db", "alias", "joins"})
TABLE_REASONS: Final[dict[str, Reason]] = {"version": "TIME_TRAVEL", "sample": "NONDETERMINISM"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableUse:
    """One table of FROM: its written name and alias, and how it is joined to those before it."""

    schema: str
    table: str
    alias: str
    kind: str
    """``from``, ``inner``, ``left``, ``right``, ``full``, ``semi``, ``anti`` or ``cross``."""
    on: exp.Expr | None = None
    using: tuple[str, ...] = ()
    derived: "Derived | None" = None
    """What stands in place of a table; ``schema`` and ``table`` are empty then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A fragment's source and its output expressions (keys, then aggregates; or row columns)."""

    tables: tuple[TableUse, ...]
    where: exp.Expr | None
    outputs: tuple[exp.Expr, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """``(SELECT key AS name, …, aggregate AS name, … FROM … GROUP BY key, …)`` in FROM."""

    reading: Reading
    names: tuple[str, ...]
    keys: frozenset[int]
    """Places of the outputs that are group keys."""


def read(fragment: Aggregate | Noised | Binned | Rows, limits: PolicyLimits) -> Reading:
    """Parse and check every text of ``fragment``; raises Denial."""
    if isinstance(fragment, Aggregate | Noised):
        columns = (*fragment.keys, *fragment.aggregates)
    elif isinstance(fragment, Binned):
        columns = (*fragment.keys, fragment.column)
    else:
        columns = fragment.columns
    texts = [fragment.source, *(column.sql for column in columns)]
    if sum(len(text.encode(errors="replace")) for text in texts) > limits.sql_bytes:
        raise Denial("LIMIT")
    if len(columns) > COLUMNS or not columns or len(fragment.literals) > LITERALS:
        raise Denial("LIMIT")
    source = _statement(f"SELECT 1 {fragment.source}")
    if any(
        value
        for name, value in source.args.items()
        if name not in ("expressions", "from_", "joins", "where")
    ):
        raise Denial("STATEMENT")
    outputs = tuple(_expression(column.sql) for column in columns)
    tables = _tables(source)
    where = source.args.get("where")
    roots = [*outputs, *_roots(tables, where)]
    for root in roots:
        require_listed(root)
    _require_small(roots, limits)
    _require_agreement(texts, source, outputs)
    condition = None if where is None else where.this
    return _filled(
        Reading(tables=tables, where=condition, outputs=outputs), _lower(fragment.literals)
    )


def _statement(text: str) -> exp.Select:
    """One SELECT; anything else is refused."""
    if "\x00" in text:
        raise Denial("SYNTAX")
    try:
        if len(text) > SMALL_TEXT:
            _scan(text)
        found = sqlglot.parse(text, read="duckdb")
    except (
        SqlglotError,
        RecursionError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
    ):
        # sqlglot answers some malformed texts with these instead of its own errors.
        raise Denial("SYNTAX") from None
    if len(found) != 1:
        raise Denial("MULTI_STATEMENT")
    if type(found[0]) is not exp.Select:
        raise Denial("STATEMENT")
    return found[0]


def _scan(text: str) -> None:
    open_brackets = run = cases = 0
    for token in sqlglot.tokenize(text, read="duckdb"):
        kind = token.token_type
        if kind in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE):
            open_brackets += 1
        elif kind in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE):
            open_brackets -= 1
        run = run + 1 if kind in PREFIXES else 0
        cases += (kind is TokenType.CASE) - (kind is TokenType.END)
        if max(open_brackets, run, cases) > NESTING:
            raise Denial("LIMIT")


def _expression(text: str) -> exp.Expr:
    statement = _statement(f"SELECT {text}")
    if any(value for name, value in statement.args.items() if name != "expressions"):
        raise Denial("STATEMENT")
    if len(statement.expressions) != 1:
        raise Denial("NODE_NOT_ALLOWED")
    found: exp.Expr = statement.expressions[0]
    found.pop()
    return found


def _roots(tables: tuple[TableUse, ...], where: exp.Expr | None) -> list[exp.Expr]:
    """Every expression of a source, those of derived tables included."""
    roots = [use.on for use in tables if use.on is not None]
    if where is not None:
        roots.append(where)
    for use in tables:
        if use.derived is not None:
            inner = use.derived.reading
            roots += [*inner.outputs, *_roots(inner.tables, inner.where)]
    return roots


def _tables(source: exp.Select, *, nested: bool = False) -> tuple[TableUse, ...]:
    start = source.args.get("from_")
    if start is None:
        raise Denial("STATEMENT")
    first = start.this
    joins = [*(first.args.get("joins") or ()), *(source.args.get("joins") or ())]
    if len(joins) > JOINS:
        raise Denial("LIMIT")
    uses = [_table(first, kind="from", join=None, nested=nested)]
    for join in joins:
        uses.append(_table(join.this, kind=_join_kind(join), join=join, nested=nested))
    folded = [use.alias.lower() for use in uses]
    if len(set(folded)) != len(folded):
        raise Denial("BAD_NAME")
    return tuple(uses)


def _table(node: exp.Expr, *, kind: str, join: exp.Join | None, nested: bool) -> TableUse:
    if type(node) is exp.Subquery and not nested:
        return TableUse(
            schema="",
            table="",
            alias=_derived_alias(node),
            kind=kind,
            on=None if join is None else join.args.get("on"),
            using=() if join is None else tuple(_using(join)),
            derived=_derived(node),
        )
    if type(node) is not exp.Table:
        raise Denial("SUBQUERY_ROWS" if isinstance(node, exp.Subquery) else "JOIN_INPUT")
    if not isinstance(node.this, exp.Identifier):
        raise Denial("TABLE_FUNCTION")
    for name, value in node.args.items():
        if value and name not in TABLE_PARTS:
            raise Denial(TABLE_REASONS.get(name, "STATEMENT"))
    if join is not None and node.args.get("joins"):
        raise Denial("JOIN_TYPE")
    alias = node.args.get("alias")
    if alias is not None and (
        type(alias) is not exp.TableAlias
        or alias.args.get("columns")
        or not isinstance(alias.this, exp.Identifier)
    ):
        raise Denial("BAD_NAME")
    return TableUse(
        schema=node.db,
        table=node.name,
        alias=alias.name if alias is not None else node.name,
        kind=kind,
        on=None if join is None else join.args.get("on"),
        using=() if join is None else tuple(_using(join)),
    )


def _derived_alias(node: exp.Subquery) -> str:
    alias = node.args.get("alias")
    if any(value for name, value in node.args.items() if name not in ("this", "alias")):
        raise Denial("SUBQUERY_ROWS")
    if (
        type(alias) is not exp.TableAlias
        or alias.args.get("columns")
        or not isinstance(alias.this, exp.Identifier)
    ):
        raise Denial("BAD_NAME")
    return alias.name


def _derived(node: exp.Subquery) -> Derived:
    """One plain SELECT with GROUP BY; each key stands in its list, each output has a name."""
    select = node.this
    if type(select) is not exp.Select:
        raise Denial("SUBQUERY_ROWS")
    group = select.args.get("group")
    named = ("expressions", "from_", "joins", "where", "group")
    if group is None or any(v for n, v in select.args.items() if n not in named):
        raise Denial("SUBQUERY_ROWS")
    if any(value for name, value in group.args.items() if name != "expressions"):
        raise Denial("SUBQUERY_ROWS")
    if len(select.expressions) > COLUMNS:
        raise Denial("LIMIT")
    names, outputs = [], []
    for one in select.expressions:
        if type(one) is not exp.Alias or not isinstance(one.args["alias"], exp.Identifier):
            raise Denial("BAD_NAME")
        names.append(one.alias)
        outputs.append(one.this)
    folded = {name.lower() for name in names}
    if len(folded) != len(names) or not all(name and name.isprintable() for name in names):
        raise Denial("BAD_NAME")
    keys = {outputs.index(key) if key in outputs else -1 for key in group.expressions}
    if -1 in keys or not all(isinstance(outputs[key], exp.Column) for key in keys):
        raise Denial("GROUP_KEY_ROLE")
    where = select.args.get("where")
    return Derived(
        reading=Reading(
            tables=_tables(select, nested=True),
            where=None if where is None else where.this,
            outputs=tuple(outputs),
        ),
        names=tuple(names),
        keys=frozenset(keys),
    )


def _using(join: exp.Join) -> list[str]:
    names = []
    for node in join.args.get("using") or ():
        found = node.this if isinstance(node, exp.Column) else node
        if not isinstance(found, exp.Identifier):
            raise Denial("JOIN_COLUMN")
        names.append(found.name)
    return names


def _join_kind(join: exp.Join) -> str:
    if any(
        value
        for name, value in join.args.items()
        if name not in ("this", "side", "kind", "on", "using")
    ):
        raise Denial("JOIN_TYPE")
    side, kind = join.side.lower(), join.kind.lower()
    if (side, kind) in {("left", ""), ("left", "outer"), ("right", ""), ("right", "outer")}:
        return side
    if (side, kind) in {("full", ""), ("full", "outer")}:
        return "full"
    if side == "" and kind in ("semi", "anti"):
        return kind
    if side == "" and kind in ("", "inner", "cross"):
        tied = join.args.get("on") is not None or join.args.get("using")
        return "inner" if tied and kind != "cross" else "cross"
    raise Denial("JOIN_TYPE")


def _require_small(roots: list[exp.Expr], limits: PolicyLimits) -> None:
    terms = 0
    for root in roots:
        if depth(root) > limits.depth:
            raise Denial("LIMIT")
        for node in root.walk():
            terms += isinstance(node, exp.Connector)
            if isinstance(node, exp.In) and len(node.expressions) > IN_LITERALS:
                raise Denial("LIMIT")
    if terms > BOOLEAN_TERMS:
        raise Denial("LIMIT")


def _require_agreement(texts: list[str], source: exp.Select, outputs: tuple[exp.Expr, ...]) -> None:
    """DuckDB must read the fragment's texts and what sqlglot made of them as the same tree."""
    parsed = [output.sql(dialect="duckdb", comments=False) for output in outputs]
    tree = source.sql(dialect="duckdb", comments=False).removeprefix("SELECT 1")
    try:
        agree(_assembled(texts[1:], texts[0]), _assembled(parsed, tree))
    except Error:
        raise Denial("PARSER_DISAGREES") from None


def _assembled(outputs: list[str], source: str) -> str:
    # A line break ends a comment that a text may close with.
    return "SELECT " + "\n, ".join(outputs) + "\n" + source


def _lower(literals: tuple[Literal, ...]) -> list[exp.Expr]:
    lowered: list[exp.Expr] = []
    for literal in literals:
        if literal.kind == "number":
            if NUMBER.fullmatch(literal.text) is None:
                raise Denial("BAD_LITERAL")
            lowered.append(exp.Literal.number(literal.text))
        elif literal.kind == "null":
            lowered.append(exp.Null())
        else:
            if "\x00" in literal.text:
                raise Denial("BAD_LITERAL")
            lowered.append(exp.Literal.string(literal.text))
    return lowered


def _fill(root: exp.Expr, lowered: list[exp.Expr]) -> exp.Expr:
    def put(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Placeholder):
            return node
        position = int(str(node.this))
        if not 1 <= position <= len(lowered):
            raise Denial("BAD_LITERAL")
        return lowered[position - 1].copy()

    filled = root.transform(put)
    require_date_parts(filled)
    return filled


def _filled(reading: Reading, lowered: list[exp.Expr]) -> Reading:
    """With the fragment's literals in place of its placeholders."""

    def use_of(use: TableUse) -> TableUse:
        on, derived = use.on, use.derived
        return replace(
            use,
            on=None if on is None else _fill(on, lowered),
            derived=None
            if derived is None
            else replace(derived, reading=_filled(derived.reading, lowered)),
        )

    return Reading(
        tables=tuple(use_of(use) for use in reading.tables),
        where=None if reading.where is None else _fill(reading.where, lowered),
        outputs=tuple(_fill(output, lowered) for output in reading.outputs),
    )
