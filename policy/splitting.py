"""Rows of a part of the people: the same people in every statement, chosen by a hash of the privacy unit.

The hash knows no seed, so there is one partition into tenths and no other: who could choose seeds could
take people out one by one. Rule to keep: each tenth alone is enough people, or none of them is asked.
"""

from dataclasses import replace
from typing import Final

from sqlglot import exp

from podsql.planner.fragment import Split
from podsql.policy.denial import Denial
from podsql.policy.joins import Pair
from podsql.policy.populations import units
from podsql.policy.regenerate import select_of, text_of
from podsql.policy.roles import protected
from podsql.policy.scope import Scope
from podsql.policy.total import without_errors

TENTHS: Final = 10


def unit_of(scope: Scope, pairs: tuple[Pair, ...]) -> exp.Expr:
    """What tells people apart; ENTITY_COUNT where rows are of several kinds of units, or of none."""
    found = units(scope, protected(scope), pairs)
    if len(found) != 1 or found[0] is None:
        raise Denial("ENTITY_COUNT")
    return found[0]


def split_rows(scope: Scope, split: Split, unit: exp.Expr) -> Scope:
    """The rows of the part; those of no unit are in neither."""
    if not 0 < split.tenths < TENTHS:
        raise Denial("MODEL_STATE")
    side = exp.LT if split.held else exp.GTE
    condition = side(this=_tenth(unit), expression=exp.Literal.number(split.tenths))
    return replace(scope, where=(*scope.where, exp.paren(condition)))


def tenths_rule(scope: Scope, unit: exp.Expr, full: exp.Expr, least: int) -> str:
    """Query of ``ok``: of the rows for which ``full`` holds, each tenth has ``least`` units."""
    safe = without_errors(replace(scope, outputs=(full,)))
    listed = [
        exp.alias_(unit.copy(), "unit"),
        exp.alias_(_tenth(unit), "tenth"),
        exp.alias_(safe.outputs[0], "whole"),
    ]
    counted = (
        f"SELECT count(DISTINCT unit) AS c FROM ({text_of(select_of(safe, listed))})"
        " WHERE whole AND unit IS NOT NULL GROUP BY tenth"
    )
    return f"SELECT count(*) = {TENTHS} AND min(c) >= {least} AS ok FROM ({counted})"


def _tenth(unit: exp.Expr) -> exp.Expr:
    """0 … 9, of the text of a unit's key (RFC 1321: the same at every pod and in every version)."""
    digest = f"md5(concat('podsql split:', CAST({unit.sql('duckdb')} AS VARCHAR)))"
    found: exp.Expr = exp.maybe_parse(
        f"(CAST('0x' || left({digest}, 8) AS BIGINT) % {TENTHS})", dialect="duckdb"
    )
    return found
