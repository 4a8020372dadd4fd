"""Write subqueries of WHERE as joins, so that a pod can run them beside its rows.

EXISTS and IN become semi joins, NOT EXISTS and, of public tables, NOT IN anti joins; a scalar
aggregate that is tied to the row by equalities becomes a left join with its groups. Rule to keep: equal rows for every table, NULLs
and empty groups included; what cannot be shown to be equal stays a subquery.
"""

from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from podsql.planner.catalog import Catalog
from podsql.planner.functions import MEANS, PAIRS, SAME, SHAPES, SPREADS, SUMS
from podsql.planner.rules.bind_tables import find_table, kind_of
from podsql.planner.rules.find_aggregates import aggregate_name, aggregates_in, has_window
from podsql.planner.rules.find_queries import queries_in, sources_of, subqueries_of
from podsql.planner.rules.free_columns import Names, free_columns, names_of
from podsql.planner.rules.prove_pod_local import conjuncts
from podsql.planner.scope import column as named

_PLAIN: Final = frozenset({"expressions", "from_", "where"})
_COUNTS: Final = frozenset({"count", "count_star", "regr_count", "approx_count_distinct"})
_NULLS: Final = frozenset({"count_if", "median", *MEANS, *PAIRS, *SAME, *SHAPES, *SPREADS, *SUMS})
"""NULL over no rows, as the columns of a left join are that finds none."""


def unnest_subqueries(select: exp.Select, catalog: Catalog, *, meets: bool) -> bool:
    """Rewrite the WHERE of ``select`` in place; its subqueries are rewritten already.

    ``meets``: public tables may be met that a policy could keep apart. True if some are.
    """
    where = select.args.get("where")
    outer = names_of(select, catalog)
    if where is None or outer is None or not sources_of(select):
        return False
    kept: list[exp.Expression] = []
    step = _Step(select=select, catalog=catalog, outer=outer, meets=meets)
    for term in conjuncts(where.this):
        if not step.rewrite(term):
            kept.append(term)
    if step.made:
        terms = [term.copy() for term in (*kept, *step.added)]
        select.set("where", exp.Where(this=exp.and_(*terms, copy=False)) if terms else None)
    return bool(step.added)


@dataclass(slots=True, kw_only=True)
class _Step:
    select: exp.Select
    catalog: Catalog
    outer: Names
    meets: bool
    made: int = 0
    added: list[exp.Expression] = field(default_factory=list)
    """Conditions that stand beside the joins."""

    def rewrite(self, term: exp.Expression) -> bool:
        """Whether ``term`` is now a join. A comparison with a scalar is changed in place and stays."""
        negated = isinstance(term, exp.Not)
        inner: exp.Expr = term.this.unnest() if isinstance(term, exp.Not) else term
        if isinstance(inner, exp.Exists):
            return self._exists(inner.this.unnest(), anti=negated)
        if isinstance(inner, exp.In) and inner.args.get("query"):
            return self._no_member(inner) if negated else self._member(inner)
        for query in queries_in(term):
            self._scalar(query)
        return False

    def _exists(self, query: exp.Expr, *, anti: bool) -> bool:
        if not isinstance(query, exp.Select) or not _only(query, _PLAIN):
            return False
        if any(any(aggregates_in(item)) for item in query.expressions):
            return False
        table = self._one_table(query)
        if table is None:
            return False
        own = names_of(query, self.catalog)
        read = [column for item in query.expressions for column in item.find_all(exp.Column)]
        read = [column for column in read if not isinstance(column.this, exp.Star)]
        if own is None or any((own.owner(c) or self.outer.owner(c)) is None for c in read):
            return False
        where = query.args.get("where")
        condition = self._condition(query, table, where.this if where is not None else None)
        if condition is None:
            return False
        self._join(table, "ANTI" if anti else "SEMI", condition)
        return True

    def _member(self, node: exp.In) -> bool:
        query = node.args["query"].unnest()
        if not isinstance(query, exp.Select) or len(query.expressions) != 1:
            return False
        if free_columns(query, self.catalog) != [] and not _only(query, _PLAIN):
            return False
        (item,) = query.expressions
        value = item.unalias()
        if (
            not self._owned(node.this)
            or isinstance(node.this, exp.Tuple)
            or has_window(value)
            or value.find(exp.Query, exp.Star)
        ):
            return False
        if _only(query, _PLAIN) and not any(aggregates_in(value)):
            table = self._one_table(query)
            if table is not None:
                return self._equal(node, query, value, table, "SEMI")
        return self._member_of_groups(node, query, value)

    def _equal(
        self,
        node: exp.In,
        query: exp.Select,
        value: exp.Expression,
        table: exp.Table,
        kind: str,
    ) -> bool:
        """A join with the rows of ``query``, over one table, whose ``value`` is that of ``node``."""
        where = query.args.get("where")
        equal = exp.EQ(this=value.copy(), expression=exp.Literal.string(""))
        terms = [equal, *([where.this.copy()] if where is not None else [])]
        probe = query.copy()
        probe.set("where", exp.Where(this=exp.and_(*terms, copy=False)))
        condition = self._condition(probe, table, probe.args["where"].this)
        if condition is None:
            return False
        first = next(iter(conjuncts(condition)))
        first.set("expression", _apart(self._outer(node.this)))
        self._join(table, kind, condition)
        return True

    def _no_member(self, node: exp.In) -> bool:
        """``x NOT IN (SELECT k …)`` of a public table: an anti join, and what NULLs make of it.

        It is true of every x if there are no rows, else of no x if a k is NULL, nor of an x that is.
        """
        query = node.args["query"].unnest()
        if not self.meets or not isinstance(query, exp.Select) or len(query.expressions) != 1:
            return False
        value, table = query.expressions[0].unalias(), self._one_table(query)
        if not _only(query, _PLAIN) or table is None or not isinstance(value, exp.Column):
            return False
        if find_table(table, self.catalog)[0].partitioned:
            return False
        if free_columns(query, self.catalog) != [] or not self._alike(node.this, query, value):
            return False
        state = query.copy()
        if not self._equal(node, query, value, table.copy(), "ANTI"):
            return False
        rows = exp.Count(this=exp.Star())
        met = exp.Count(this=value.copy())
        zero, one, two = map(exp.Literal.number, range(3))
        found = exp.case().when(exp.EQ(this=rows, expression=zero), zero)
        found = found.when(exp.EQ(this=met, expression=rows.copy()), one).else_(two)
        state.set("expressions", [found])
        null = exp.Is(this=self._outer(node.this), expression=exp.Null())
        most = exp.case().when(null, zero.copy()).else_(one.copy())
        self.added.append(exp.LTE(this=exp.Subquery(this=state), expression=most))
        return True

    def _alike(self, outer: exp.Expression, query: exp.Select, value: exp.Column) -> bool:
        """Whether both are columns of tables, of one type at every pod: then IN means ``=``."""
        own = names_of(query, self.catalog)
        if own is None or not isinstance(outer, exp.Column):
            return False
        kinds = [
            self._kind(self.select, self.outer.owner(outer), outer),
            self._kind(query, own.owner(value), value),
        ]
        return kinds[0] is not None and kinds[0] == kinds[1]

    def _kind(self, select: exp.Select, owner: str | None, column: exp.Column) -> str | None:
        for holder in sources_of(select):
            table = holder.this
            if table.alias_or_name.lower() == owner and isinstance(table, exp.Table):
                found = find_table(table, self.catalog)[0].column(column.name)
                return found.type if found is not None and not found.deviations else None
        return None

    def _member_of_groups(self, node: exp.In, query: exp.Select, value: exp.Expression) -> bool:
        """``x IN (SELECT k … [GROUP BY k HAVING …])``: a semi join with the groups of k."""
        allowed = _PLAIN | {"joins", "group", "having", "distinct"}
        if free_columns(query, self.catalog) != [] or not _only(query, allowed):
            return False
        if not isinstance(value, exp.Column) or subqueries_of(query):
            return False
        group = query.args.get("group")
        if group is not None:
            keys = group.expressions
            if any(v for name, v in group.args.items() if name != "expressions"):
                return False
            if len(keys) != 1 or not _same_column(keys[0], value):
                return False
        having = query.args.get("having")
        if having is not None and group is None:
            return False
        derived = _with_clauses(query, "from_", "joins", "where")
        derived.set("expressions", [exp.alias_(value.copy(), ".c0", quoted=True)])
        derived.set("group", exp.Group(expressions=[value.copy()]))
        alias = self._fresh("member")
        condition: exp.Condition = exp.EQ(
            this=_apart(self._outer(node.this)), expression=named(alias, ".c0")
        )
        if having is not None:
            over = _over(having.this, alias, derived, value)
            if over is None:
                return False
            condition = exp.and_(condition, exp.paren(over, copy=False), copy=False)
        self._join_derived(derived, alias, condition, kind="SEMI")
        return True

    def _scalar(self, query: exp.Expression) -> None:
        """An aggregate of the rows that have what this row has: a left join with the groups."""
        if not isinstance(query, exp.Select) or not _only(query, _PLAIN | {"joins"}):
            return
        if len(query.expressions) != 1 or not isinstance(query.parent, exp.Subquery):
            return
        free = free_columns(query, self.catalog)
        own = names_of(query, self.catalog)
        where = query.args.get("where")
        value = query.expressions[0].unalias()
        if not free or own is None or where is None or not any(aggregates_in(value)):
            return
        outside = {id(column) for column in free}
        ties: list[tuple[exp.Column, exp.Expression]] = []
        rest: list[exp.Expression] = []
        for term in conjuncts(where.this):
            inside = [id(column) in outside for column in term.find_all(exp.Column)]
            if not any(inside):
                rest.append(term)
                continue
            tie = _tie(term, outside)
            if tie is None:
                return
            ties.append(tie)
        used = {id(column) for column in where.this.find_all(exp.Column)}
        if any(id(one) not in used or self.outer.owner(one) is None for one in free):
            return
        derived = _with_clauses(query, "from_", "joins")
        if rest:
            terms = [term.copy() for term in rest]
            derived.set("where", exp.Where(this=exp.and_(*terms, copy=False)))
        keys = [own_side for own_side, _ in ties]
        derived.set(
            "expressions",
            [exp.alias_(key.copy(), f".c{n}", quoted=True) for n, key in enumerate(keys)],
        )
        derived.set("group", exp.Group(expressions=[key.copy() for key in keys]))
        alias = self._fresh("scalar")
        over = _over(value, alias, derived, None)
        if over is None or not self._close_stars():
            return
        equalities = [
            exp.EQ(this=named(alias, f".c{n}"), expression=_apart(self._outer(side)))
            for n, (_, side) in enumerate(ties)
        ]
        condition = exp.and_(*equalities, copy=False)
        query.parent.replace(exp.paren(over, copy=False))
        self._join_derived(derived, alias, condition, side="LEFT")

    def _close_stars(self) -> bool:
        """Whether a star stands for what it did, with one source more: it is written per source."""
        items = self.select.expressions
        if not any(isinstance(item, exp.Star) for item in items):
            return True
        holders = sources_of(self.select)
        merged = any(holder.args.get("using") or holder.args.get("method") for holder in holders)
        if merged or any(any(one.args.values()) for one in items if isinstance(one, exp.Star)):
            return False
        shown = [
            exp.column(exp.Star(), table=exp.to_identifier(holder.this.alias_or_name, quoted=True))
            for holder in holders
            if kind_of(holder) not in ("semi", "anti")
        ]
        self.select.set(
            "expressions",
            [
                one
                for item in items
                for one in (
                    [star.copy() for star in shown] if isinstance(item, exp.Star) else [item]
                )
            ],
        )
        return True

    def _one_table(self, query: exp.Select) -> exp.Table | None:
        holders = sources_of(query)
        table = holders[0].this if len(holders) == 1 else None
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            return None
        alias = table.args.get("alias")
        return None if alias is not None and alias.args.get("columns") else table

    def _condition(
        self, query: exp.Select, table: exp.Table, condition: exp.Expression | None
    ) -> exp.Expression | None:
        """The WHERE of a subquery as a condition of a join; the table gets a new alias."""
        own = names_of(query, self.catalog)
        if own is None or (condition is not None and condition.find(exp.Query) is not None):
            return None
        if condition is None:
            condition = exp.true()
        alias = self._fresh(table.alias or table.name)
        renamed: list[tuple[exp.Column, str | None]] = []
        for column in condition.find_all(exp.Column):
            if own.owner(column) is not None:
                renamed.append((column, alias))
            elif self.outer.owner(column) is not None:
                renamed.append((column, self.outer.owner(column)))
            else:
                return None
        copies = condition.copy()
        for (_, new), column in zip(renamed, copies.find_all(exp.Column), strict=True):
            column.set("table", exp.to_identifier(new, quoted=True))
        table.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
        return copies

    def _owned(self, tree: exp.Expression) -> bool:
        return tree.find(exp.Query) is None and all(
            self.outer.owner(column) is not None for column in tree.find_all(exp.Column)
        )

    def _outer(self, side: exp.Expression) -> exp.Expression:
        copy = side.copy()
        for column in copy.find_all(exp.Column):
            owner = self.outer.owner(column)
            column.set("table", exp.to_identifier(owner, quoted=True))
        return copy

    def _fresh(self, base: str) -> str:
        self.made += 1
        name = f"{base}.{self.made}"
        return self._fresh(base) if name.lower() in self.outer.by_alias else name

    def _join(self, table: exp.Expr, kind: str, condition: exp.Expr) -> None:
        self.select.append("joins", exp.Join(this=table.copy(), kind=kind, on=condition))

    def _join_derived(
        self,
        derived: exp.Select,
        alias: str,
        condition: exp.Expr,
        *,
        kind: str = "",
        side: str = "",
    ) -> None:
        source = exp.Subquery(
            this=derived, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
        )
        self.select.append(
            "joins", exp.Join(this=source, kind=kind or None, side=side or None, on=condition)
        )


def _only(query: exp.Select, names: frozenset[str]) -> bool:
    return all(name in names for name, value in query.args.items() if value)


def _with_clauses(query: exp.Select, *names: str) -> exp.Select:
    """A SELECT of nothing yet, with these clauses of ``query``."""
    copy = query.copy()
    return exp.Select(**{name: copy.args[name] for name in names if copy.args.get(name)})


def _same_column(one: exp.Expression, other: exp.Column) -> bool:
    return (
        isinstance(one, exp.Column)
        and one.name.lower() == other.name.lower()
        and (not one.table or not other.table or one.table.lower() == other.table.lower())
    )


def _tie(term: exp.Expression, outside: set[int]) -> tuple[exp.Column, exp.Expression] | None:
    """The own column and the outer expression that ``term`` equates."""
    if not isinstance(term, exp.EQ):
        return None
    for own, other in ((term.this, term.expression), (term.expression, term.this)):
        columns = list(other.find_all(exp.Column))
        if (
            isinstance(own, exp.Column)
            and id(own) not in outside
            and columns
            and all(id(column) in outside for column in columns)
            and other.find(exp.Query) is None
        ):
            return own, other
    return None


def _over(
    tree: exp.Expression, alias: str, derived: exp.Select, key: exp.Column | None
) -> exp.Expression | None:
    """``tree`` with each aggregate as an output of ``derived``, and the key as its first one.

    None if it names anything else. A count over no rows is 0, any other aggregate NULL.
    """
    copy = tree.copy()
    holder = exp.paren(copy, copy=False)
    for node in list(aggregates_in(copy)):
        whole = node.parent if isinstance(node.parent, exp.Filter) else node
        name = aggregate_name(node) or ""
        output = f".a{len(derived.expressions)}"
        derived.append("expressions", exp.alias_(whole.copy(), output, quoted=True))
        value: exp.Expression = named(alias, output)
        if name not in _COUNTS | _NULLS:
            return None
        if name in _COUNTS:
            value = exp.Coalesce(this=value, expressions=[exp.Literal.number(0)])
        whole.replace(value)
    copy = holder.this
    for column in list(copy.find_all(exp.Column)):
        if column.table == alias:
            continue
        if key is None or not _same_column(column, key):
            return None
        column.replace(named(alias, ".c0"))
    found: exp.Expression = holder.this
    return found


def _apart(tree: exp.Expression) -> exp.Expression:
    """In parentheses, where an operator beside it could take a part of it."""
    return tree if isinstance(tree, exp.Column | exp.Literal) else exp.paren(tree, copy=False)
