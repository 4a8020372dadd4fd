"""Bind the tables of FROM to the catalog, and write JOIN … USING as ON.

After it, every table is ``"schema"."table" AS "alias"`` and every join has its condition in ON.
Rule to keep: a name that could mean two tables is refused, never guessed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog, CatalogTable
from podsql.planner.scope import Scope, Source
from podsql.planner.syntax import nearest

_TABLE_PARTS: Final = frozenset({"this", "db", "catalog", "alias"})
_KINDS: Final = frozenset({"", "inner", "cross", "outer", "semi", "anti"})


Derive = Callable[[exp.Subquery], Source]
"""Binds a derived table, and resolves its names in place."""


def bind_tables(select: exp.Select, catalog: Catalog, derive: Derive) -> Scope:
    """Rewrite FROM and the joins of ``select`` in place; the scope they open."""
    start = select.args.get("from_")
    if start is None:
        return Scope(sources=())
    scope = Scope(sources=(_bind(start, catalog, derive),))
    comma = False
    for join in select.args.get("joins") or ():
        _require_plain(join)
        comma = comma or not any(join.args.get(name) for name in ("side", "kind", "on", "using"))
        if comma and kind_of(join) in ("right", "full"):
            # It would keep rows of one item of FROM; a pod joins from the left.
            raise error(
                "NOT_SUPPORTED",
                f"a {kind_of(join)} join after a comma",
                hint="write CROSS JOIN for the comma, if you mean all that is before the join",
            )
        added = _bind(join, catalog, derive)
        _refuse_repeated(scope, added)
        if join.args.get("using"):
            _use(scope, added, join)
        scope.sources = (*_with_nulls(scope.sources, join), _nullable(added, join))
    return scope


def kind_of(join: exp.Expression) -> str:
    """``inner``, ``cross``, ``left``, ``right``, ``full``, ``semi`` or ``anti``; ``from`` of FROM."""
    if not isinstance(join, exp.Join):
        return "from"
    side, kind = join.side.lower(), join.kind.lower()
    if side in ("left", "right", "full"):
        return side
    if kind in ("semi", "anti"):
        return kind
    return "inner" if join.args.get("on") is not None or join.args.get("using") else "cross"


def find_table(node: exp.Table, catalog: Catalog) -> tuple[CatalogTable, str | None]:
    """The table a name means, and the pod it names; UNKNOWN_TABLE with the nearest name."""
    parts = [part.name for part in node.parts]
    pod = None
    if len(parts) == 3:
        pod = next((p for p in catalog.pods if p.lower() == parts[0].lower()), None)
        if pod is None:
            raise error(
                "UNKNOWN_TABLE", f"no pod {parts[0]!r}", hint=nearest(parts[0], catalog.pods)
            )
        parts = parts[1:]
    wanted = ".".join(parts).lower()
    matches = [
        t for t in catalog.tables.values() if t.name.lower() == wanted and len(parts) == 2
    ] or [t for t in catalog.tables.values() if _unqualified(t.name) == wanted]
    if len(matches) > 1:
        main = [t for t in matches if t.name.lower().startswith("main.")]
        if len(main) != 1:
            listed = ", ".join(sorted(t.name for t in matches))
            raise error("UNKNOWN_TABLE", f"{wanted!r} names several tables: {listed}")
        matches = main
    if not matches:
        known = [*catalog.tables, *(t.split(".", 1)[1] for t in catalog.tables)]
        hint = nearest(wanted, known) or "no pod offers you a table"
        raise error("UNKNOWN_TABLE", f"no table {'.'.join(parts)!r}", hint=hint)
    (table,) = matches
    if pod is not None and pod not in table.pods:
        raise error(
            "UNKNOWN_TABLE",
            f"pod {pod!r} offers no table {table.name!r}",
            hint=f"offered by: {', '.join(table.pods)}",
        )
    return table, pod


def _unqualified(name: str) -> str:
    return name.split(".", 1)[1].lower()


def _bind(holder: exp.Expression, catalog: Catalog, derive: Derive) -> Source:
    """Rewrite the table under a From or Join node; the source it is."""
    node = holder.this
    if isinstance(node, exp.Subquery):
        return derive(node)
    if not isinstance(node, exp.Table):
        raise error("NOT_SUPPORTED", "this part of FROM is not supported over the federation")
    if not isinstance(node.this, exp.Identifier):
        raise error("NOT_SUPPORTED", "a table function is not supported over the federation")
    for name, value in node.args.items():
        if value and name not in _TABLE_PARTS:
            raise error("NOT_SUPPORTED", f"{name} on a table is not supported over the federation")
    alias_node = node.args.get("alias")
    if alias_node is not None and alias_node.args.get("columns"):
        raise error("NOT_SUPPORTED", "column aliases of a table are not supported")
    alias = node.alias or node.name
    table, pod = qualify_table(node, catalog)
    return Source(alias=alias, table=table, pod=pod)


def qualify_table(node: exp.Table, catalog: Catalog) -> tuple[CatalogTable, str | None]:
    """Write ``node`` in place as ``"schema"."table" AS "alias"``; what it is."""
    alias = node.alias or node.name
    table, pod = find_table(node, catalog)
    schema, name = table.name.split(".", 1)
    node.set("this", exp.Identifier(this=name, quoted=True))
    node.set("db", exp.Identifier(this=schema, quoted=True))
    node.set("catalog", None)
    node.set("alias", exp.TableAlias(this=exp.Identifier(this=alias, quoted=True)))
    return table, pod


def _require_plain(join: exp.Join) -> None:
    allowed = ("this", "side", "kind", "on", "using")
    named = [k for k, v in join.args.items() if v and k not in allowed]
    if named or join.kind.lower() not in _KINDS:
        word = (join.method or join.kind or named[0]).lower()
        raise error(
            "NOT_SUPPORTED", f"a {word} join is not supported", hint="join with ON or USING"
        )


def _refuse_repeated(scope: Scope, added: Source) -> None:
    if scope.source(added.alias) is not None:
        raise error("BINDING", f"alias {added.alias!r} is used twice in FROM")


def _with_nulls(sources: tuple[Source, ...], join: exp.Join) -> tuple[Source, ...]:
    if kind_of(join) not in ("right", "full"):
        return sources
    return tuple(replace(s, nullable=True) for s in sources)


def _nullable(source: Source, join: exp.Join) -> Source:
    kind = kind_of(join)
    return replace(source, nullable=kind in ("left", "full"), hidden=kind in ("semi", "anti"))


def _use(scope: Scope, added: Source, join: exp.Join) -> None:
    """USING (k): ON left.k = right.k, and one column k."""
    kind = kind_of(join)
    terms: list[exp.Expression] = []
    for node in join.args["using"]:
        name = node.name
        other = added.value(name)
        left = scope.merged.get(name.lower()) or _left_column(scope, name)
        if other is None or left is None:
            raise error("UNKNOWN_COLUMN", f"no column {name!r} on both sides of USING")
        terms.append(exp.EQ(this=left.copy(), expression=other))
        if kind == "full":
            merged: exp.Expression = exp.Coalesce(this=left.copy(), expressions=[other.copy()])
        else:
            chosen: exp.Expression = other if kind == "right" else left
            merged = chosen.copy()
        scope.merged[name.lower()] = merged
    condition = terms[0]
    for term in terms[1:]:
        condition = exp.And(this=condition, expression=term)
    scope.conditions[len(scope.sources) - 1] = condition


def _left_column(scope: Scope, name: str) -> exp.Expression | None:
    found = [value for s in scope.sources if (value := s.value(name)) is not None]
    if len(found) > 1:
        raise error("BINDING", f"column {name!r} of USING is ambiguous on the left side")
    return found[0] if found else None
