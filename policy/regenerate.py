"""Checked trees -> the SQL a worker runs. Rule to keep: no byte of the analyst's text is copied.

Names are quoted, literals printed anew, outputs cast to wire types in the declared order.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import SqlglotError

from podsql.errors import Error
from podsql.planner.fragment import BIN_FIELDS, Aggregate, Binned, Column, Field, Noised, Rows
from podsql.planner.trees import with_children
from podsql.planner.wire_types import is_enum, known_type, wire_type
from podsql.policy.denial import Denial
from podsql.policy.functions import aggregate
from podsql.policy.guard import GUARD
from podsql.policy.nodes import TYPES
from podsql.policy.populations import ONCE, rows_within, with_public
from podsql.policy.reading import Derived
from podsql.policy.scope import Scope, Source
from podsql.policy.shares import ROWS, rows_behind

GROUPING_ID = "grouping_id"
NAME_CHARACTERS = 255
DERIVED_NAMES = re.compile(rf"{ROWS}\d*|{ONCE}")
"""Names of the columns that the gate adds to a derived table."""
OWN_NAMES = re.compile(rf"{GUARD}|{DERIVED_NAMES.pattern}|_u\d+")
"""Those, and of the columns that it adds to a result."""
TYPE_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output: its name, the type the planner declared for it, and the one that travels."""

    name: str
    declared: exp.DataType | None
    wire: exp.DataType
    field: Field


def read_outputs(fragment: Aggregate | Noised | Binned | Rows) -> tuple[Output, ...]:
    """The fragment's outputs in order; Denial on a bad name or type."""
    if isinstance(fragment, Rows):
        columns: tuple[Column, ...] = fragment.columns
    elif isinstance(fragment, Binned):
        bins = tuple(Column(field.name, "", field.type) for field in BIN_FIELDS)
        columns = (*fragment.keys, *bins)
    else:
        columns = (*fragment.keys, *fragment.aggregates)
    outputs = [_output(column.name, column.type) for column in columns]
    if isinstance(fragment, Aggregate) and fragment.grouping_sets is not None:
        outputs.append(_output(GROUPING_ID, "BIGINT"))
        _require_sets(fragment.grouping_sets, len(fragment.keys))
    folded = [output.name.lower() for output in outputs]
    if len(set(folded)) != len(folded) or any(OWN_NAMES.fullmatch(name) for name in folded):
        raise Denial("BAD_NAME")
    for output in outputs:
        if not 0 < len(output.name) <= NAME_CHARACTERS or not output.name.isprintable():
            raise Denial("BAD_NAME")
    return tuple(outputs)


def _require_sets(sets: Sequence[Sequence[int]], keys: int) -> None:
    """Each set once: a repeated one would show every unit to the dominance rules several times."""
    chosen = [frozenset(one) for one in sets]
    plain = all(len(one) == len(two) for one, two in zip(sets, chosen, strict=True))
    whole = frozenset().union(*chosen) == frozenset(range(keys))
    if not chosen or len(set(chosen)) != len(chosen) or not plain or not whole:
        raise Denial("NODE_NOT_ALLOWED")


def aggregate_select(
    fragment: Aggregate,
    scope: Scope,
    outputs: Sequence[Output],
    hidden: Sequence[tuple[str, exp.Expr]] = (),
    *,
    round_base: int = 0,
) -> exp.Select:
    """SELECT of keys, aggregates, grouping_id and ``hidden``, grouped by the keys.

    ``round_base`` rounds every count, those behind averages included, so that none can be had
    from the others.
    """
    count = len(fragment.keys)
    keys = [
        _grouped(key, output) for key, output in zip(scope.outputs[:count], outputs, strict=False)
    ]
    if hidden:
        keys = sent_keys(scope, outputs, count)
    values = [*keys, *(rounded(value, round_base) for value in scope.outputs[count:])]
    projections = [
        # What is hidden for want of units must not fail on its way to be hidden.
        _projection(value, output, may_fail=not hidden)
        for value, output in zip(values, outputs, strict=False)
    ]
    if fragment.grouping_sets is not None:
        # DuckDB takes at least one argument.
        level = exp.Grouping(expressions=_copies(keys)) if keys else exp.Literal.number(0)
        projections.append(_projection(level, outputs[-1]))
    projections += [_alias(value, name) for name, value in hidden]
    select = select_of(scope, projections)
    if fragment.grouping_sets is not None:
        sets = [exp.Tuple(expressions=_picked(keys, chosen)) for chosen in fragment.grouping_sets]
        select.set("group", exp.Group(grouping_sets=[exp.GroupingSets(expressions=sets)]))
    elif keys:
        select.set("group", exp.Group(expressions=_copies(keys)))
    if hidden and keys:
        # The order in which a pod stores rows says something about them.
        places = [exp.Ordered(this=exp.Literal.number(place + 1)) for place in range(count)]
        select.set("order", exp.Order(expressions=places))
    return select


def sent_keys(scope: Scope, outputs: Sequence[Output], count: int) -> list[exp.Expr]:
    """Group keys as they leave: groups are those of such values, so that two never look like one."""
    return [
        _projection(_grouped(key, output), output, may_fail=False).this
        for key, output in zip(scope.outputs[:count], outputs, strict=False)
    ]


def all_or_none(select: exp.Select, keys: int) -> exp.Select:
    """Several grouping sets leave together or not: subtotals less shown groups tell a hidden one."""
    inner = select.copy()
    inner.set("order", None)
    projections: list[exp.Expr] = []
    for one in select.expressions:
        column: exp.Expr = exp.column(one.alias, table="sets", quoted=True)
        if one.alias == GUARD:
            column = exp.Window(this=exp.LogicalAnd(this=column), over="OVER")
        projections.append(_alias(column, one.alias))
    outer = exp.Select(expressions=projections)
    alias = exp.TableAlias(this=exp.to_identifier("sets"))
    outer.set("from_", exp.From(this=exp.Subquery(this=inner, alias=alias)))
    places = [exp.Ordered(this=exp.Literal.number(place + 1)) for place in range(keys)]
    if places:
        outer.set("order", exp.Order(expressions=places))
    return outer


def rounded(value: exp.Expr, base: int) -> exp.Expr:
    """Every count in ``value`` to the nearest multiple of ``base`` (halves up)."""
    if base < 2:
        return value

    def put(node: exp.Expr) -> exp.Expr:
        found = aggregate(node)
        whole = node.this if isinstance(node, exp.Filter) else node
        inner = aggregate(whole)
        if inner is None or inner[1] != "count":
            return node
        if found is not None and isinstance(node.parent, exp.Filter):
            return node
        half = exp.Add(this=node.copy(), expression=exp.Literal.number(base // 2))
        parts = exp.IntDiv(this=exp.paren(half), expression=exp.Literal.number(base))
        return exp.paren(exp.Mul(this=exp.paren(parts), expression=exp.Literal.number(base)))

    return _outermost(value, put)


def _outermost(tree: exp.Expr, put: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """``tree`` with ``put`` applied from the root down, never inside what it replaced."""
    replaced = put(tree)
    if replaced is not tree:
        return replaced
    return with_children(tree, lambda child: _outermost(child, put))


def rows_sql(
    fragment: Rows, scope: Scope, outputs: Sequence[Output], *, may_fail: bool = True
) -> str:
    """SELECT of the columns, with the fragment's order and limit."""
    projections = [
        _projection(value, output, may_fail=may_fail)
        for value, output in zip(scope.outputs, outputs, strict=True)
    ]
    select = select_of(scope, projections)
    if fragment.order:
        terms = []
        for ordering in fragment.order:
            if not 0 <= ordering.column < len(outputs):
                raise Denial("NODE_NOT_ALLOWED")
            value = _grouped(scope.outputs[ordering.column], outputs[ordering.column])
            terms.append(_ordered(value, ordering.descending, ordering.nulls_first))
        select.set("order", exp.Order(expressions=terms))
    if fragment.limit is not None:
        if not 0 <= fragment.limit < 2**63:
            raise Denial("LIMIT")
        select.set("limit", exp.Limit(expression=exp.Literal.number(fragment.limit)))
    return text_of(select)


def _output(name: str, declared: str) -> Output:
    if len(declared) > TYPE_CHARACTERS:
        raise Denial("BAD_TYPE")
    try:
        wire = wire_type(declared)
    except Error:
        raise Denial("BAD_TYPE") from None
    known = known_type(declared)
    # What is text on the wire (an ENUM) needs no detour over its declared type.
    detour = known is not None and known not in (wire, "NULL") and not is_enum(known)
    return Output(
        name=name,
        declared=_data_type(known) if known is not None and detour else None,
        wire=_data_type(wire),
        field=Field(name=name, type=wire),
    )


def _data_type(text: str) -> exp.DataType:
    try:
        built = exp.DataType.build(text, dialect="duckdb")
    except (SqlglotError, ValueError, AttributeError):
        raise Denial("BAD_TYPE") from None
    for node in built.walk():
        if isinstance(node, exp.DataType) and node.this not in TYPES:
            raise Denial("BAD_TYPE")
        if not isinstance(node, exp.DataType | exp.DataTypeParam | exp.Literal):
            raise Denial("BAD_TYPE")
    return built


def _grouped(value: exp.Expr, output: Output) -> exp.Expr:
    """A constant in GROUP BY or ORDER BY would be read as a position: its cast is not."""
    if value.find(exp.Column) is not None:
        return value
    return exp.Cast(this=value.copy(), to=output.wire.copy())


def _projection(value: exp.Expr, output: Output, *, may_fail: bool = True) -> exp.Expr:
    cast: exp.Expr = value.copy()
    kind = exp.Cast if may_fail else exp.TryCast
    if output.declared is not None:
        cast = kind(this=cast, to=output.declared.copy())
    return _alias(kind(this=cast, to=output.wire.copy()), output.name)


def _alias(value: exp.Expr, name: str) -> exp.Alias:
    return exp.Alias(this=value, alias=exp.to_identifier(name, quoted=True))


def _copies(nodes: Sequence[exp.Expr]) -> list[exp.Expr]:
    return [node.copy() for node in nodes]


def _picked(keys: Sequence[exp.Expr], chosen: Sequence[int]) -> list[exp.Expr]:
    if any(not 0 <= index < len(keys) for index in chosen):
        raise Denial("NODE_NOT_ALLOWED")
    return [keys[index].copy() for index in chosen]


def select_of(scope: Scope, projections: list[exp.Expr]) -> exp.Select:
    """SELECT of ``projections`` from the scope's sources, under its WHERE."""
    select = exp.Select(expressions=projections)
    select.set("from_", exp.From(this=_table(scope.sources[0])))
    select.set("joins", [_join(source) for source in scope.sources[1:]])
    if scope.where:
        select.set("where", exp.Where(this=_all(scope.where)))
    return select


def _table(source: Source) -> exp.Table | exp.Subquery:
    alias = exp.TableAlias(this=exp.to_identifier(source.use.alias, quoted=True))
    if source.inner is not None and source.use.derived is not None:
        return exp.Subquery(this=_derived(source.inner, source.use.derived), alias=alias)
    schema, _, name = source.rights.table.name.partition(".")
    return exp.Table(
        this=exp.to_identifier(name, quoted=True),
        db=exp.to_identifier(schema, quoted=True),
        alias=alias,
    )


def _derived(inner: Scope, derived: Derived) -> exp.Select:
    if any(DERIVED_NAMES.fullmatch(name.lower()) for name in derived.names):
        raise Denial("BAD_NAME")
    values = zip(inner.outputs, derived.names, strict=True)
    outputs: list[exp.Expr] = [_alias(value.copy(), name) for value, name in values]
    outputs += [_alias(value, name) for name, value in rows_behind(inner)]
    keys = [inner.outputs[place].copy() for place in sorted(derived.keys)]
    if with_public(inner):
        outputs.append(_alias(rows_within(inner, keys), ONCE))
    select = select_of(inner, outputs)
    select.set("group", exp.Group(expressions=keys))
    return select


def _join(source: Source) -> exp.Join:
    kind = source.use.kind
    join = exp.Join(this=_table(source))
    if kind in ("left", "right", "full"):
        join.set("side", kind.upper())
    else:
        join.set("kind", kind.upper())
    if source.conditions:
        join.set("on", _all(source.conditions))
    elif kind != "cross":
        raise Denial("JOIN_TYPE")
    return join


def _all(terms: Sequence[exp.Expr]) -> exp.Expr:
    return exp.and_(*(term.copy() for term in terms), copy=False)


def _ordered(value: exp.Expr, descending: bool, nulls_first: bool) -> exp.Ordered:
    return exp.Ordered(this=value.copy(), desc=descending, nulls_first=nulls_first)


def text_of(select: exp.Select) -> str:
    return select.sql(dialect="duckdb", comments=False)
