"""Resolve every column to one table's column; expand stars, aliases and positions.

The order of look-up is DuckDB's: WHERE and the select list see columns first, then aliases; a bare
name in ORDER BY sees aliases first. Rule to keep: where an alias and a column of the same name
mean different things in GROUP BY, HAVING or QUALIFY, the statement is refused.
"""

from collections.abc import Callable, Sequence

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.rules.expand_macros import expand_macros
from podsql.planner.rules.find_aggregates import aggregate_name
from podsql.planner.rules.refuse_unlisted import unlisted_function
from podsql.planner.scope import Item, Scope, column
from podsql.planner.syntax import nearest

Resolve = Callable[[exp.Expression], exp.Expression]


def expand_stars(select: exp.Select, scope: Scope) -> None:
    """Replace ``*`` and ``t.*`` in the select list (``_pod`` is not part of a star)."""
    items: list[exp.Expression] = []
    for item in select.expressions:
        if isinstance(item, exp.Star):
            items += _star(item, scope, None)
        elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            items += _star(item.this, scope, item.table)
        else:
            items.append(item)
    select.set("expressions", items)


def _star(star: exp.Star, scope: Scope, alias: str | None) -> list[exp.Expression]:
    if star.args.get("replace") or star.args.get("rename"):
        raise error("NOT_SUPPORTED", "REPLACE or RENAME on a star is not supported")
    excluded = {e.name.lower() for e in star.args.get("except_") or star.args.get("except") or ()}
    sources = tuple(source for source in scope.sources if not source.hidden)
    if not sources:
        raise error("BINDING", "a star needs a FROM clause")
    if alias is not None:
        source = scope.source(alias)
        if source is None:
            raise _unknown_alias(scope, alias)
        sources = (source,)
    items: list[exp.Expression] = []
    seen: set[str] = set()
    for source in sources:
        for spelled, _ in source.columns():
            name = spelled.lower()
            if name in excluded:
                continue
            merged = scope.merged.get(name) if alias is None else None
            if merged is None:
                items.append(column(source.alias, spelled))
            elif name not in seen:
                items.append(exp.column(exp.Identifier(this=spelled, quoted=True)))
            seen.add(name)
    unknown = excluded - seen - {n.lower() for s in sources for n, _ in s.columns()}
    if unknown:
        raise error("UNKNOWN_COLUMN", f"no column {sorted(unknown)[0]!r} to exclude")
    return items


class Resolver:
    """Resolves trees against one scope and, where allowed, the aliases of the select list."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.joining: str | None = None
        """The source whose ON is being resolved."""
        self.aliases: dict[str, exp.Expression] = {}
        self.shown: dict[str, list[exp.Expression]] = {}
        """Columns of the select list without an alias, by their name."""

    def items(self, select: exp.Select) -> tuple[Item, ...]:
        """The select list; an item may use the aliases of those before it."""
        found = []
        for item in select.expressions:
            alias = item.alias if isinstance(item, exp.Alias) else None
            tree = self.tree(item.this if isinstance(item, exp.Alias) else item)
            if alias:
                self.aliases.setdefault(alias.lower(), tree)
            elif isinstance(item, exp.Column):
                self.shown.setdefault(item.name.lower(), []).append(tree)
            found.append(Item(tree=tree, alias=alias))
        return tuple(found)

    def tree(self, tree: exp.Expression, *, strict: bool = False) -> exp.Expression:
        """A resolved copy. ``strict``: refuse a name that is a column and another alias."""
        return expand_macros(_rewrite(tree.copy(), lambda node: self._column(node, strict)))

    def bare_alias(self, tree: exp.Expression) -> exp.Expression | None:
        """The item a bare name in ORDER BY means."""
        if isinstance(tree, exp.Column) and not tree.table:
            shown = self.shown.get(tree.name.lower(), [])
            found = self.aliases.get(tree.name.lower()) or (shown[0] if len(shown) == 1 else None)
            return None if found is None else found.copy()
        return None

    def _column(self, node: exp.Column, strict: bool) -> exp.Expression:
        if isinstance(node.this, exp.Star):
            raise error("NOT_SUPPORTED", "a star inside an expression is not supported")
        if node.args.get("db") or node.args.get("catalog"):
            raise error("NOT_SUPPORTED", f"column {node.name!r} has more than a table before it")
        if node.table:
            return self._qualified(node.table, node.name)
        name = node.name.lower()
        found = self._lookup(name)
        alias = self.aliases.get(name)
        if found is not None:
            clash = strict and alias is not None and alias != found
            if clash and not _inside_aggregate(node):
                raise error(
                    "BINDING",
                    f"{node.name!r} is both a column and the alias of another expression",
                    hint="rename the alias, or write the column with its table",
                )
            return found
        if alias is not None:
            return _grouped(alias.copy())
        raise self._unknown(node.name)

    def _lookup(self, name: str) -> exp.Expression | None:
        merged = self.scope.merged.get(name)
        if merged is not None:
            return merged.copy()
        sources = self.scope.sources
        if self.joining is not None:  # ON does not see what is joined later
            place = [s.alias for s in sources].index(self.joining)
            sources = sources[: place + 1]
        found = [
            (s.alias, value)
            for s in sources
            if (not s.hidden or s.alias == self.joining) and (value := s.value(name)) is not None
        ]
        if len(found) > 1:
            raise error(
                "BINDING",
                f"column {name!r} is ambiguous",
                hint=f"write {found[0][0]}.{name} or {found[1][0]}.{name}",
            )
        return _grouped(found[0][1]) if found else None

    def _qualified(self, alias: str, name: str) -> exp.Expression:
        source = self.scope.source(alias)
        if source is None:
            raise _unknown_alias(self.scope, alias)
        found = source.value(name)
        if found is None:
            known = [spelled for spelled, _ in source.columns()]
            raise error(
                "UNKNOWN_COLUMN",
                f"no column {name!r} in {source.table.name!r}",
                hint=nearest(name, known),
            )
        return _grouped(found)

    def _unknown(self, name: str) -> Error:
        if name.lower().startswith(("current_", "local")):
            return unlisted_function(name.lower())
        if self.scope.source(name) is not None:
            return error("NOT_SUPPORTED", f"{name!r} is a table: a whole row is not a value here")
        known = [spelled for s in self.scope.sources for spelled, _ in s.columns()]
        known += list(self.aliases)
        return error("UNKNOWN_COLUMN", f"no column {name!r}", hint=nearest(name, known))


def _unknown_alias(scope: Scope, alias: str) -> Error:
    return error(
        "UNKNOWN_TABLE",
        f"no table {alias!r} in FROM",
        hint=nearest(alias, [s.alias for s in scope.sources]),
    )


def _rewrite(tree: exp.Expression, put: Callable[[exp.Column], exp.Expression]) -> exp.Expression:
    """Replace each column of ``tree`` (not those within a replacement)."""
    if isinstance(tree, exp.Column):
        return put(tree)
    for node in list(tree.find_all(exp.Column)):
        node.replace(put(node))
    return tree


def _inside_aggregate(node: exp.Expression) -> bool:
    parent = node.parent
    while parent is not None:
        if aggregate_name(parent) is not None:
            return True
        parent = parent.parent
    return False


def _grouped(tree: exp.Expression) -> exp.Expression:
    """In parentheses if it would bind otherwise where it is put."""
    compound = isinstance(tree, exp.Binary | exp.Unary | exp.Between | exp.In | exp.Case)
    return exp.Paren(this=tree) if compound and not isinstance(tree, exp.Paren) else tree


def unwrapped(tree: exp.Expression) -> exp.Expression:
    """The tree without parentheses around it."""
    while isinstance(tree, exp.Paren):
        tree = tree.this
    return tree


def position_of(tree: exp.Expression, items: Sequence[object]) -> int | None:
    """The select item an integer literal names (from 0); BINDING if there is none."""
    if not isinstance(tree, exp.Literal) or tree.is_string or not str(tree.this).isdigit():
        return None
    position = int(str(tree.this))
    if not 1 <= position <= len(items):
        raise error("BINDING", f"position {position} is not in the select list")
    return position - 1
