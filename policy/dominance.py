"""Dominance: a sum that one or two units make up nearly alone gives their value away.

p %: withhold when the total less the two largest is under p % of the largest; (n,k): when the n
largest make more than k % (Eurostat; sdcTools Handbook §4.2; ACRO safe_pratio_p, safe_nk_n). Both
are closed under merging of disjoint units, so each pod checks its own. The contributions are sums
per unit, and a negative one makes both rules meaningless, so it withholds the group too.
"""

from collections.abc import Sequence

from sqlglot import exp

from podsql.policy.document import Output
from podsql.policy.functions import aggregate
from podsql.policy.per_unit import UnitRule
from podsql.policy.populations import calls_in, filtered
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope


def dominance_rules(
    aggregates: Sequence[exp.Expr], scope: Scope, output: Output
) -> tuple[UnitRule, ...]:
    """What must not be dominated: each aggregated expression with a column tagged ``magnitude``."""
    if not output.p_percent and output.nk is None:
        return ()
    found: dict[str, exp.Expr] = {}
    for call in calls_in(aggregates):
        named = aggregate(call)
        if named is None or named[1] == "count":
            continue
        condition = call.parent.expression.this if isinstance(call.parent, exp.Filter) else None
        for argument in arguments(call):
            tagged = [one for one in argument.find_all(exp.Column) if scope.column(one).magnitude]
            # The column too: a shift would make its largest part look small.
            for part in [argument, *tagged] if tagged else []:
                summed = filtered(exp.Sum(this=part.copy()), condition)
                found.setdefault(repr(summed), summed)
    return tuple(
        UnitRule(values=(one,), check=lambda columns: fair_sum(columns[0], output))
        for one in found.values()
    )


def fair_sum(value: str, output: Output) -> str:
    """A condition on all units: the sum of ``value``, a column with a row a unit, is of no few."""
    total = f"sum({value})"
    terms = [f"coalesce(min({value}) >= 0, true)"]
    if output.p_percent:
        largest, second = f"max({value}, 2)[1]", f"coalesce(max({value}, 2)[2], 0)"
        terms.append(
            f"coalesce({total} - {largest} - {second} >= {output.p_percent} / 100 * {largest}, true)"
        )
    if output.nk is not None:
        n, share = output.nk
        terms.append(f"coalesce(list_sum(max({value}, {n})) <= {share} / 100 * {total}, true)")
    return " AND ".join(terms)
