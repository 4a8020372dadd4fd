"""What a statement reads and selects, once bound: plain data between the rules."""

from dataclasses import dataclass, field

from sqlglot import exp

from podsql.planner.catalog import CatalogTable

POD_COLUMN = "_pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One table of FROM under its alias. ``pods``: a pod it was narrowed to by its name."""

    alias: str
    table: CatalogTable
    pod: str | None = None
    nullable: bool = False
    """True on the side of an outer join that may be filled with NULLs."""
    hidden: bool = False
    """The right side of a semi or anti join: only its own ON sees it."""
    inner: "Scope | None" = None
    """Of a derived table: the scope of its own SELECT."""

    def columns(self) -> list[tuple[str, exp.Expression]]:
        """Names and values of the columns a star stands for."""
        found = [c.name for c in self.table.columns if c.name.lower() != POD_COLUMN]
        return [(name, column(self.alias, name)) for name in found]

    def value(self, name: str) -> exp.Expression | None:
        """The value of the column of that name, whatever its case (``_pod`` included)."""
        wanted = name.lower()
        if wanted == POD_COLUMN:
            return column(self.alias, POD_COLUMN) if self.table.partitioned else None
        return next((v.copy() for n, v in self.columns() if n.lower() == wanted), None)


@dataclass(slots=True, kw_only=True)
class Scope:
    """The sources of one SELECT, and the columns that USING merged (lower-case name -> value)."""

    sources: tuple[Source, ...]
    merged: dict[str, exp.Expression] = field(default_factory=dict)
    conditions: dict[int, exp.Expression] = field(default_factory=dict)
    """What USING of the n-th join stands for."""

    def tables(self) -> "list[CatalogTable]":
        """The catalog's tables that are read, those within derived ones included."""
        found: list[CatalogTable] = []
        for source in self.sources:
            found += [source.table] if source.inner is None else source.inner.tables()
        return found

    def source(self, alias: str) -> Source | None:
        """The source of that alias, whatever its case."""
        wanted = alias.lower()
        return next((s for s in self.sources if s.alias.lower() == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One select item: resolved tree, and the name DuckDB gives the column of the answer."""

    tree: exp.Expression
    alias: str | None
    """As written with AS; None if the name is DuckDB's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """One ORDER BY term over resolved trees. ``position`` is set if it names a select item."""

    tree: exp.Expression
    descending: bool
    nulls_first: bool
    position: int | None = None


@dataclass(slots=True, kw_only=True)
class Query:
    """A resolved SELECT. ``source`` holds FROM, joins and WHERE only.

    ``names`` and ``types`` are the answer's, filled in once DuckDB has bound the statement.
    """

    scope: Scope
    source: exp.Select
    items: tuple[Item, ...]
    keys: tuple[exp.Expression, ...]
    grouping_sets: tuple[tuple[int, ...], ...] | None
    grouped: bool
    having: exp.Expression | None
    qualify: exp.Expression | None
    order: tuple[Sort, ...]
    distinct: bool
    limit: int | None
    offset: int
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


def column(alias: str, name: str) -> exp.Column:
    """A qualified, quoted column."""
    return exp.Column(
        this=exp.Identifier(this=name, quoted=True), table=exp.Identifier(this=alias, quoted=True)
    )


def columns_of(tree: exp.Expression) -> list[exp.Column]:
    """Every column a tree names."""
    return list(tree.find_all(exp.Column))
