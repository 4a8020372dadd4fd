"""Names of a fragment -> tables and columns the analyst may name.

Rule to keep: after ``bind`` every column in a tree is ``"alias"."column"`` of a granted table, so
whatever follows (roles, guard, regeneration) works on resolved names only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from podsql.policy.denial import Denial
from podsql.policy.nodes import conjuncts
from podsql.policy.reading import Derived, Reading, TableUse
from podsql.policy.rights import ColumnRights, TableRights


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table of FROM with the rights on it. ``pairs``: what it is joined on, ``on``: the rest."""

    use: TableUse
    rights: TableRights
    conditions: tuple[exp.Expr, ...] = ()
    inner: "Scope | None" = None
    """Of a derived table: what it is made of."""

    @property
    def hidden(self) -> bool:
        """The right side of a semi or anti join: seen by its own condition only."""
        return self.use.kind in ("semi", "anti")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Sources in order, WHERE's terms, and output expressions, all with resolved names."""

    sources: tuple[Source, ...]
    where: tuple[exp.Expr, ...]
    outputs: tuple[exp.Expr, ...]

    def source(self, column: exp.Column) -> Source:
        """The source of a resolved column."""
        return next(found for found in self.sources if found.use.alias == column.table)

    def column(self, column: exp.Column) -> ColumnRights:
        """The rights on a resolved column."""
        return self.source(column).rights.columns[column.name.lower()]

    @property
    def tables(self) -> frozenset[str]:
        """Names of the pod's tables that are read, also within derived ones."""
        found: set[str] = set()
        for source in self.sources:
            found |= {source.rights.table.name} if source.inner is None else source.inner.tables
        return frozenset(found)

    @property
    def protected(self) -> frozenset[str]:
        """Those of them whose rows have a privacy unit to protect."""
        found: set[str] = set()
        for source in self.sources:
            if source.inner is not None:
                found |= source.inner.protected
            elif not source.rights.public:
                found.add(source.rights.table.name)
        return frozenset(found)

    def trees(self) -> tuple[exp.Expr, ...]:
        """Every expression of the fragment."""
        conditions = [term for found in self.sources for term in found.conditions]
        return (*conditions, *self.where, *self.outputs)

    def used(self, source: Source) -> frozenset[str]:
        """Lower-case names of the columns of ``source`` that the fragment mentions."""
        return frozenset(
            column.name.lower()
            for tree in self.trees()
            for column in tree.find_all(exp.Column)
            if column.table == source.use.alias
        )


Derive = Callable[[Scope, Derived], TableRights]
"""The rights on a derived table, given what it is made of."""


def bind(
    reading: Reading, tables: Mapping[str, TableRights], pod: str | None, derive: Derive
) -> Scope:
    """Resolve every name of ``reading`` among ``tables`` (by lower-case ``schema.table``).

    ``pod``: what ``_pod`` stands for; None if it may not be told.
    """
    sources: list[Source] = []
    merged: dict[str, str] = {}
    for use in reading.tables:
        inner = None
        if use.derived is not None:
            inner = bind(use.derived.reading, tables, pod, derive)
            rights = derive(inner, use.derived)
        else:
            found = tables.get(f"{use.schema or 'main'}.{use.table}".lower())
            if found is None:
                raise Denial("DENIED_TABLE")
            rights = found
        plain = Source(use=use, rights=rights, inner=inner)
        conditions = [_using_term(name, sources, plain, merged) for name in use.using]
        visible = [found for found in sources if not found.hidden] + [plain]
        conditions += [_resolve(term, visible, merged, pod) for term in conjuncts(use.on)]
        sources.append(replace(plain, conditions=tuple(conditions)))
    visible = [found for found in sources if not found.hidden]
    return Scope(
        sources=tuple(sources),
        where=tuple(_resolve(term, visible, merged, pod) for term in conjuncts(reading.where)),
        outputs=tuple(_resolve(output, visible, merged, pod) for output in reading.outputs),
    )


def _using_term(
    name: str, before: list[Source], joined: Source, merged: dict[str, str]
) -> exp.Expr:
    if joined.use.kind in ("right", "full"):
        # The merged column would be COALESCE of both sides.
        raise Denial("JOIN_TYPE")
    folded = name.lower()
    right = joined.rights.columns.get(folded)
    owners = [found for found in before if not found.hidden and folded in found.rights.columns]
    if right is None or not owners or (len(owners) > 1 and folded not in merged):
        raise Denial("JOIN_COLUMN")
    alias = merged.get(folded, owners[0].use.alias)
    merged[folded] = alias
    left = next(found for found in owners if found.use.alias == alias).rights.columns[folded]
    return exp.EQ(
        this=_named(alias, left.name),
        expression=_named(joined.use.alias, right.name),
    )


def _resolve(
    tree: exp.Expr, visible: list[Source], merged: dict[str, str], pod: str | None
) -> exp.Expr:
    def put(node: exp.Expr) -> exp.Expr:
        return _column(node, visible, merged, pod) if isinstance(node, exp.Column) else node

    return tree.transform(put)


def _column(
    node: exp.Column, visible: list[Source], merged: dict[str, str], pod: str | None
) -> exp.Expr:
    name, qualifier = node.name.lower(), node.table.lower()
    candidates = visible
    if node.args.get("db") is not None:
        schema = node.args["db"].name.lower()
        candidates = [found for found in visible if _is_unaliased(found, schema, qualifier)]
    elif qualifier:
        candidates = [found for found in visible if found.use.alias.lower() == qualifier]
    owners = [found for found in candidates if name in found.rights.columns]
    if not owners and name == "_pod" and candidates and pod is not None:
        return exp.Literal.string(pod)
    if not owners and not qualifier and name in {found.use.alias.lower() for found in visible}:
        raise Denial("ROW_LEVEL")
    if len(owners) > 1 and not qualifier and name in merged:
        owners = [found for found in owners if found.use.alias == merged[name]]
    if len(owners) != 1:
        raise Denial("PSEUDO_COLUMN" if name in ("rowid", "_ok", "_pod") else "DENIED_COLUMN")
    return _named(owners[0].use.alias, owners[0].rights.columns[name].name)


def _is_unaliased(source: Source, schema: str, table: str) -> bool:
    use = source.use
    return (
        use.alias == use.table
        and (use.schema or "main").lower() == schema
        and use.table.lower() == table
    )


def _named(alias: str, column: str) -> exp.Column:
    return exp.column(column, table=alias, quoted=True)
