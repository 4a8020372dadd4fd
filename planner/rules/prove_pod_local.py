"""Prove that every joined row combines rows of one pod, or refuse and name what is missing.

A join of federated tables is local if its condition holds ``_pod`` equality or equality of one
local key of both sides; a reference table is whole in every pod, so it may be joined anywhere but
on the preserved side of an outer join alone. Rule to keep: proof or refusal.
"""

from collections.abc import Iterator

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.rules.bind_tables import kind_of
from podsql.planner.scope import POD_COLUMN, Scope, Source, columns_of


def prove_pod_local(source: exp.Select, scope: Scope) -> None:
    """NOT_LOCAL unless running ``source`` pod by pod yields exactly the pooled rows."""
    where = source.args.get("where")
    filters = list(conjuncts(where.this)) if where is not None else []
    joined = [scope.sources[0]]
    joins = zip(source.args.get("joins") or (), scope.sources[1:], strict=True)
    for number, (join, added) in enumerate(joins):
        kind = kind_of(join)
        partitioned = any(s.table.partitioned for s in joined)
        if partitioned and added.table.partitioned:
            on = join.args.get("on") or scope.conditions.get(number)
            terms = list(conjuncts(on)) if on is not None else []
            if kind in ("inner", "cross"):
                terms += filters
            if not any(_ties(term, joined, added, scope) for term in terms):
                raise _unproved(joined, added)
        elif partitioned and kind in ("right", "full"):
            raise _preserved(added, kind)
        elif added.table.partitioned and kind in ("left", "full", "semi", "anti"):
            raise _preserved(joined[0], kind)
        joined.append(added)
    _refuse_pod_of_nullable(source, scope)


def conjuncts(condition: exp.Expression) -> Iterator[exp.Expression]:
    """The terms of a conjunction, parentheses looked through."""
    pending = [condition]
    while pending:
        node = pending.pop()
        if isinstance(node, exp.And):
            pending += [node.expression, node.this]
        elif isinstance(node, exp.Paren):
            pending.append(node.this)
        else:
            yield node


def _ties(term: exp.Expression, joined: list[Source], added: Source, scope: Scope) -> bool:
    """True if ``term`` can hold only for rows of one pod."""
    if not isinstance(term, exp.EQ):
        return False
    sides = (term.this.unnest(), term.expression.unnest())
    if not all(isinstance(side, exp.Column) for side in sides):
        return False
    left, right = sides
    if left.table == added.alias:
        left, right = right, left
    other = scope.source(left.table)
    if right.table != added.alias or other not in joined or not other.table.partitioned:
        return False
    if POD_COLUMN in (left.name.lower(), right.name.lower()):
        return bool(left.name.lower() == right.name.lower())
    kind = other.table.local_keys.get(left.name.lower())
    if kind is None or kind != added.table.local_keys.get(right.name.lower()):
        return False
    one, two = other.table.column(left.name), added.table.column(right.name)
    return one is not None and two is not None and one.type == two.type


def _unproved(joined: list[Source], added: Source) -> Error:
    other = next(s for s in reversed(joined) if s.table.partitioned)
    kinds = set(other.table.local_keys.values()) & set(added.table.local_keys.values())
    shared = [key for key, kind in added.table.local_keys.items() if kind in kinds]
    if shared:
        hint = f"join them also on {min(shared)!r}, which is a local key of both"
    else:
        hint = (
            "the custodians declare no local key of both tables: "
            "declare one, or join on _pod to pair rows within each pod only"
        )
    return error(
        "NOT_LOCAL",
        f"the join of {other.table.name!r} and {added.table.name!r} may pair rows of two pods",
        hint=hint,
    )


def _preserved(source: Source, kind: str) -> Error:
    return error(
        "NOT_LOCAL",
        f"reference table {source.table.name!r} stands on the preserved side of a {kind} join: "
        "each pod would add its rows again",
        hint="start from the federated table, or declare the reference table federated",
    )


def _refuse_pod_of_nullable(source: exp.Select, scope: Scope) -> None:
    """``_pod`` is filled in at the pod, so it cannot be NULL where a join found no partner."""
    where = source.args.get("where")
    require_pod_present([where] if where is not None else [], scope)


def require_pod_present(trees: list[exp.Expression], scope: Scope) -> None:
    """NOT_SUPPORTED if a tree reads ``_pod`` of a source that an outer join may leave empty."""
    for tree in trees:
        for found in columns_of(tree):
            source = scope.source(found.table)
            if found.name == POD_COLUMN and source is not None and source.nullable:
                raise error(
                    "NOT_SUPPORTED",
                    f"_pod of {source.alias!r}, which an outer join may leave empty",
                    hint="use _pod of the other side",
                )
