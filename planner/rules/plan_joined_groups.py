"""Group at the pods what only the analyst can join: eager aggregation.

The sources of the aggregates' arguments, and those that can be joined to them pod by pod, become one
part: its rows are grouped by every value that the rest of the statement needs of them. The analyst
joins these groups with the other parts and adds up. Sums, counts and extremes of rows are those of
their groups, as often as a join repeats them (Yan and Larson, VLDB 1995).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog
from podsql.planner.plan import Plan
from podsql.planner.rules.bind_tables import find_table, kind_of
from podsql.planner.rules.find_aggregates import Call, aggregates_in, call_of, has_window
from podsql.planner.rules.find_queries import aliases_of, sources_of, subqueries_of
from podsql.planner.rules.free_columns import Names, free_columns, names_of, own_columns
from podsql.planner.rules.narrow_sources import Narrowing
from podsql.planner.rules.over_groups import is_aggregate
from podsql.planner.rules.plan_at_analyst import PlanPart, PlanTable, Step
from podsql.planner.rules.plan_rows import is_row_value
from podsql.planner.rules.prove_pod_local import conjuncts
from podsql.planner.rules.resolve_columns import position_of, unwrapped
from podsql.planner.trees import is_query, with_children
from podsql.planner.wire_types import FLOATS

GROUPED: Final = "grouped"
_OUTPUT: Final = re.compile("[hp][0-9]+")
"""Names of its columns."""
_ADDED: Final = frozenset({"count", "count_star", "sum", "avg"})
_SAME: Final = frozenset({"min", "max", "bool_and", "bool_or", "bit_and", "bit_or"})
_SETS: Final = (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple)
_BLIND: Final = (exp.Predicate, exp.Connector, exp.Not, exp.Paren, exp.Column, exp.Alias, exp.Case)
_BLIND_TOO: Final = (exp.If, exp.Coalesce, exp.Group, exp.Having, exp.Order, exp.Ordered, *_SETS)
"""What means the same for both zeros."""
_TIED: Final = ("left", "semi", "anti")
"""Kinds of joins whose condition stays with them."""
_CLAUSES: Final = ("expressions", "group", "having", "qualify", "order")

Fits = Callable[[exp.Select], bool]
"""Whether every pod can run a SELECT over its own rows."""


def plan_joined_groups(
    select: exp.Select,
    catalog: Catalog,
    *,
    plan_part: PlanPart,
    plan_table: PlanTable,
    fits: Fits,
    meets: bool,
) -> Plan:
    """The plan of a grouped SELECT over sources that do not all meet in the pods."""
    tree = select.copy()
    names = names_of(tree, catalog)
    if names is None or any(join.args.get("using") for join in tree.args.get("joins") or ()):
        raise _unfit()
    if any(free_columns(query, catalog) != [] for query in subqueries_of(tree)):
        raise _unfit()
    _qualify(tree, names)
    groups = _Groups(tree=tree, names=names, catalog=catalog, fits=fits)
    groups.choose()
    step = Step(
        catalog=catalog, plan_part=plan_part, plan_table=plan_table, counted=True, meets=meets
    )
    rest = groups.rest()
    table = step.add(plan_table(groups.inner()))
    step.replace_sources(rest, narrowing=Narrowing.of(tree, catalog, meets=meets))
    table.set("alias", exp.TableAlias(this=exp.to_identifier(GROUPED)))
    first = rest.args["from_"]
    joins = [exp.Join(this=first.this, kind="CROSS"), *(rest.args.get("joins") or ())]
    rest.set("from_", exp.From(this=table))
    rest.set("joins", joins)
    return step.finish(rest, crossing=True)


def _unfit() -> Error:
    return error("NOT_LOCAL", "the statement cannot be grouped before it is joined")


def _qualify(tree: exp.Select, names: Names) -> None:
    """Name the source of every column; a name that stays bare is an alias of the select list."""
    aliases = aliases_of(tree)
    if any(_OUTPUT.fullmatch(alias) for alias in aliases):
        raise _unfit()
    for column in own_columns(tree):
        whole = isinstance(column.parent, exp.Ordered)
        if whole and not column.table and column.name.lower() in aliases:
            continue
        owner = names.owner(column)
        if owner is not None:
            column.set("table", exp.to_identifier(owner, quoted=True))
            column.set("this", exp.to_identifier(column.name.lower(), quoted=True))
        elif column.table or column.name.lower() not in aliases:
            raise _unfit()


@dataclass(slots=True, kw_only=True)
class _Groups:
    """Which sources are grouped at the pods, and what the rest needs of them."""

    tree: exp.Select
    names: Names
    catalog: Catalog
    fits: Fits
    inside: set[str] = field(default_factory=set)
    keys: list[exp.Expression] = field(default_factory=list)
    pieces: list[exp.Expression] = field(default_factory=list)
    terms: list[exp.Expression] = field(default_factory=list)
    """Of WHERE and of inner joins."""
    groups: list[exp.Expression] = field(default_factory=list)

    def choose(self) -> None:
        """Start from the sources of the aggregates, and take in what can be joined to them."""
        holders = sources_of(self.tree)
        for holder in holders:
            kind = kind_of(holder)
            if kind in ("right", "full"):
                raise _unfit()
            if kind == "inner":
                self.terms += conjuncts(holder.args["on"])
        where = self.tree.args.get("where")
        if where is not None:
            self.terms += conjuncts(where.this)
        calls = [
            node for name in _CLAUSES for one in self._clause(name) for node in aggregates_in(one)
        ]
        calls = [node.parent if isinstance(node.parent, exp.Filter) else node for node in calls]
        if not calls or any(node.find(exp.Query) is not None for node in calls):
            raise _unfit()
        for node in calls:
            self.inside |= _owners(node)
        if not self.inside:
            self.inside = {_alias(holders[0])}
        if not self._closed() or not self.fits(self._source()):
            raise _unfit()
        grown = True
        while grown:
            grown = False
            for holder in holders:
                alias = _alias(holder)
                if alias in self.inside or not self._linked(holder):
                    continue
                self.inside.add(alias)
                if self._closed() and self.fits(self._source()):
                    grown = True
                else:
                    self.inside.discard(alias)
        refined = any(node.find(exp.Distinct) is not None for node in calls)
        if len(self.inside) == len(holders) and not refined and not subqueries_of(self.tree):
            raise _unfit()

    def _clause(self, name: str) -> list[exp.Expression]:
        found = self.tree.args.get(name)
        if found is None:
            return []
        return list(found) if isinstance(found, list) else [found]

    def _closed(self) -> bool:
        """Outer, semi and anti joins of the inside are joins to the inside only."""
        tied = [
            holder
            for holder in sources_of(self.tree)
            if _alias(holder) in self.inside and kind_of(holder) in _TIED
        ]
        return all(_owners(holder.args["on"]) <= self.inside for holder in tied)

    def _linked(self, holder: exp.Expression) -> bool:
        """Whether an equality ties the source to the inside."""
        alias = _alias(holder)
        if kind_of(holder) in _TIED:
            return _owners(holder.args["on"]) <= self.inside | {alias}
        tied = [_owners(term) for term in self.terms if isinstance(term, exp.EQ)]
        return any(
            alias in owners and owners & self.inside and owners <= self.inside | {alias}
            for owners in tied
        )

    def _source(self) -> exp.Select:
        """FROM and WHERE of the inside."""
        found = exp.Select(expressions=[exp.Literal.number(1)])
        joins = []
        for holder in sources_of(self.tree):
            if _alias(holder) not in self.inside:
                continue
            if found.args.get("from_") is None:
                if kind_of(holder) in _TIED:
                    raise _unfit()
                found.set("from_", exp.From(this=holder.this.copy()))
            elif kind_of(holder) in _TIED:
                joins.append(holder.copy())
            else:
                joins.append(exp.Join(this=holder.this.copy(), kind="CROSS"))
        found.set("joins", joins)
        own = [term.copy() for term in self.terms if self._is_inside(term)]
        if own:
            found.set("where", exp.Where(this=exp.and_(*own, copy=False)))
        return found

    def _is_inside(self, tree: exp.Expression) -> bool:
        owners = _owners(tree)
        return bool(owners) and owners <= self.inside and tree.find(exp.Query) is None

    def rest(self) -> exp.Select:
        """The statement over the groups and the other sources (the groups are not in FROM yet)."""
        made = exp.Select()
        for name, value in self.tree.args.items():
            if value and name not in (*_CLAUSES, "from_", "joins", "where"):
                made.set(name, value.copy() if isinstance(value, exp.Expression) else value)
        self._choose_groups()
        for name in _CLAUSES:
            found = self.tree.args.get(name)
            lift = self._lift if name == "group" else self._over_groups
            if isinstance(found, list):
                made.set(name, [_under_its_name(one, lift(one)) for one in found])
            elif found is not None:
                made.set(name, lift(found))
        joins = []
        for holder in sources_of(self.tree):
            if _alias(holder) in self.inside:
                continue
            if made.args.get("from_") is None and kind_of(holder) in ("from", "inner", "cross"):
                made.set("from_", exp.From(this=holder.this.copy()))
            elif kind_of(holder) in _TIED:
                copy = holder.copy()
                copy.set("on", self._lift(holder.args["on"]))
                joins.append(copy)
            else:
                joins.append(exp.Join(this=holder.this.copy(), kind="CROSS"))
        if made.args.get("from_") is None:
            made.set(
                "from_",
                exp.From(
                    this=exp.Values(
                        expressions=[exp.Tuple(expressions=[exp.Literal.number(1)])],
                        alias=exp.TableAlias(this=exp.to_identifier("nothing")),
                    )
                ),
            )
        made.set("joins", joins)
        left = [self._lift(term) for term in self.terms if not self._is_inside(term)]
        if left:
            made.set("where", exp.Where(this=exp.and_(*left, copy=False)))
        return made

    def inner(self) -> exp.Select:
        """The part that the pods group."""
        if not self.keys:
            raise _unfit()
        self._require_groupable()
        found = self._source()
        outputs = [exp.alias_(key.copy(), f"h{n}", quoted=True) for n, key in enumerate(self.keys)]
        outputs += [exp.alias_(p.copy(), f"p{n}", quoted=True) for n, p in enumerate(self.pieces)]
        found.set("expressions", outputs)
        found.set("group", exp.Group(expressions=[key.copy() for key in self.keys]))
        return found

    def _choose_groups(self) -> None:
        """What GROUP BY means: expressions, items by their place or alias, or ALL."""
        group = self.tree.args.get("group")
        if group is None:
            return
        items = self.tree.expressions
        if group.args.get("all"):
            self.groups = [one.unalias() for one in items if not any(aggregates_in(one))]
        aliases = {one.alias.lower(): one.this for one in items if isinstance(one, exp.Alias)}
        for value in group.args.values():
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, exp.Expression):
                    continue
                members = one.expressions if isinstance(one, _SETS) else [one]
                for member in members:
                    place = position_of(member, items)
                    if place is not None:
                        self.groups.append(items[place].unalias())
                    elif isinstance(member, exp.Column) and not member.table:
                        self.groups.append(aliases[member.name.lower()])
                    else:
                        self.groups.append(unwrapped(member))

    def _over_groups(self, tree: exp.Expression) -> exp.Expression:
        """A tree of the select list: groups whole, so that what is grouped is what is named."""
        whole = is_query(tree) or is_aggregate(tree) or isinstance(tree, exp.Column)
        if whole or tree in self.groups:
            return self._lift(tree)
        return with_children(tree, self._over_groups)

    def _require_groupable(self) -> None:
        """The keys are values that leave: every pod must let them."""
        for holder in sources_of(self.tree):
            if _alias(holder) not in self.inside or not isinstance(holder.this, exp.Table):
                continue
            table, _ = find_table(holder.this, self.catalog)
            used = {
                one.name.lower()
                for key in self.keys
                for one in key.find_all(exp.Column)
                if one.table == _alias(holder)
            }
            closed = [c.name for c in table.columns if c.name.lower() in used and not c.groupable]
            if closed or (used and table.partitioned and "distinct" not in table.disclosures):
                raise _unfit()

    def _lift(self, tree: exp.Expression) -> exp.Expression:
        """``tree`` over the groups: aggregates added up, values of the inside as keys."""
        if is_query(tree):
            return tree.copy()
        if is_aggregate(tree):
            return self._merged(call_of(tree))
        if self._is_inside(tree) and is_row_value(tree) and not any(aggregates_in(tree)):
            return self._key(tree)
        if not isinstance(tree, (*_BLIND, *_BLIND_TOO)) and self._signed(tree):
            raise _unfit()
        return with_children(tree, self._lift)

    def _signed(self, tree: exp.Expression) -> bool:
        """Whether doubles of the inside are in ``tree``: a key has lost the sign of its zero."""
        for holder in sources_of(self.tree):
            if _alias(holder) in self.inside and isinstance(holder.this, exp.Table):
                table, _ = find_table(holder.this, self.catalog)
                floats = {c.name.lower() for c in table.columns if c.type in FLOATS}
                for one in tree.find_all(exp.Column):
                    if one.table == _alias(holder) and one.name.lower() in floats:
                        return True
        return False

    def _key(self, tree: exp.Expression) -> exp.Expression:
        tree = unwrapped(tree)
        if tree not in self.keys:
            self.keys.append(tree)
        return exp.column(f"h{self.keys.index(tree)}", table=GROUPED)

    def _piece(self, tree: exp.Expression) -> exp.Expression:
        if tree not in self.pieces:
            self.pieces.append(tree)
        return exp.column(f"p{self.pieces.index(tree)}", table=GROUPED)

    def _merged(self, call: Call) -> exp.Expression:
        if any(any(aggregates_in(one)) or has_window(one) for one in call.arguments):
            raise _unfit()
        if call.distinct and call.name not in _SAME:
            return self._distinct(call)
        if call.name in _SAME and len(call.arguments) == 1:
            return exp.Anonymous(this=call.name, expressions=[self._piece(call.tree)])
        if call.name not in _ADDED or len(call.arguments) > 1:
            raise _unfit()
        if call.name in ("count", "count_star"):
            return _count(self._piece(call.tree))
        (value,) = call.arguments
        total = exp.Sum(this=self._piece(_call(exp.Sum(this=value.copy()), call)))
        if call.name == "sum":
            return total
        count = self._piece(_call(exp.Count(this=value.copy()), call))
        many = exp.Nullif(this=exp.Sum(this=count), expression=exp.Literal.number(0))
        return exp.Paren(this=exp.Div(this=exp.cast(total, "DOUBLE"), expression=many))

    def _distinct(self, call: Call) -> exp.Expression:
        """The values themselves are keys."""
        values = exp.Distinct(expressions=[self._key(value) for value in call.arguments])
        copy = exp.Anonymous(this=call.name, expressions=[values])
        if call.condition is None:
            return copy
        condition = exp.Where(this=self._key(exp.paren(call.condition.copy(), copy=False)))
        return exp.Filter(this=copy, expression=condition)


def _under_its_name(item: exp.Expression, lifted: exp.Expression) -> exp.Expression:
    """What is around the statement names its columns as they were."""
    if not isinstance(item, exp.Column):
        return lifted
    return exp.Alias(this=lifted, alias=exp.to_identifier(item.name, quoted=True))


def _count(piece: exp.Expression) -> exp.Expression:
    total = exp.Coalesce(this=exp.Sum(this=piece), expressions=[exp.Literal.number(0)])
    return exp.Cast(this=total, to=exp.DataType.build("BIGINT"))


def _call(tree: exp.Expression, call: Call) -> exp.Expression:
    if call.condition is None:
        return tree
    return exp.Filter(this=tree, expression=exp.Where(this=call.condition.copy()))


def _alias(holder: exp.Expression) -> str:
    return str(holder.this.alias_or_name).lower()


def _owners(tree: exp.Expression) -> set[str]:
    return {column.table.lower() for column in tree.find_all(exp.Column)}
