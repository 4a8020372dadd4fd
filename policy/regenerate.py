"""Checked trees -> the SQL a worker runs. Rule to keep: no byte of the analyst's text is copied.

Names are quoted, literals printed anew, outputs cast to wire types in the declared order.
"""

from collections.abc import Sequence

from sqlglot import exp
from sqlglot.errors import SqlglotError

from podsql.planner.fragment import Aggregate, Column, Field, Rows
from podsql.planner.wire_types import wire_type
from podsql.policy.denial import Denial
from podsql.policy.guard import GUARD
from podsql.policy.nodes import TYPES
from podsql.policy.scope import Scope, Source

GROUPING_ID = "grouping_id"
NAME_CHARACTERS = 255


def output_fields(fragment: Aggregate | Rows) -> tuple[Field, ...]:
    """Names and wire types of the fragment's outputs, in order; Denial on a bad name or type."""
    if isinstance(fragment, Rows):
        columns: tuple[Column, ...] = fragment.columns
    else:
        columns = (*fragment.keys, *fragment.aggregates)
    fields = [Field(name=column.name, type=_wire(column.type)) for column in columns]
    if isinstance(fragment, Aggregate) and fragment.grouping_sets is not None:
        fields.append(Field(name=GROUPING_ID, type="BIGINT"))
    folded = [field.name.lower() for field in fields]
    if len(set(folded)) != len(folded) or GUARD in folded:
        raise Denial("BAD_NAME")
    for field in fields:
        if not 0 < len(field.name) <= NAME_CHARACTERS or not field.name.isprintable():
            raise Denial("BAD_NAME")
    return tuple(fields)


def aggregate_sql(
    fragment: Aggregate, scope: Scope, fields: Sequence[Field], guard: exp.Expression | None
) -> str:
    """SELECT of keys, aggregates, grouping_id and guard, grouped by the keys."""
    count = len(fragment.keys)
    # A constant in GROUP BY would be read as a position: its cast is not.
    keys = [_grouped(key, field) for key, field in zip(scope.outputs[:count], fields, strict=False)]
    values = [*keys, *scope.outputs[count:]]
    projections = [_output(value, field) for value, field in zip(values, fields, strict=False)]
    if fragment.grouping_sets is not None:
        # DuckDB takes at least one argument.
        level = exp.Grouping(expressions=_copies(keys)) if keys else exp.Literal.number(0)
        projections.append(_output(level, fields[-1]))
    if guard is not None:
        projections.append(_alias(guard, GUARD))
    select = _select(scope, projections)
    if fragment.grouping_sets is not None:
        sets = [exp.Tuple(expressions=_picked(keys, chosen)) for chosen in fragment.grouping_sets]
        select.set("group", exp.Group(grouping_sets=[exp.GroupingSets(expressions=sets)]))
    elif keys:
        select.set("group", exp.Group(expressions=_copies(keys)))
    if guard is not None and keys:
        # The order in which a pod stores rows says something about them.
        places = [exp.Ordered(this=exp.Literal.number(place + 1)) for place in range(count)]
        select.set("order", exp.Order(expressions=places))
    return _text(select)


def rows_sql(fragment: Rows, scope: Scope, fields: Sequence[Field]) -> str:
    """SELECT of the columns, with the fragment's order and limit."""
    projections = [_output(value, field) for value, field in zip(scope.outputs, fields, strict=True)]
    select = _select(scope, projections)
    if fragment.order:
        terms = []
        for ordering in fragment.order:
            if not 0 <= ordering.column < len(fields):
                raise Denial("NODE_NOT_ALLOWED")
            value = _grouped(scope.outputs[ordering.column], fields[ordering.column])
            terms.append(_ordered(value, ordering.descending, ordering.nulls_first))
        select.set("order", exp.Order(expressions=terms))
    if fragment.limit is not None:
        if not 0 <= fragment.limit < 2**63:
            raise Denial("LIMIT")
        select.set("limit", exp.Limit(expression=exp.Literal.number(fragment.limit)))
    return _text(select)


def _wire(declared: str) -> str:
    _data_type(declared)
    found = wire_type(declared)
    _data_type(found)
    return found


def _data_type(text: str) -> exp.DataType:
    if len(text) > NAME_CHARACTERS:
        raise Denial("BAD_TYPE")
    try:
        built = exp.DataType.build(text, dialect="duckdb")
    except (SqlglotError, ValueError, AttributeError):
        raise Denial("BAD_TYPE") from None
    for node in built.walk():
        if isinstance(node, exp.DataType):
            if node.this not in TYPES and node.this not in (exp.DType.ENUM, exp.DType.ARRAY, exp.DType.LIST):
                raise Denial("BAD_TYPE")
        elif not isinstance(node, exp.DataTypeParam | exp.Literal):
            raise Denial("BAD_TYPE")
    return built


def _grouped(value: exp.Expression, field: Field) -> exp.Expression:
    if value.find(exp.Column) is not None:
        return value
    return exp.Cast(this=value.copy(), to=_data_type(field.type))


def _output(value: exp.Expression, field: Field) -> exp.Expression:
    return _alias(exp.Cast(this=value.copy(), to=_data_type(field.type)), field.name)


def _alias(value: exp.Expression, name: str) -> exp.Alias:
    return exp.Alias(this=value, alias=exp.to_identifier(name, quoted=True))


def _copies(nodes: Sequence[exp.Expression]) -> list[exp.Expression]:
    return [node.copy() for node in nodes]


def _picked(keys: Sequence[exp.Expression], chosen: Sequence[int]) -> list[exp.Expression]:
    if any(not 0 <= index < len(keys) for index in chosen):
        raise Denial("NODE_NOT_ALLOWED")
    return [keys[index].copy() for index in chosen]


def _select(scope: Scope, projections: list[exp.Expression]) -> exp.Select:
    select = exp.Select(expressions=projections)
    select.set("from_", exp.From(this=_table(scope.sources[0])))
    select.set("joins", [_join(source) for source in scope.sources[1:]])
    if scope.where:
        select.set("where", exp.Where(this=_all(scope.where)))
    return select


def _table(source: Source) -> exp.Table:
    schema, _, name = source.rights.table.name.partition(".")
    return exp.Table(
        this=exp.to_identifier(name, quoted=True),
        db=exp.to_identifier(schema, quoted=True),
        alias=exp.TableAlias(this=exp.to_identifier(source.use.alias, quoted=True)),
    )


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


def _all(terms: Sequence[exp.Expression]) -> exp.Expression:
    return exp.and_(*(term.copy() for term in terms), copy=False)


def _ordered(value: exp.Expression, descending: bool, nulls_first: bool) -> exp.Ordered:
    return exp.Ordered(this=value.copy(), desc=descending, nulls_first=nulls_first)


def _text(select: exp.Select) -> str:
    return select.sql(dialect="duckdb", comments=False)
