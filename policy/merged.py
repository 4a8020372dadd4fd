"""What may leave on the total of all pods (release ``sdc_merged``): counts, over one table, under masks.

No rule of the document is left out: it is judged on the total (how many people, differences), met by what is
asked (spread, dominance, freedom and copies are about other figures, rare values about other counts), met by
the key lists (levels), or the statement is denied. Rule to keep: what this module lets through needs
no rule that ``podsql/pod/totalling.py`` does not keep.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from sqlglot import exp

from podsql.planner.fragment import Aggregate
from podsql.planner.key_lists import KeyList
from podsql.planner.local_keys import key_column
from podsql.policy.denial import Denial
from podsql.policy.document import Policy, Release
from podsql.policy.joins import Pair
from podsql.policy.masked import SumOrder
from podsql.policy.populations import calls_in, counts_units, populations
from podsql.policy.regenerate import Output, aggregate_select
from podsql.policy.roles import protected
from podsql.policy.scope import Scope
from podsql.policy.shares import named_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedOrder:
    """``units``: people behind each cell, and by which two differ, at least. ``figures``: hidden columns
    ``_u0``, … with the people of each figure."""

    units: int
    figures: int


def is_merged(scope: Scope, release: Release | None) -> bool:
    """Whether the document itself lets every protected table out on the total, and the services no less.

    A service that says ``sdc_local`` asks for rules that a total does not meet.
    """
    own = {source.rights.release for source in protected(scope)}
    return own == {"sdc_merged"} and release in (None, "rows", "sdc_merged")


def judge_merged(
    fragment: Aggregate,
    scope: Scope,
    outputs: Sequence[Output],
    pairs: tuple[Pair, ...],
    policy: Policy,
    order: SumOrder,
    salt: str,
) -> tuple[exp.Select, MergedOrder]:
    """The statement with its hidden columns; Denial for what has no rule on the total."""
    [source, *more] = scope.sources
    rights = source.rights
    if more or source.inner is not None or rights.unit is None:
        raise Denial("MERGED_TABLE")
    if rights.unit.lower() not in {key_column(key).lower() for key in rights.table.local_keys}:
        raise Denial("MERGED_UNIT")  # a person of two pods would count for two
    keys, values = scope.outputs[: len(fragment.keys)], scope.outputs[len(fragment.keys) :]
    for value in values:
        for call in calls_in([value]):
            if not _counts(call, scope):
                raise Denial("MERGED_FIGURE")
    _require_levels(keys, order.lists, scope, policy)
    found = populations(scope, values, protected(scope), pairs)
    named = named_shares(found, scope, protected(scope), salt)
    hidden = [(f"_u{place}", one) for place, one in enumerate(named)]
    select = aggregate_select(fragment, scope, outputs, hidden)
    units = least_units(policy, "sdc_merged")
    return select, MergedOrder(units=units, figures=len(hidden))


def least_units(policy: Policy, release: Release) -> int:
    """How many people are behind each figure; on a total, also by how many two figures differ."""
    rules = policy.output
    return max(rules.min_units, rules.overlap_guard) if release == "sdc_merged" else rules.min_units


def _counts(call: exp.Expr, scope: Scope) -> bool:
    """``count(*)``, or of the distinct people; without FILTER, which leaves out some."""
    if not isinstance(call, exp.Count) or isinstance(call.parent, exp.Filter):
        return False
    return isinstance(call.this, exp.Star) or counts_units(call, scope)


def _require_levels(
    keys: Sequence[exp.Expr], lists: Sequence[KeyList], scope: Scope, policy: Policy
) -> None:
    """Few enough groups: with three people or more behind each shown one, they are at most a third."""
    most = policy.output.group_levels
    if most and prod(map(len, lists)) > most:
        raise Denial("LIMIT")
    for key, listed in zip(keys, lists, strict=True):
        for column in key.find_all(exp.Column):
            levels = scope.column(column).max_distinct
            if levels is not None and len(listed) > levels + 1:  # NULL is in each list
                raise Denial("LIMIT")


def released_as(noise: object, merged: MergedOrder | None, *, guarded: bool) -> Release:
    """Under which release figures leave that have ``noise``, leave on the total, or are ``guarded``."""
    if noise is not None:
        return "dp"
    if merged is not None:
        return "sdc_merged"
    return "sdc_local" if guarded else "rows"
