"""What the conditions of a SELECT leave of each of its sources, before they are joined.

Rule to keep: a narrowed source gives the SELECT the same answer, as it is run unchanged: only rows go
that its own conditions drop, or that find no partner where only rows with one count. Partners are
public tables: of a large source only those rows, or groups, travel that meet a row of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from sqlglot import exp

from podsql.planner.catalog import Catalog, CatalogTable
from podsql.planner.rules.bind_tables import find_table, kind_of
from podsql.planner.rules.find_aggregates import aggregates_in, has_window
from podsql.planner.rules.find_queries import sources_of
from podsql.planner.rules.free_columns import Names, names_of
from podsql.planner.rules.prove_pod_local import conjuncts

_GROUPS: Final = frozenset({"expressions", "from_", "joins", "where", "group"})
"""Clauses of a derived table whose rows stand or fall by its keys alone."""
_MET: Final = "met"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tie:
    """Rows of ``near`` that equal no row of ``far``, a column of another source, do not count."""

    near: exp.Column
    far: exp.Column


@dataclass(slots=True, kw_only=True)
class Narrowing:
    """Per source (by lower-case alias) the conditions that its rows decide, and ties to others."""

    catalog: Catalog
    names: Names | None
    tables: dict[str, tuple[exp.Table, CatalogTable]] = field(default_factory=dict)
    derived: dict[str, exp.Subquery] = field(default_factory=dict)
    own: dict[str, list[exp.Expression]] = field(default_factory=dict)
    ties: list[_Tie] = field(default_factory=list)

    @classmethod
    def of(cls, select: exp.Select, catalog: Catalog, *, meets: bool) -> Self:
        """From ON and WHERE of ``select``. ``meets``: sources may be joined with public tables."""
        found = cls(catalog=catalog, names=names_of(select, catalog))
        open_to_where: set[str] = set()
        terms: list[tuple[exp.Expression, str, set[str], set[str]]] = []
        for holder in sources_of(select):
            node = holder.this
            alias = (node.alias_or_name or "").lower()
            kind = kind_of(holder)
            if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
                found.tables[alias] = (node.copy(), find_table(node, catalog)[0])
            elif isinstance(node, exp.Subquery) and not _renames(node):
                found.derived[alias] = node
            if kind in ("right", "full"):
                open_to_where.clear()
            if kind in ("from", "inner", "cross", "right"):
                open_to_where.add(alias)
            on = holder.args.get("on")
            if on is not None and kind in ("inner", "left", "semi", "anti"):
                reach = {alias} if kind != "inner" else {*open_to_where}
                # The right side of an outer or anti join only meets: it keeps no row of the left.
                tied = {alias} if kind in ("left", "anti") else {alias, *open_to_where}
                terms += [(term, alias, reach, tied) for term in conjuncts(on)]
        where = select.args.get("where")
        if where is not None:
            terms += [(term, "", open_to_where, open_to_where) for term in conjuncts(where.this)]
        for term, joining, reach, tied in terms:
            found._take(term, joining, reach, tied)
        if not meets:
            found.ties.clear()
        return found

    def _take(self, term: exp.Expression, joining: str, reach: set[str], tied: set[str]) -> None:
        if term.find(exp.Query) is not None or has_window(term) or any(aggregates_in(term)):
            return
        owners = {self._owner(column, joining) for column in term.find_all(exp.Column)}
        if "" in owners:
            return
        if len(owners) == 1 and owners <= reach and owners <= self.tables.keys():
            own = exp.paren(self._qualified(term, joining), copy=False)
            self.own.setdefault(min(owners), []).append(own)
        if len(owners) == 2 and isinstance(term, exp.EQ):
            sides = self._qualified(term, joining)
            one, two = sides.this, sides.expression
            if isinstance(one, exp.Column) and isinstance(two, exp.Column):
                self.ties += [
                    _Tie(near=near, far=far)
                    for near, far in ((one, two), (two, one))
                    if near.table.lower() in tied
                ]

    def _owner(self, column: exp.Column, joining: str) -> str:
        """The source that has the column, in the ON of ``joining``; empty if that is not sure."""
        if isinstance(column.this, exp.Star):
            return ""
        if column.table:
            holding = [column.table.lower()]
        elif self.names is None:
            return ""
        else:
            holding = [
                alias
                for alias, names in self.names.by_alias.items()
                if column.name.lower() in names
                and (alias not in self.names.hidden or alias == joining)
            ]
        known = len(holding) == 1 and (holding[0] in self.tables or holding[0] in self.derived)
        return holding[0] if known else ""

    def _qualified(self, term: exp.Expression, joining: str) -> exp.Expression:
        copy = term.copy()
        for column in copy.find_all(exp.Column):
            owner = self._owner(column, joining)
            node = self.tables[owner][0] if owner in self.tables else self.derived[owner]
            column.set("table", exp.to_identifier(node.alias_or_name, quoted=True))
        return copy

    def narrow(self, query: exp.Select, alias: str) -> bool:
        """Add to ``query``, which reads the table ``alias`` alone, what narrows it.

        True if it joins other tables now.
        """
        filters = self.own.get(alias.lower())
        if filters:
            query.set("where", exp.Where(this=exp.and_(*filters, copy=True)))
        _, table = self.tables[alias.lower()]
        if table.partitioned:
            return False
        met = [
            (other, equalities)
            for other, equalities in self._partners(alias.lower()).items()
            if self.tables[other][1].pods == table.pods
        ]
        for other, equalities in met:
            query.append("joins", self._join(other, equalities))
        return bool(met)

    def narrowed(self, alias: str) -> exp.Select | None:
        """The derived table ``alias`` without rows that find no partner; None if none are known."""
        known = self.derived.get(alias.lower())
        query = known.this if known is not None else None
        if not isinstance(query, exp.Select) or not _stands_by_keys(query):
            return None
        tables = [
            find_table(node, self.catalog)[0]
            for node in query.find_all(exp.Table)
            if isinstance(node.this, exp.Identifier)
        ]
        copy = query.copy()
        for other, equalities in self._partners(alias.lower()).items():
            partner = self.tables[other][1]
            inner = [(self._source_of(near), far) for near, far in equalities]
            keys = [(own, far) for own, far in inner if own is not None]
            present = all(set(table.pods) <= set(partner.pods) for table in tables)
            free = f"{self.tables[other][0].alias_or_name}.{_MET}".lower()
            if keys and present and free not in _aliases(copy):
                copy.append("joins", self._join(other, keys))
        return None if copy == query else copy

    def _partners(self, alias: str) -> dict[str, list[tuple[exp.Column, exp.Column]]]:
        """By public table with conditions of its own: equal columns of ``alias`` and of it."""
        met: dict[str, list[tuple[exp.Column, exp.Column]]] = {}
        for tie in self.ties:
            if tie.near.table.lower() != alias:
                continue
            for far in (tie.far, *self._equal_to(tie)):
                other = far.table.lower()
                if other == alias or not self.own.get(other) or self.tables[other][1].partitioned:
                    continue
                pairs = met.setdefault(other, [])
                if (tie.near, far) not in pairs:
                    pairs.append((tie.near, far))
        return met

    def _equal_to(self, tie: _Tie) -> Iterator[exp.Column]:
        """What the far column equals in turn: of one type, so that equality is transitive."""
        kind = self._type(tie.near)
        if kind is None or self._type(tie.far) != kind:
            return
        for next_tie in self.ties:
            if next_tie.near == tie.far and self._type(next_tie.far) == kind:
                yield next_tie.far

    def _type(self, column: exp.Column) -> str | None:
        """The type that a column has at every pod; None if it is not known."""
        alias = column.table.lower()
        if alias in self.tables:
            return _settled(self.tables[alias][1], column.name)
        source = self._source_of(column)
        if source is None:
            return None
        (node,) = [
            holder.this
            for holder in sources_of(self.derived[alias].this)
            if holder.this.alias_or_name == source.table
        ]
        return _settled(find_table(node, self.catalog)[0], source.name)

    def _source_of(self, column: exp.Column) -> exp.Column | None:
        """The column of a derived table's own sources that its output ``column`` is, if it is a key."""
        query = self.derived[column.table.lower()].this
        if not isinstance(query, exp.Select) or not _stands_by_keys(query):
            return None
        outputs = [
            item for item in query.expressions if item.alias_or_name.lower() == column.name.lower()
        ]
        value = outputs[0].unalias() if len(outputs) == 1 else None
        own = names_of(query, self.catalog)
        group = query.args.get("group")
        if not isinstance(value, exp.Column) or own is None:
            return None
        if group is not None and value not in group.expressions:
            return None
        owner = own.owner(value)
        written = [
            holder.this.alias_or_name
            for holder in sources_of(query)
            if holder.this.alias_or_name.lower() == owner and isinstance(holder.this, exp.Table)
        ]
        if len(written) != 1 or owner in own.hidden:
            return None
        return exp.column(value.name, table=written[0], quoted=True)

    def _join(self, other: str, equalities: list[tuple[exp.Column, exp.Column]]) -> exp.Join:
        """The semi join with ``other``, as far as its own conditions leave it."""
        node, _ = self.tables[other]
        name = exp.to_identifier(f"{node.alias_or_name}.{_MET}", quoted=True)
        partner = [*(far for _, far in equalities), *self.own[other]]
        conditions = [one.copy() for one in partner]
        for condition in conditions:
            for column in condition.find_all(exp.Column):
                column.set("table", name.copy())
        count = len(equalities)
        terms = [
            exp.EQ(this=near.copy(), expression=far)
            for (near, _), far in zip(equalities, conditions[:count], strict=True)
        ]
        source = exp.Table(
            this=node.this.copy(),
            db=node.args.get("db"),
            catalog=node.args.get("catalog"),
            alias=exp.TableAlias(this=name),
        )
        on = exp.and_(*terms, *conditions[count:], copy=False)
        return exp.Join(this=source, kind="SEMI", on=on)


def narrow_derived(select: exp.Select, catalog: Catalog) -> bool:
    """Leave out rows of the derived tables of ``select``, in place; True if any are narrowed."""
    narrowing = Narrowing.of(select, catalog, meets=True)
    found = False
    for holder in sources_of(select):
        if isinstance(holder.this, exp.Subquery):
            query = narrowing.narrowed(holder.this.alias)
            if query is not None:
                holder.this.set("this", query)
                found = True
    return found


def _stands_by_keys(query: exp.Select) -> bool:
    """Whether a row or group of ``query`` stays what it is, whichever others are left out."""
    if any(value for name, value in query.args.items() if value and name not in _GROUPS):
        return False
    group = query.args.get("group")
    if group is not None:
        plain = not any(v for name, v in group.args.items() if name != "expressions")
    else:
        plain = not any(any(aggregates_in(item)) for item in query.expressions)
    return plain and not any(has_window(item) for item in query.expressions)


def _settled(table: CatalogTable, name: str) -> str | None:
    """The type of a column that no pod has under another one."""
    found = table.column(name)
    return found.type if found is not None and not found.deviations else None


def _renames(node: exp.Subquery) -> bool:
    """Whether the columns of a derived table have other names outside, or it has no name itself."""
    alias = node.args.get("alias")
    return alias is None or not alias.name or bool(alias.args.get("columns"))


def _aliases(query: exp.Select) -> set[str]:
    return {str(holder.this.alias_or_name).lower() for holder in sources_of(query)}
