"""The gate for a round of a model: the sums it yields are judged as a SELECT of them would be.

A model's sums are products of pairs of columns, over the rows that have a value in each. So its
design is judged once as that many figures (every rule on groups, spread and overlap, and those of
regressions: degrees of freedom, parameters per unit); then each round by its numbers, which the
analyst chooses (``model_rounds.py``), so that no planted coefficient singles a few out.
Rule to keep: coefficients are numbers; nothing else of a round is the analyst's to choose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec.structs import replace as with_fields
from sqlglot import exp

from podsql.errors import Error
from podsql.planner.fragment import Aggregate, Column, Field, ModelStep, Rows
from podsql.planner.training.steps import step_fields, write_step
from podsql.planner.training.written import Written
from podsql.planner.wire_types import INTEGERS, is_enum, known_type
from podsql.policy.denial import Denial
from podsql.policy.document import Output, Policy
from podsql.policy.guard import GUARD, guard_column
from podsql.policy.joins import Pair
from podsql.policy.measures import plain_column
from podsql.policy.model_bins import joined_bins
from podsql.policy.model_figures import DesignColumn, figure_rules, pair_cells, single_cells
from podsql.policy.model_rounds import number_rules, weight_rules
from podsql.policy.per_unit import with_unit_rules
from podsql.policy.populations import Population, filtered, populations, row_of, units
from podsql.policy.regenerate import aggregate_select, read_outputs, select_of, text_of
from podsql.policy.roles import (
    protected,
    require_condition,
    require_functions,
    require_output,
)
from podsql.policy.scope import Scope
from podsql.policy.shares import named_shares
from podsql.policy.splitting import split_rows, tenth_of, tenths_rule, unit_of
from podsql.policy.spread import spread_rules
from podsql.policy.total import attempt, without_errors

MOST_COLUMNS: Final = 100
"""Features and targets of one model: its figures grow with the square, and what an engine takes to plan them,
outside its own limits of memory and time (100: a gigabyte, ten seconds; 200: three, a minute)."""
MOST_NUMBERS: Final = 1000
"""Of a round's state: coefficients, or coordinates of centres."""
MOST_CELLS: Final = 200
"""Of conditions, where each is compared with all figures that left before."""
UNITS_PER_PARAMETER: Final = 3
"""DataSHIELD's nfilter.glm: at most a third as many parameters as units."""
_ZERO: Final = exp.Literal.number(0)
PLAIN_TARGETS: Final = (
    *("binomial", "poisson", "gamma", "cox"),
    *("score_binomial", "score_poisson", "score_gamma", "ranks"),
)
"""Families whose targets must lie in a set: of an expression, that would be a comparison."""
RELEASED: Final = (exp.Sum, exp.Variance, exp.CovarSamp)
"""What leaves of a number: its sum, its square's, its products' with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOrder:
    """What is run for the rounds of one design, whatever their coefficients."""

    rows: str
    """SELECT of ``x0``, …, ``y0``, … (NULL: no value) and ``e0``, …, a row each."""
    names: tuple[str, ...]
    columns: tuple[DesignColumn, ...]
    """In the order of ``names``."""
    output: Output | None
    """The rules that a round is held to; None: rows may leave."""
    units: int
    """How many ``e`` columns tell units."""
    design: str
    """SELECT of ``_ok`` and of the ``_u`` columns for the overlap guard."""
    cells: int
    figures: tuple[str, ...] = ()
    """Queries over ``complete``, ``ok`` in each row: what the products of columns must be like."""

    @property
    def mark(self) -> bytes:
        """Of the rows and of what is asked of them: equal for all rounds and families."""
        parts = (self.rows, self.design, *self.figures)
        return blake2b(msgspec.msgpack.encode(parts), digest_size=32, person=b"ps-design").digest()

    def sql(self, step: ModelStep, *, passed: bool = False) -> str:
        """The round; ``passed``: the design itself was judged before. Denial for odd numbers."""
        try:
            written = write_step(step, "complete")
        except Error:
            raise Denial("MODEL_STATE") from None
        if written.bins:
            written = replace(written, valid=f"({written.valid}) AND cell IS NOT NULL")
        if self.output is not None:
            _require_apart(step, self.output)
        full = " AND ".join(f"{name} IS NOT NULL" for name in self.names)
        figures = ", ".join(f"CAST({sql} AS DOUBLE) AS {name}" for name, sql in written.sums)
        summed = f"SELECT CAST(count(*) AS BIGINT) AS n, {figures} FROM placed"
        if written.bins:
            summed = f"SELECT n, {figures} FROM ({self._listed(written)})"
        parts = [
            f"chosen AS ({self.rows})",
            f"complete AS (SELECT * FROM chosen WHERE {full})",
            *self._placed(written),
            f"summed AS ({summed})",
            "all_rows AS (SELECT CAST(count(*) AS BIGINT) AS of FROM chosen)",
        ]
        names = ", ".join(name for name, _ in written.sums)
        shown = f"n, of - n AS dropped, {names}"
        joined = "summed, all_rows"
        if self.output is not None:
            judged: dict[str, str] = {}
            asked = [f"SELECT {number_rules(step)} AS ok FROM complete"]
            features = self.columns[: len(step.features)]  # weights are before no target
            for kind in range(self.units):
                queries, last = weight_rules(written, features, kind, self.output)
                judged |= queries
                asked += [f"SELECT ok FROM {name}" for name in last]
            if not passed:
                asked += self.figures
            parts += [f"{name} AS ({query})" for name, query in judged.items()]
            parts.append(f"judged AS ({' UNION ALL '.join(asked)})")
            parts.append("fair AS (SELECT bool_and(coalesce(ok, false)) AS ok FROM judged)")
            joined += ", fair"
            # an infinite sum would compare what is in it with the largest number
            checks = [f"coalesce(isfinite(list_sum([{names}])), false)"]
            checks.append("coalesce(fair.ok, false)")
            if not passed:
                parts.append(f"design AS ({self.design})")
                joined += ", design"
                checks.append(f"design.{GUARD}")
            shown += f", {' AND '.join(checks)} AS {GUARD}"
            if not passed:
                shown += "".join(f", design._u{place}" for place in range(self.cells))
        return f"WITH {', '.join(parts)} SELECT {shown} FROM {joined}"

    def _placed(self, written: Written) -> list[str]:
        """The relation that is summed; where rows are counted by bins, after these are joined."""
        if not written.bins:
            return [f"placed AS ({written.relation})"]
        binned = f"binned AS ({written.relation})"
        if self.output is None:
            return [binned, "placed AS (SELECT *, bin AS cell FROM binned)"]
        cells = joined_bins(
            written, [f"e{kind}" for kind in range(self.units)], self.output.min_units
        )
        placed = "placed AS (SELECT binned.*, cell FROM binned JOIN joined USING (bin))"
        return [binned, f"joined AS ({cells})", placed]

    def _listed(self, written: Written) -> str:
        """One row of the counts of all bins."""
        none = -1 if self.output is not None else 0
        return (
            f"SELECT CAST(coalesce(sum(many), 0) AS BIGINT) AS n,"
            f" list(coalesce(n0, {none}) ORDER BY k) AS ns, list(coalesce(n1, {none}) ORDER BY k) AS ps"
            f" FROM range({written.bins}) t(k) LEFT JOIN"
            " (SELECT cell AS k, count(*) AS many, count(*) FILTER (WHERE y = 0) AS n0,"
            " count(*) FILTER (WHERE y = 1) AS n1 FROM placed GROUP BY cell) USING (k)"
        )


def design_rows(step: ModelStep) -> Rows:
    """The design as rows of columns, which the source and its names are checked as."""
    if not step.features or len(step.features) + len(step.targets) > MOST_COLUMNS:
        raise Denial("LIMIT")
    listed = (*step.features, *step.targets)
    return Rows(
        source=step.source,
        columns=tuple(
            Column(f"c{place}", one.sql, "BOOLEAN" if one.indicator else "DOUBLE")
            for place, one in enumerate(listed)
        ),
        literals=step.literals,
    )


def without_numbers(step: ModelStep) -> ModelStep:
    """The design alone: what all rounds of one model have in common."""
    return with_fields(step, centre=(), scale=(), state=())


def model_fields(step: ModelStep) -> tuple[Field, ...]:
    """The outputs of a round."""
    if len(step.state) > MOST_NUMBERS:
        raise Denial("LIMIT")
    try:
        return step_fields(step)
    except Error:
        raise Denial("MODEL_STATE") from None


def judge_model(
    step: ModelStep,
    scope: Scope,
    pairs: tuple[Pair, ...],
    policy: Policy,
    salt: str,
    *,
    guarded: bool,
) -> ModelOrder:
    """``scope`` has the design's columns as outputs; Denial if a SELECT of its figures would be."""
    columns = [one.indicator for one in (*step.features, *step.targets)]
    for tree, indicator in zip(scope.outputs, columns, strict=True):
        _require_column(tree, scope, policy, indicator=indicator)
    _require_targets(step, scope)
    if guarded:
        _require_comparisons(step, scope, policy)
    names = [f"x{place}" for place in range(len(step.features))]
    names += [f"y{place}" for place in range(len(step.targets))]
    found = units(scope, protected(scope), pairs) if guarded else []
    if guarded and policy.output.round_base > 1:
        raise Denial("ROUNDED")
    rules: tuple[str, ...] = ()
    if step.split is not None:
        unit = unit_of(scope, pairs)
        if guarded:
            rules = (tenths_rule(_tenths(scope, columns, unit), policy.output.min_units),)
        scope = split_rows(scope, step.split, unit)
    design, cells = ("", 0)
    listed = _design_columns(scope, columns, names)
    if guarded:
        design, cells = _design(step, scope, pairs, policy, salt, listed)
    safe = without_errors(scope) if guarded else scope
    values = [
        _as_number(tree, indicator=indicator)
        for tree, indicator in zip(safe.outputs, columns, strict=True)
    ]
    projections = [exp.alias_(tree, name) for tree, name in zip(values, names, strict=True)]
    kinds = [row_of(protected(scope)) if one is None else one for one in found]
    projections += [exp.alias_(one.copy(), f"e{place}") for place, one in enumerate(kinds)]
    return ModelOrder(
        rows=text_of(select_of(safe, projections)),
        names=tuple(names),
        columns=tuple(listed),
        output=policy.output if guarded else None,
        units=len(found),
        design=design,
        cells=cells,
        figures=rules
        + tuple(
            query
            for place in range(len(found))
            for query in figure_rules(listed, f"e{place}", policy.output)
        ),
    )


def _tenths(scope: Scope, indicators: Sequence[bool], unit: exp.Expr) -> str:
    """SELECT of the unit of every complete row and of its tenth, whatever part is asked."""
    full = exp.and_(*map(_has_value, scope.outputs, indicators), copy=True)
    safe = without_errors(replace(scope, outputs=(full,)))
    listed = [
        exp.alias_(unit.copy(), "unit"),
        exp.alias_(exp.maybe_parse(tenth_of(unit), dialect="duckdb"), "tenth"),
        exp.alias_(safe.outputs[0], "whole"),
    ]
    return f"SELECT unit, tenth FROM ({text_of(select_of(safe, listed))}) WHERE whole"


def _require_column(tree: exp.Expr, scope: Scope, policy: Policy, *, indicator: bool) -> None:
    """A number is a measure; a condition is what may stand in FILTER, or one value of a dimension."""
    if not indicator:
        for kind in RELEASED:
            given = [_double(tree)] * (2 if kind is exp.CovarSamp else 1)
            figure = kind(**dict(zip(("this", "expression"), given, strict=False)))
            require_output(figure, scope, policy, guarded=True)
            require_functions(replace(scope, outputs=(figure,)), policy, guarded=True)
        return
    plain = plain_column(tree, scope)
    if plain is not None and known_type(scope.column(plain).type) == "BOOLEAN":
        rights = scope.column(plain)
        if rights.is_key or not any(map(rights.may, ("measure", "filter", "dimension"))):
            raise Denial("PREDICATE_IN_AGG")
    elif not _is_level(tree, scope):
        require_condition(tree, scope, policy)


def _is_level(tree: exp.Expr, scope: Scope) -> bool:
    """Whether it asks for one value of a column that may be grouped by."""
    if not isinstance(tree, exp.EQ) or not isinstance(tree.expression, exp.Literal):
        return False
    column = plain_column(tree.this, scope)
    rights = scope.column(column) if column is not None else None
    return rights is not None and not rights.is_key and rights.may("dimension")


def _require_targets(step: ModelStep, scope: Scope) -> None:
    """Classes are conditions; what must lie in a set is a column of the pod, or one to compare."""
    if step.family not in (*PLAIN_TARGETS, "classes"):
        return
    trees = scope.outputs[len(step.features) :]
    for tree, target in zip(trees, step.targets, strict=True):
        if target.indicator:
            continue
        column = plain_column(tree, scope)
        rights = None if column is None else scope.column(column)
        if (
            step.family == "classes"
            or rights is None
            or not (rights.origin or rights.may("filter"))
        ):
            raise Denial("PREDICATE_IN_AGG")


def _require_apart(step: ModelStep, rules: Output) -> None:
    """Of rounds at two states nobody can say who makes their difference, unless it is linear."""
    if rules.overlap_guard and any(step.state) and step.family != "gaussian":
        raise Denial("ROUNDS")


def _require_comparisons(step: ModelStep, scope: Scope, policy: Policy) -> None:
    """What compares a row with numbers that the analyst chose.

    ``absolute_…`` compares the target, in a sum: so may no aggregate. ``ranks`` compares the features, so
    each column must be one that may filter; its counts are of other rows with every state, which the
    overlap guard would have to know one by one.
    """
    if step.family.startswith("absolute_") or (
        step.family == "ranks" and policy.output.overlap_guard
    ):
        raise Denial("PREDICATE_IN_AGG")
    if step.family == "ranks":
        for tree in scope.outputs[: len(step.features)]:
            require_condition(exp.GTE(this=tree.copy(), expression=_ZERO.copy()), scope, policy)


def _design(
    step: ModelStep,
    scope: Scope,
    pairs: tuple[Pair, ...],
    policy: Policy,
    salt: str,
    columns: Sequence[DesignColumn],
) -> tuple[str, int]:
    """SELECT of ``_ok`` and the shares, of the complete rows; and how many shares.

    Who stands behind the figures is judged as of any count of these rows; what they add up is
    left to ``figure_rules``.
    """
    rules = policy.output
    indicators = [one.indicator for one in columns]
    full = exp.and_(*map(_has_value, scope.outputs, indicators), copy=True)
    safe = without_errors(replace(scope, outputs=(_counted(full),)))
    listed = populations(safe, safe.outputs, protected(safe), pairs)
    guard = guard_column(listed, [], safe.outputs, safe, rules)
    whole = [one for one in listed if one.condition is not None]
    guard = exp.and_(
        guard,
        *_freedom(whole, len(step.features) + 1, rules),
        *_few_values(scope, indicators),
        copy=False,
    )
    hidden: list[tuple[str, exp.Expr]] = [(GUARD, guard)]
    if rules.overlap_guard:
        figures = [exp.Count(this=exp.Star(), big_int=True), *_cells(scope, columns, full)]
        apart = without_errors(replace(scope, outputs=tuple(figures)))
        found = populations(apart, apart.outputs, protected(apart), pairs)
        shares = named_shares(found, apart, protected(apart), salt)
        hidden += [(f"_u{place}", one) for place, one in enumerate(shares)]
    counted = Aggregate(source="", keys=(), aggregates=(Column("n", "", "BIGINT"),))
    select = aggregate_select(counted, safe, read_outputs(counted), hidden)
    checked = [
        (one, spread)
        for one in listed
        if one.condition is None
        and one.unit is not None
        and (spread := spread_rules(safe.outputs, safe, protected(safe), rules.min_units))
    ]
    if checked:
        select = with_unit_rules(select, [], checked, protected(safe), GUARD)
    shown = ", ".join([GUARD, *(f"_u{place}" for place in range(len(hidden) - 1))])
    return f"SELECT {shown} FROM ({text_of(select)})", len(hidden) - 1


def _cells(scope: Scope, columns: Sequence[DesignColumn], full: exp.Expr) -> list[exp.Expr]:
    """Counts of the complete rows, and of those of every cell: with whom sums are about."""
    cells = (*single_cells(columns), *pair_cells(columns))
    if len(cells) > MOST_CELLS:
        raise Denial("LIMIT")
    named = {one.name: tree for one, tree in zip(columns, scope.outputs, strict=True)}
    sides = [
        [
            exp.paren(named[name]) if side else exp.Not(this=exp.paren(named[name]))
            for name, side in cell.sides
        ]
        for cell in cells
    ]
    return [_counted(exp.and_(full, *listed, copy=True)) for listed in ([], *sides)]


def _design_columns(
    scope: Scope, indicators: Sequence[bool], names: Sequence[str]
) -> list[DesignColumn]:
    """The columns as they are named in the relation of complete rows."""
    found = []
    for tree, indicator, name in zip(scope.outputs, indicators, names, strict=True):
        level = indicator and _is_one_of_its_own(tree, scope)
        magnitude = any(scope.column(one).magnitude for one in tree.find_all(exp.Column))
        found.append(
            DesignColumn(
                name=name,
                indicator=indicator,
                of=tree.this.sql("duckdb") if level else "",
                magnitude=magnitude and not indicator,
            )
        )
    return found


def _is_one_of_its_own(tree: exp.Expr, scope: Scope) -> bool:
    """Whether it asks for a value as the column writes it: as a number, '7' and '07' are one."""
    if not isinstance(tree, exp.EQ) or not isinstance(tree.expression, exp.Literal):
        return False
    column = plain_column(tree.this, scope)
    kind = "" if column is None else known_type(scope.column(column).type) or ""
    return is_enum(kind) or kind == "VARCHAR" if tree.expression.is_string else kind in INTEGERS


def _has_value(tree: exp.Expr, indicator: bool) -> exp.Expr:
    if indicator:
        return exp.Not(this=exp.Is(this=exp.paren(tree.copy()), expression=exp.Null()))
    return exp.Anonymous(this="isfinite", expressions=[_double(tree)])


def _counted(condition: exp.Expr) -> exp.Expr:
    return filtered(exp.Count(this=exp.Star(), big_int=True), condition)


def _freedom(whole: Sequence[Population], parameters: int, rules: Output) -> list[exp.Expr]:
    """Units less parameters, and units per parameter."""
    least = max(rules.min_dof + parameters, UNITS_PER_PARAMETER * parameters)
    return [exp.GTE(this=one.count(), expression=exp.Literal.number(least)) for one in whole]


def _few_values(scope: Scope, indicators: Sequence[bool]) -> list[exp.Expr]:
    """A column of which one value is asked has no more of them than it may have as a group key."""
    found: dict[str, exp.Expr] = {}
    for tree, indicator in zip(scope.outputs, indicators, strict=True):
        if not indicator or not _is_level(tree, scope):
            continue
        for column in tree.find_all(exp.Column):
            most = scope.column(column).max_distinct
            if most is not None:
                counted = exp.Count(this=exp.Distinct(expressions=[column.copy()]), big_int=True)
                limit = exp.Literal.number(most)
                found[column.sql("duckdb")] = exp.LTE(this=counted, expression=limit)
    return list(found.values())


def _as_number(tree: exp.Expr, *, indicator: bool) -> exp.Expr:
    """The column as a DOUBLE, NULL where it has no value."""
    if indicator:
        text = (
            f"CASE WHEN {tree.sql('duckdb')} THEN 1.0 WHEN NOT ({tree.sql('duckdb')}) THEN 0.0 END"
        )
        return exp.cast(exp.maybe_parse(text, dialect="duckdb"), "DOUBLE")
    value = attempt(_double(tree)).sql("duckdb")
    found: exp.Expr = exp.maybe_parse(
        f"CASE WHEN isfinite({value}) THEN {value} END", dialect="duckdb"
    )
    return found


def _double(tree: exp.Expr) -> exp.Expr:
    return exp.Cast(this=exp.paren(tree.copy()), to=exp.DataType.build("DOUBLE"))
