"""What each unit adds to a figure, row by row: what the overlap guard compares figures by.

Rule to keep: a row of a table has one mark, whatever it is joined with and whether a derived table
stands between; how often it is there counts. So no detour to the same rows looks like other ones.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlglot import exp

from podsql.policy.populations import Population, filtered, row_of
from podsql.policy.scope import Scope, Source

ROWS: Final = "_rows"
"""A derived table's hidden column: the mark of the rows behind each of its own.

``_rows0``, … list the marks of those rows, one column for each way to mark them.
"""


def named_shares(
    populations: Sequence[Population], scope: Scope, protected: tuple[Source, ...], salt: str
) -> list[exp.Expr]:
    """Of every population that figures are about; without a figure, who is in the group."""
    figures = [(one, added) for one in populations for added in sorted(one.adds)]
    return [
        _named_shares(one, marks_of(scope) if added == "rows" else [], protected, salt)
        for one, added in figures or [(one, "units") for one in populations]
    ]


def _named_shares(
    population: Population,
    marks: Sequence[tuple[str, exp.Expr]],
    protected: tuple[Source, ...],
    salt: str,
) -> exp.Expr:
    """One entry for each row of ``population``: a name of its unit, and its marks.

    They mean nothing outside the pod, and are the same after a refresh that keeps the row. A
    count of units has one entry each, without a mark: only who they are is in it.
    """
    unit = population.unit if population.unit is not None else row_of(protected)
    texts = [(name, mark.sql("duckdb")) for name, mark in marks]
    listed: exp.Expr = exp.maybe_parse(
        share_list(unit.sql("duckdb"), texts, salt), dialect="duckdb"
    )
    known: exp.Expr = exp.Not(this=exp.Is(this=exp.paren(unit.copy()), expression=exp.Null()))
    if population.condition is not None:
        known = exp.and_(known, population.condition, copy=True)
    return filtered(listed, known)


def share_list(unit: str, marks: list[tuple[str, str]], salt: str) -> str:
    """SQL of a list of entries: ``u``, and every mark by its name."""
    fields = [f"'u': md5_number_lower('{salt}' || CAST({unit} AS VARCHAR))"]
    fields += [f"'{name}': {mark}" for name, mark in marks]
    return f"list({'' if marks else 'DISTINCT '}{{{', '.join(fields)}}})"


def marks_of(scope: Scope) -> list[tuple[str, exp.Expr]]:
    """Names and marks: ``r`` of the row as joined and of each table's own, ``l`` of rows behind it."""
    marks = [(f"r{place}", mark) for place, mark in enumerate(_marks(scope))]
    behind = [
        exp.column(f"{ROWS}{place}", table=source.use.alias, quoted=True)
        for source in scope.sources
        if source.inner is not None and not source.hidden
        for place in range(len(_marks(source.inner)))
    ]
    return marks + [(f"l{place}", mark) for place, mark in enumerate(behind)]


def rows_behind(inner: Scope) -> Iterator[tuple[str, exp.Expr]]:
    """The hidden columns of a derived table, each with its name."""
    marks = _marks(inner)
    one = exp.Cast(this=marks[0], to=exp.DataType.build("HUGEINT"))
    yield ROWS, exp.Anonymous(this="hash", expressions=[exp.Sum(this=one)])
    for place, mark in enumerate(marks):
        yield f"{ROWS}{place}", exp.Anonymous(this="list", expressions=[mark.copy()])


def _marks(scope: Scope) -> list[exp.Expr]:
    """The mark of a row as joined, which public tables are part of; then of each table's own.

    A mark is of all that an analyst may know: rows that are equal in that are in the same groups.
    """
    owned = [_columns(source) for source in scope.sources if not source.hidden]
    together = [column for columns in owned for column in columns]
    apart = owned if len(owned) > 1 else []
    return [
        exp.Anonymous(
            this="hash",
            expressions=[one.copy() for one in columns] or [exp.Literal.number(0)],
        )
        for columns in (together, *apart)
    ]


def _columns(source: Source) -> list[exp.Expr]:
    names = [ROWS]
    if source.inner is None:
        names = [column.name for column in source.rights.columns.values()]
    return [exp.column(name, table=source.use.alias, quoted=True) for name in names]
