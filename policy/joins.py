"""Which tables may meet, and on what. Rule to keep: protected tables meet on join keys only.

The unit each row belongs to must stay countable: it survives a join because both keys are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from podsql.planner.wire_types import key_kind, known_type
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.measures import plain_column
from podsql.policy.roles import require_condition
from podsql.policy.scope import Scope, Source

COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


@dataclass(frozen=True, slots=True)
class Pair:
    """Columns that are equated, as (alias, name), and the source in whose ON (empty: in WHERE)."""

    left: tuple[str, str]
    right: tuple[str, str]
    on: str

    @property
    def columns(self) -> frozenset[tuple[str, str]]:
        """Both columns."""
        return frozenset((self.left, self.right))

    def tells_apart(self, scope: Scope) -> bool:
        """Whether no two values of one column equal one of the other, as '7' and '07' do 7."""
        left, right = (
            scope.column(exp.column(name, table=alias)).type
            for alias, name in (self.left, self.right)
        )
        kind = key_kind(left)
        return known_type(left) == known_type(right) or (
            kind is not None and kind == key_kind(right)
        )

    def holds(self, scope: Scope) -> bool:
        """Whether the joined rows have equal columns, or none on the right of a LEFT JOIN.

        In the ON of an outer join of a third table an equality filters nothing; in that of an
        anti join it is denied.
        """
        if not self.tells_apart(scope):
            return False
        if not self.on:
            return True
        source = next(found for found in scope.sources if found.use.alias == self.on)
        if source.use.kind in ("inner", "cross"):
            return True
        return source.use.kind == "left" and self.on in (self.left[0], self.right[0])


def require_joins(scope: Scope, policy: Policy) -> tuple[Pair, ...]:
    """Check every join and condition; give back the pairs of (alias, column) joined by equality."""
    if policy.joins.condition == "JOIN_REQUIRED" and len(scope.sources) < 2:
        raise Denial("JOIN_REQUIRED")
    _require_kinds(scope, policy)
    pairs: list[Pair] = []
    for source in scope.sources:
        pairs += _split(source.conditions, scope, policy, source.use.alias)
    pairs += _split(scope.where, scope, policy, "")
    tied = {alias for pair in pairs for alias, _ in pair.columns}
    for source in scope.sources[1:]:
        kind = source.use.kind
        # A comma and an equality in WHERE is an inner join.
        if kind == "cross" and source.use.alias in tied:
            kind = "inner"
        if kind not in policy.joins.types:
            raise Denial("JOIN_TYPE")
    _require_tied(scope, pairs)
    return tuple(pairs)


def _require_kinds(scope: Scope, policy: Policy) -> None:
    """Protected tables of this pod meet only if that is listed, and public ones likewise."""
    own = sum(not source.rights.public for source in scope.sources)
    needed = {"co_located"} if own > 1 else set()
    if len(scope.sources) > max(1, own):
        needed.add("reference")
    if not needed <= set(policy.joins.kinds):
        raise Denial("JOIN_TYPE")


def _split(terms: tuple[exp.Expr, ...], scope: Scope, policy: Policy, on: str) -> Iterator[Pair]:
    for term in terms:
        columns = _joined(term, scope)
        if columns is None:
            _require_no_key_comparison(term, scope)
            _require_plain_lookup(term, scope)
            require_condition(term, scope, policy)
            continue
        for column in columns:
            if not scope.column(column).may("join_key"):
                raise Denial("JOIN_COLUMN")
        _require_allowed_pair(columns, scope, policy)
        left, right = columns
        yield Pair((left.table, left.name), (right.table, right.name), on)


def _joined(term: exp.Expr, scope: Scope) -> tuple[exp.Column, exp.Column] | None:
    """The columns of two tables that ``term`` equates, if that is all it does."""
    if not isinstance(term, exp.EQ):
        return None
    left, right = plain_column(term.this, scope), plain_column(term.expression, scope)
    if left is None or right is None or left.table == right.table:
        return None
    return left, right


def _require_no_key_comparison(term: exp.Expr, scope: Scope) -> None:
    columns = list(term.find_all(exp.Column))
    if len({column.table for column in columns}) > 1 and any(
        scope.column(column).is_key for column in columns
    ):
        raise Denial("JOIN_COLUMN")


def _require_plain_lookup(term: exp.Expr, scope: Scope) -> None:
    """Which public row belongs to a protected one, a comparison of one column of each decides.

    Anything else would compute a value per row, which a sum of public values then gives away.
    """
    if not _meets_public(term, scope):
        return
    if not isinstance(term, COMPARISONS):
        raise Denial("JOIN_COLUMN")
    for side in term.iter_expressions():
        columns = {(column.table, column.name): column for column in side.find_all(exp.Column)}
        if _meets_public(side, scope) or (
            len(columns) > 1 and any(_has_role(one, scope) for one in columns.values())
        ):
            raise Denial("JOIN_COLUMN")


def _meets_public(tree: exp.Expr, scope: Scope) -> bool:
    columns = list(tree.find_all(exp.Column))
    public = any(scope.source(column).rights.public for column in columns)
    return public and any(_has_role(column, scope) for column in columns)


def _has_role(column: exp.Column, scope: Scope) -> bool:
    return scope.column(column).roles is not None


def _require_allowed_pair(
    columns: tuple[exp.Column, exp.Column], scope: Scope, policy: Policy
) -> None:
    if policy.joins.pairs is None:
        # A key that meets anything but a key is compared with values, one a row.
        if scope.column(columns[0]).is_key != scope.column(columns[1]).is_key:
            raise Denial("JOIN_COLUMN")
        return
    wanted = frozenset(_name(column, scope) for column in columns)
    for left, right in policy.joins.pairs:
        if wanted == {qualified(left), qualified(right)}:
            return
    raise Denial("JOIN_COLUMN")


def _name(column: exp.Column, scope: Scope) -> str:
    return scope.column(column).origin.lower()


def qualified(text: str) -> str:
    """``schema.table.column`` of a pair's side, in lower case."""
    return (text if text.count(".") == 2 else f"main.{text}").lower()


def _require_tied(scope: Scope, pairs: list[Pair]) -> None:
    """Protected tables with roles form one piece, tied by the pairs."""
    guarded = [source for source in scope.sources if _has_roles(source)]
    if len(guarded) < 2:
        return
    group = {source.use.alias: source.use.alias for source in scope.sources}

    def root(alias: str) -> str:
        while group[alias] != alias:
            alias = group[alias]
        return alias

    for pair in pairs:
        group[root(pair.left[0])] = root(pair.right[0])
    if len({root(source.use.alias) for source in guarded}) > 1:
        raise Denial("JOIN_COLUMN")


def _has_roles(source: Source) -> bool:
    rights = source.rights
    return not rights.public and any(column.roles is not None for column in rights.columns.values())
