"""What the conditions of a SELECT leave of each of its tables, before they are joined.

Rule to keep: a narrowed table gives the SELECT the same answer, as it is run unchanged: only rows go
that its own conditions drop. A public table is narrowed by other public ones too, so that of a large
one only those rows travel that find a partner.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from sqlglot import exp

from podsql.planner.catalog import Catalog, CatalogTable
from podsql.planner.rules.bind_tables import find_table, kind_of
from podsql.planner.rules.find_aggregates import aggregates_in, has_window
from podsql.planner.rules.find_queries import sources_of
from podsql.planner.rules.prove_pod_local import conjuncts


@dataclass(slots=True, kw_only=True)
class Narrowing:
    """Per table (by lower-case alias) the conditions that its rows decide, and equalities with others."""

    tables: dict[str, tuple[exp.Table, CatalogTable]] = field(default_factory=dict)
    own: dict[str, list[exp.Expression]] = field(default_factory=dict)
    ties: list[tuple[exp.Column, exp.Column]] = field(default_factory=list)
    """Columns of two tables: rows of either that find no equal in the other are dropped."""

    @classmethod
    def of(cls, select: exp.Select, catalog: Catalog) -> Self:
        """From ON and WHERE of ``select``."""
        found = cls()
        open_to_where: set[str] = set()
        terms: list[tuple[exp.Expression, set[str], set[str]]] = []
        for holder in sources_of(select):
            node = holder.this
            alias = (node.alias_or_name or "").lower()
            kind = kind_of(holder)
            if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
                found.tables[alias] = (node.copy(), find_table(node, catalog)[0])
            if kind in ("right", "full"):
                open_to_where.clear()
            if kind in ("from", "inner", "cross", "right"):
                open_to_where.add(alias)
            on = holder.args.get("on")
            if on is not None and kind in ("inner", "left", "semi", "anti"):
                reach = {alias} if kind != "inner" else {*open_to_where}
                tied = {alias, *open_to_where} if kind in ("inner", "semi") else set()
                terms += [(term, reach, tied) for term in conjuncts(on)]
        where = select.args.get("where")
        if where is not None:
            terms += [(term, open_to_where, open_to_where) for term in conjuncts(where.this)]
        for term, reach, tied in terms:
            found._take(term, reach, tied)
        return found

    def _take(self, term: exp.Expression, reach: set[str], tied: set[str]) -> None:
        if term.find(exp.Query) is not None or has_window(term) or any(aggregates_in(term)):
            return
        owners = {self._owner(column) for column in term.find_all(exp.Column)}
        if "" in owners:
            return
        if len(owners) == 1 and owners <= reach:
            own = exp.paren(self._qualified(term), copy=False)
            self.own.setdefault(min(owners), []).append(own)
        if len(owners) == 2 and owners <= tied and isinstance(term, exp.EQ):
            sides = self._qualified(term)
            if isinstance(sides.this, exp.Column) and isinstance(sides.expression, exp.Column):
                self.ties.append((sides.this, sides.expression))

    def _owner(self, column: exp.Column) -> str:
        """The table that has the column; empty if that is not sure."""
        if isinstance(column.this, exp.Star):
            return ""
        if column.table:
            return column.table.lower() if column.table.lower() in self.tables else ""
        holding = [a for a, (_, table) in self.tables.items() if table.column(column.name)]
        return holding[0] if len(holding) == 1 else ""

    def _qualified(self, term: exp.Expression) -> exp.Expression:
        copy = term.copy()
        for column in copy.find_all(exp.Column):
            node, _ = self.tables[self._owner(column)]
            column.set("table", exp.to_identifier(node.alias or node.name, quoted=True))
        return copy

    def narrow(self, query: exp.Select, alias: str) -> None:
        """Add to ``query``, which reads the table ``alias`` alone, what narrows it."""
        filters = self.own.get(alias.lower())
        if filters:
            query.set("where", exp.Where(this=exp.and_(*filters, copy=True)))
        for join in self._partners(alias.lower()):
            query.append("joins", join)

    def _partners(self, alias: str) -> Iterator[exp.Join]:
        """Semi joins with public tables that have conditions of their own."""
        _, table = self.tables[alias]
        met: dict[str, list[exp.Expression]] = {}
        for one, two in self.ties:
            for near, far in ((one, two), (two, one)):
                if near.table.lower() == alias and self.own.get(far.table.lower()):
                    met.setdefault(far.table.lower(), []).append(exp.EQ(this=near, expression=far))
        for other, equalities in met.items():
            node, partner = self.tables[other]
            if table.partitioned or partner.partitioned or table.pods != partner.pods:
                continue
            name = exp.to_identifier(f"{node.alias or node.name}.met", quoted=True)
            on = exp.and_(*equalities, *self.own[other], copy=True)
            for column in on.find_all(exp.Column):
                if column.table.lower() == other:
                    column.set("table", name.copy())
            source = exp.Table(
                this=node.this.copy(),
                db=node.args.get("db"),
                catalog=node.args.get("catalog"),
                alias=exp.TableAlias(this=name),
            )
            yield exp.Join(this=source, kind="SEMI", on=on)
