"""What each column may be used for (lineage by resolved columns, not by names).

Rule to keep: a literal meets a row only through a column with the filter role; what is aggregated
is built from measures alone, without anything that could pick one row out.
"""

from collections.abc import Iterable

from sqlglot import exp

from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.functions import CODING, IMPLIED, Family, aggregate, scalar_name
from podsql.policy.measures import plain_column, require_measure
from podsql.policy.nodes import PREDICATES
from podsql.policy.scope import Scope, Source


def require_functions(scope: Scope, policy: Policy, *, guarded: bool) -> None:
    """Narrow the built-in lists of functions by the document's own; ``guarded``: rows may not leave."""
    scalars, aggregates = policy.functions.scalar, policy.functions.aggregates
    for tree in scope.trees():
        for node in tree.walk():
            if guarded and _grows(node) and any(_grows(up) for up in _above(node)):
                # One row could be made to take seconds, which would tell of it.
                raise Denial("FUNC_NOT_ALLOWED")
            called = scalar_name(node)
            if called is not None and guarded and called in CODING:
                raise Denial("FUNC_NOT_ALLOWED")
            if called is not None and scalars != "safe-v1" and called not in scalars:
                raise Denial("FUNC_NOT_ALLOWED")
            found = aggregate(node)
            if found is None:
                continue
            name, family = found
            extreme = family in ("extreme", "predicate")
            if guarded and extreme and policy.output.extremes == "deny":
                raise Denial("AGG_NOT_ALLOWED")
            if aggregates is not None and not _listed(name, family, aggregates):
                raise Denial("AGG_NOT_ALLOWED")


def _grows(node: exp.Expr) -> bool:
    """Whether its text may be longer than its argument by a factor; several such multiply."""
    if isinstance(node, exp.RegexpReplace):
        return True
    if not isinstance(node, exp.Replace):
        return False
    old, new = node.expression, node.args.get("replacement")
    if not isinstance(new, exp.Literal):
        raise Denial("FUNC_NOT_ALLOWED")  # of two long texts it makes a very long one
    return not isinstance(old, exp.Literal) or len(new.name) > len(old.name)


def require_aggregates(outputs: Iterable[exp.Expr]) -> None:
    """Every column of an aggregate output stands inside exactly one aggregate function."""
    for output in outputs:
        calls = [node for node in output.walk() if aggregate(node) is not None]
        if not calls:
            raise Denial("ROW_LEVEL")
        for call in calls:
            if any(aggregate(up) is not None for up in _above(call)):
                raise Denial("AGG_NOT_ALLOWED")
        for column in output.find_all(exp.Column):
            if not any(
                aggregate(up) is not None or isinstance(up, exp.Filter) for up in _above(column)
            ):
                raise Denial("ROW_LEVEL")


def require_no_aggregates(trees: Iterable[exp.Expr]) -> None:
    """Conditions, keys and row columns hold no aggregate function."""
    for tree in trees:
        if any(aggregate(node) is not None for node in tree.walk()):
            raise Denial("AGG_NOT_ALLOWED")


def require_condition(term: exp.Expr, scope: Scope, policy: Policy) -> None:
    """A condition uses columns with the filter role; ``IS [NOT] NULL`` any but a key."""
    for column in term.find_all(exp.Column):
        rights = scope.column(column)
        if rights.roles is None:
            continue
        if rights.is_key:
            raise Denial("FILTER_KEY_LITERAL")
        asks_null = _asks_null(column, scope)
        if not rights.may("filter") and not asks_null:
            raise Denial("FILTER_ROLE")
    _require_comparable(term, scope, policy)


def require_predicates(scope: Scope, policy: Policy) -> None:
    """Cap the comparisons of WHERE, if the document does."""
    most = policy.filters.max_predicates
    if most is not None:
        found = sum(
            isinstance(node, tuple(PREDICATES)) for term in scope.where for node in term.walk()
        )
        if found > most:
            raise Denial("LIMIT")


def require_key(key: exp.Expr, scope: Scope, policy: Policy) -> None:
    """A group key is built from dimensions; conditions inside it also need the filter role."""
    for column in key.find_all(exp.Column):
        rights = scope.column(column)
        if rights.is_key or not rights.may("dimension"):
            raise Denial("GROUP_KEY_ROLE")
        if _is_tested(column) and not rights.may("filter"):
            raise Denial("GROUP_KEY_ROLE")
    _require_comparable(key, scope, policy)


def require_kept(output: exp.Expr, scope: Scope, policy: Policy) -> None:
    """A value that stays at the pod is any listed column as it is, or computed of columns that are
    no keys. One that is tested has a role for it: how long a test takes may tell how often it holds.
    """
    if plain_column(output, scope) is not None:
        return
    for column in output.find_all(exp.Column):
        rights = scope.column(column)
        if rights.roles is None:
            continue
        if rights.is_key:
            raise Denial("FILTER_KEY_LITERAL")
        roles = (
            ("filter", "dimension") if _is_tested(column) else ("filter", "dimension", "measure")
        )
        if not any(map(rights.may, roles)):
            raise Denial("FILTER_ROLE")
    _require_comparable(output, scope, policy)


def require_output(
    output: exp.Expr, scope: Scope, policy: Policy, *, guarded: bool = False
) -> None:
    """Each aggregate of ``output`` is of measures, its FILTER of filter columns."""
    for node in output.walk():
        found = aggregate(node)
        if found is not None:
            _require_arguments(node, found[1], scope, policy, guarded=guarded)
        if isinstance(node, exp.Filter):
            _require_filter(node.expression, scope, policy)


def _require_filter(where: exp.Expr, scope: Scope, policy: Policy) -> None:
    require_condition(where, scope, policy)


def _require_arguments(
    call: exp.Expr, family: Family, scope: Scope, policy: Policy, *, guarded: bool
) -> None:
    for argument in arguments(call):
        columns = list(argument.find_all(exp.Column))
        tested = isinstance(call, exp.CountIf) or family == "predicate"
        if guarded and not columns and family != "count":
            raise Denial("ENCODE_IN_AGG")  # a sum of ones is a count that no rule knows as one
        if guarded and family != "count" and call.find(exp.Distinct) is not None:
            raise Denial("AGG_NOT_ALLOWED")  # a value that one row alone has would show
        if all(scope.column(column).roles is None for column in columns):
            # Public values beside protected rows may not pick one of them out either.
            if guarded and columns and not tested and plain_column(argument, scope) is None:
                require_measure(argument, scope, policy.functions.factors)
            continue
        if tested:
            require_condition(argument, scope, policy)
        elif family == "count" and plain_column(argument, scope) is not None:
            _require_countable(columns[0], call, scope)
        elif family != "count" and call.find(exp.Distinct) is not None:
            raise Denial("AGG_NOT_ALLOWED")
        else:
            require_measure(argument, scope, policy.functions.factors)
            _require_listed(columns, family, call, scope)


def _require_countable(column: exp.Column, call: exp.Expr, scope: Scope) -> None:
    rights = scope.column(column)
    counts_units = call.find(exp.Distinct) is not None
    if rights.is_key and not counts_units:
        raise Denial("PREDICATE_IN_AGG")
    if not rights.is_key and not any(
        rights.may(role) for role in ("measure", "dimension", "filter")
    ):
        raise Denial("AGG_NOT_ALLOWED")


def _require_listed(
    columns: list[exp.Column], family: Family, call: exp.Expr, scope: Scope
) -> None:
    found = aggregate(call)
    for column in columns:
        listed = scope.column(column).aggregates
        if listed is not None and found is not None and not _listed(found[0], family, listed):
            raise Denial("AGG_NOT_ALLOWED")


def _listed(name: str, family: Family, listed: Iterable[str]) -> bool:
    names = frozenset(listed)
    return family == "count" or name in names or bool(IMPLIED[family] & names)


def _require_comparable(term: exp.Expr, scope: Scope, policy: Policy) -> None:
    """``filters.literal`` and ``filters.column`` narrow what may stand in one comparison."""
    literal, column = policy.filters.literal, policy.filters.column
    if literal is None and column is None:
        return
    for node in term.walk():
        if type(node) not in PREDICATES or isinstance(node, exp.Connector | exp.Not):
            continue
        found = {(found.table, found.name): found for found in node.find_all(exp.Column)}
        asks_null = isinstance(node, exp.Is) and isinstance(node.expression, exp.Null)
        allowed = column if len(found) > 1 else literal
        if asks_null or allowed is None:
            continue
        for one in found.values():
            rights = scope.column(one)
            # A value computed from several columns carries its own roles, and no listed name.
            if rights.roles is None or not rights.origin:
                continue
            origin = rights.origin.lower()
            if not {origin, origin.rpartition(".")[2]} & {text.lower() for text in allowed}:
                raise Denial("FILTER_ROLE")


def arguments(call: exp.Expr) -> tuple[exp.Expr, ...]:
    """The arguments of an aggregate call, DISTINCT looked through, ``*`` left out."""
    found = []
    for argument in call.iter_expressions():
        if isinstance(argument, exp.Distinct):
            found += argument.expressions
        elif not isinstance(argument, exp.Star):
            found.append(argument)
    return tuple(found)


def _asks_null(column: exp.Column, scope: Scope) -> bool:
    """Whether the column is only asked for being NULL."""
    for up in _above(column):
        if isinstance(up, exp.Is):
            return isinstance(up.expression, exp.Null) and plain_column(up.this, scope) is not None
        if not isinstance(up, exp.Paren | exp.Cast):
            return False
    return False


def _is_tested(column: exp.Column) -> bool:
    """Whether a comparison, or the condition of a CASE, looks at the column."""
    node: exp.Expr = column
    for up in _above(column):
        switch = isinstance(up, exp.Case | exp.If | exp.Nullif) and node.arg_key == "this"
        if switch or isinstance(up, tuple(PREDICATES)):
            return True
        node = up
    return False


def _above(node: exp.Expr) -> Iterable[exp.Expr]:
    up = node.parent
    while up is not None:
        yield up
        up = up.parent


def protected(scope: Scope) -> tuple[Source, ...]:
    """Sources whose rows have a privacy unit to protect."""
    return tuple(source for source in scope.sources if not source.rights.public)
