"""Rows of a part of the people: the same people in every statement, chosen by a hash of the privacy unit.

The hash knows no seed, so there is one partition into tenths and no other: who could choose seeds could
take people out one by one. Rule to keep: each tenth alone is enough people, or none of them is asked.
"""

from typing import Final

from sqlglot import exp

from podsql.planner.fragment import Split
from podsql.policy.denial import Denial
from podsql.policy.joins import Pair
from podsql.policy.populations import units
from podsql.policy.roles import protected
from podsql.policy.scope import Scope

TENTHS: Final = 10


def tenth_of(unit: exp.Expr) -> str:
    """0 … 9, of the text of a unit's key (RFC 1321: the same at every pod and in every version)."""
    text = unit.sql("duckdb")
    digest = f"md5(concat('podsql split:', CAST({text} AS VARCHAR)))"
    return f"(CAST('0x' || left({digest}, 8) AS BIGINT) % {TENTHS})"


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
    side = "<" if split.held else ">="
    condition: exp.Expr = exp.maybe_parse(
        f"{tenth_of(unit)} {side} {split.tenths}", dialect="duckdb"
    )
    return Scope(
        sources=scope.sources, where=(*scope.where, exp.paren(condition)), outputs=scope.outputs
    )


def tenths_rule(rows: str, least: int) -> str:
    """Query of ``ok``: over ``rows`` with ``unit`` and ``tenth``, each tenth has ``least`` units."""
    counted = (
        f"SELECT count(DISTINCT unit) AS c FROM ({rows}) WHERE unit IS NOT NULL GROUP BY tenth"
    )
    return f"SELECT count(*) = {TENTHS} AND min(c) >= {least} AS ok FROM ({counted})"
