"""Run a SELECT at the analyst, over what its parts release.

Every source is planned by itself: a subquery as a statement of its own, a table as the rows (or, where
rows do not leave, the counted groups) of the columns that are read and the conditions that concern
it alone. Rule to keep: the SELECT itself is not changed, so its meaning is DuckDB's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog, CatalogTable
from podsql.planner.fragment import Aggregate, Rows
from podsql.planner.plan import Block, Plan
from podsql.planner.rules.bind_tables import find_table
from podsql.planner.rules.find_aggregates import aggregates_in, has_window
from podsql.planner.rules.find_queries import arms_of, sources_of, star_of, subqueries_of
from podsql.planner.rules.narrow_sources import Narrowing
from podsql.planner.scope import POD_COLUMN, column
from podsql.planner.wire_types import FLOATS

PlanPart = Callable[[exp.Expression], Plan]
PlanTable = Callable[[exp.Select], Plan]

TIMES: Final = "_times"
"""How often a counted group occurs."""
UNBOUND: Final = frozenset({"UNKNOWN_COLUMN", "UNKNOWN_TABLE", "BINDING"})
"""What a query is refused with that names something outside it."""


def plan_at_analyst(
    select: exp.Select,
    catalog: Catalog,
    *,
    plan_part: PlanPart,
    plan_table: PlanTable,
    counted: bool,
    meets: bool,
) -> Plan:
    """The plan of ``select`` over its parts. ``counted``: tables may come as counted groups.

    ``plan_part`` plans a subquery in any way, ``plan_table`` what every pod runs by itself.
    ``meets``: the pods may be asked to join public tables so that less of a part travels.
    """
    step = Step(
        catalog=catalog, plan_part=plan_part, plan_table=plan_table, counted=counted, meets=meets
    )
    tree = select.copy()
    step.replace_sources(tree)
    return step.finish(tree, crossing=_crosses(select))


def joined(
    tree: exp.Expression, parts: list[Plan], texts: list[str] | None = None, *, crossing: bool
) -> Plan:
    """``tree`` over relations ``part…`` (see ``part_name``), each the answer of one of ``parts``."""
    if not parts:
        raise error("UNKNOWN_COLUMN", "a subquery names only what is outside it")
    texts = texts or [part.final for part in parts]
    ctes = ", ".join(
        f"{part_name(parts[: place + 1])} AS ({text})" for place, text in enumerate(texts)
    )
    blocks: list[Block] = []
    for part in parts:
        blocks += [
            replace(block, crosses_groups=block.crosses_groups or crossing) for block in part.blocks
        ]
    text = tree.sql(dialect="duckdb", comments=False)
    return Plan(
        statement="",
        stages=tuple(stage for part in parts for stage in part.stages),
        final=f"WITH {ctes} {text}",
        columns=(),
        tables=tuple(sorted({table for part in parts for table in part.tables})),
        options=parts[0].options,
        blocks=tuple(blocks),
        instead=tuple(dict.fromkeys(reason for part in parts for reason in part.instead)),
    )


def part_name(parts: list[Plan]) -> str:
    """The last part's name: after its first stage, which no other part beside it has."""
    stages = parts[-1].stages
    number = stages[0].name.removeprefix("stage") if stages else f"_{len(parts)}"
    return f"part{number}"


def _crosses(select: exp.Select) -> bool:
    """Whether an answer row may depend on more than one row of a part."""
    clauses = ("group", "having", "qualify", "distinct", "limit", "offset")
    return (
        len(sources_of(select)) > 1
        or bool(subqueries_of(select))
        or any(select.args.get(name) for name in clauses)
        or any(any(aggregates_in(item)) or has_window(item) for item in select.expressions)
    )


Names = set[tuple[str, str]]
"""Qualifier (empty: none) and column, lower-case."""


def _names(tree: exp.Expression) -> Names:
    """Every column name that the whole statement writes, wherever it may be looked up."""
    found = {(node.table.lower(), node.name.lower()) for node in tree.find_all(exp.Column)}
    for join in tree.find_all(exp.Join):
        found |= {("", node.name.lower()) for node in join.args.get("using") or ()}
    return found


@dataclass(slots=True, kw_only=True)
class Step:
    """The parts of one statement, as they take the places of its sources."""

    catalog: Catalog
    plan_part: PlanPart
    plan_table: PlanTable
    counted: bool
    meets: bool
    parts: list[Plan] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def finish(self, tree: exp.Expression, *, crossing: bool) -> Plan:
        """The plan of ``tree``, whose sources are parts now."""
        made = joined(tree, self.parts, self.texts, crossing=crossing)
        return replace(made, stages=tuple(replace(stage, refined=True) for stage in made.stages))

    def replace_sources(
        self,
        select: exp.Select,
        names: Names | None = None,
        narrowing: Narrowing | None = None,
    ) -> None:
        """Put parts in place of every source and subquery of ``select``.

        ``names``: those of the statement around it too, when it is run in place. ``narrowing``: of
        the statement that ``select`` is a part of, if it has lost conditions of that.
        """
        names = _names(select) if names is None else names
        narrowing = narrowing or Narrowing.of(select, self.catalog, meets=self.meets)
        for holder in sources_of(select):
            node = holder.this
            if isinstance(node, exp.Subquery):
                narrowed = narrowing.narrowed(node.alias)
                table = self._narrowed(narrowed) or self._planned(node.this, names)
                if table is not None:
                    alias = node.args.get("alias")
                    table.set("alias", alias.copy() if alias is not None else _unnamed())
                    holder.set("this", table)
            elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
                holder.set("this", self._table(node, select, names, narrowing))
            elif not isinstance(node, exp.Values):
                raise error("NOT_SUPPORTED", "this part of FROM is not supported")
        for query in subqueries_of(select):
            self._replace_query(query, names)

    def _replace_query(self, query: exp.Expression, names: Names) -> None:
        table = self._planned(query, names)
        if table is not None:
            query.replace(exp.select("*").from_(table))

    def _narrowed(self, query: exp.Select | None) -> exp.Table | None:
        """The part of a query that meets other tables now; None if a pod cannot make it alone."""
        if query is None:
            return None
        try:
            part = self.plan_part(query)
        except Error:
            return None
        if part.instead or any(not isinstance(s.fragment, Aggregate | Rows) for s in part.stages):
            return None
        return self.add(replace(part, stages=tuple(replace(s, met=True) for s in part.stages)))

    def _planned(self, query: exp.Expression, names: Names) -> exp.Table | None:
        """The part of a query that stands by itself; one that looks outside is run in place."""
        known = len(self.parts)
        try:
            return self.add(self.plan_part(query.copy()))
        except Error as fault:
            if fault.code not in UNBOUND:
                raise
        del self.parts[known:], self.texts[known:]
        for arm in arms_of(query):
            self.replace_sources(arm, names)
        return None

    def add(self, part: Plan, text: str = "") -> exp.Table:
        """The relation of ``part``; ``text`` where its rows are more than its answer."""
        self.parts.append(part)
        self.texts.append(text or part.final)
        return exp.Table(this=exp.to_identifier(part_name(self.parts)))

    def _table(
        self, node: exp.Table, select: exp.Select, names: Names, narrowing: Narrowing
    ) -> exp.Table:
        """The part that stands for a table."""
        table, _ = find_table(node, self.catalog)
        alias = node.alias or node.name
        chosen = _columns(node, table, select, names)
        source = exp.Table(
            this=node.this.copy(),
            db=node.args.get("db"),
            catalog=node.args.get("catalog"),
            alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)),
        )
        query = exp.select(*(exp.alias_(column(alias, n), n, quoted=True) for n in chosen))
        query.set("from_", exp.From(this=source))
        met = narrowing.narrow(query, alias)
        if query == select:
            raise error("NOT_SUPPORTED", f"{table.name!r} can only be read as it is asked for")
        part, text = self._released(query, chosen, table)
        if met:
            part = replace(part, stages=tuple(replace(one, met=True) for one in part.stages))
        found = self.add(part, text)
        own = node.args.get("alias")
        found.set(
            "alias",
            own.copy() if own is not None else exp.TableAlias(this=exp.to_identifier(alias)),
        )
        return found

    def _released(
        self, query: exp.Select, chosen: list[str], table: CatalogTable
    ) -> tuple[Plan, str]:
        """The plan of the rows of ``query``, and the SQL that yields them."""
        refusal = self._uncounted(chosen, table) if table.partitioned else None
        if not table.partitioned or (refusal is not None and "rows" in table.disclosures):
            if not chosen:
                query.set("expressions", [exp.alias_(exp.Literal.number(1), "_one")])
            return self.plan_table(query), ""
        if refusal is not None:
            raise refusal
        times = exp.alias_(exp.Count(this=exp.Star()), TIMES)
        alias = query.args["from_"].this.alias
        keys: list[exp.Expression] = [column(alias, name) for name in chosen]
        kinds = {c.name: c.type for c in table.columns}
        # Groups know one zero only: the sign of a double is a key of its own.
        signed = [name for name in chosen if kinds.get(name) in FLOATS]
        signs = {name: f"_sign{place}" for place, name in enumerate(signed)}
        for name, sign in signs.items():
            keys.append(exp.Anonymous(this="signbit", expressions=[column(alias, name)]))
            query.append("expressions", exp.alias_(keys[-1].copy(), sign))
        query.append("expressions", times)
        if chosen:
            query.set("group", exp.Group(expressions=keys))
        part = self.plan_table(query)
        names = ", ".join(_restored(name, signs.get(name)) for name in chosen) or "1"
        return part, (
            f"SELECT {names} FROM (SELECT *, unnest(range({TIMES})) AS _copy FROM ({part.final}))"
        )

    def _uncounted(self, chosen: list[str], table: CatalogTable) -> Error | None:
        """Why the columns may not come as counted groups; None if they may."""
        if not self.counted or "distinct" not in table.disclosures or table.min_units > 1:
            return error(
                "DENIED",
                f"rows of {table.name!r} would have to leave their pods",
                hint="use aggregates and GROUP BY, or ask the custodians for row-level release",
            )
        closed = [c.name for c in table.columns if c.name in chosen and not c.groupable]
        if closed:
            return error(
                "DENIED",
                f"values of {closed[0]!r} in {table.name!r} do not leave their pods",
                hint="ask the custodians to let it stand for groups (role 'dimension')",
            )
        return None


def _restored(name: str, sign: str | None) -> str:
    """The column, with the zeros that were negative."""
    spelled = exp.to_identifier(name, quoted=True).sql("duckdb")
    if sign is None:
        return spelled
    return f"CASE WHEN {sign} AND {spelled} = 0 THEN -{spelled} ELSE {spelled} END AS {spelled}"


def _columns(node: exp.Table, table: CatalogTable, select: exp.Select, names: Names) -> list[str]:
    """The columns of a table that the statement may read, in its own order."""
    alias = (node.alias or node.name).lower()
    known = [c.name for c in table.columns if c.name.lower() != POD_COLUMN]
    own = node.args.get("alias")
    natural = any(join.method.lower() == "natural" for join in select.args.get("joins") or ())
    whole = natural or (own is not None and own.args.get("columns")) or _starred(select, alias)
    if not whole:
        known = [n for n in known if {("", n.lower()), (alias, n.lower())} & names]
    if table.partitioned and whole and any(name == POD_COLUMN for _, name in names):
        raise error("NOT_SUPPORTED", "a star beside _pod", hint="name the columns")
    if table.partitioned and {("", POD_COLUMN), (alias, POD_COLUMN)} & names:
        known.append(POD_COLUMN)
    return known


def _unnamed() -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier("unnamed_subquery"))


def _starred(select: exp.Select, alias: str) -> bool:
    return any(
        star_of(item) is not None and (isinstance(item, exp.Star) or item.table.lower() == alias)
        for item in select.expressions
    )
