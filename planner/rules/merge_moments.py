"""Merge variances, covariances and shapes from each pod's count, mean and central moments.

Every pod's moments are shifted to the group's mean over all pods (Chan, Pebay); an empty pod has
NULL moments, which sums skip. Rule to keep: never E[x²] − E[x]². A pod's mean of equal values may
be off by rounding, so values that are constant in every pod, with means two rounding steps apart
or less, count as constant altogether; a regression over a constant must not divide by noise.
"""

from sqlglot import exp

from podsql.errors import error
from podsql.planner.partials import Partials
from podsql.planner.rules.find_aggregates import Call

_ROUNDING = "4.5e-16"


def merge_spread(call: Call, partials: Partials) -> str:
    """var_pop, var_samp, stddev_pop, stddev_samp, sem."""
    n = partials.add("count({0})", call.arguments, call.condition, "BIGINT", "additive")
    m = partials.add("favg({0})", call.arguments, call.condition, "DOUBLE", "moments")
    v = partials.add("var_pop({0})", call.arguments, call.condition, "DOUBLE", "moments")
    c = partials.add_centre(n, m)
    total = f"sum({n})"
    squares = _unless_constant(v, m, f"sum({n} * {v} + {n} * ({m} - {c}) * ({m} - {c}))")
    pop = _finite(f"({squares}) / {total}")
    samp = _finite(f"({squares}) / ({total} - 1)")
    return {
        "var_pop": f"CASE WHEN {total} > 0 THEN {pop} END",
        "stddev_pop": f"CASE WHEN {total} > 0 THEN sqrt({pop}) END",
        "sem": f"CASE WHEN {total} > 0 THEN sqrt({pop}) / sqrt({total}) END",
        "var_samp": f"CASE WHEN {total} > 1 THEN {samp} END",
        "stddev_samp": f"CASE WHEN {total} > 1 THEN sqrt({samp}) END",
    }[call.name]


def merge_shape(call: Call, partials: Partials) -> str:
    """skewness, kurtosis, kurtosis_pop; third and fourth moments recovered from the pods' own."""
    n = partials.add("count({0})", call.arguments, call.condition, "BIGINT", "additive")
    m = partials.add("favg({0})", call.arguments, call.condition, "DOUBLE", "moments")
    v = partials.add("var_pop({0})", call.arguments, call.condition, "DOUBLE", "moments")
    g = partials.add("skewness({0})", call.arguments, call.condition, "DOUBLE", "moments")
    k = partials.add("kurtosis_pop({0})", call.arguments, call.condition, "DOUBLE", "moments")
    d = f"({m} - {partials.add_centre(n, m)})"
    # Two values are symmetric and one has no spread: DuckDB gives NULL for both.
    third = (
        f"coalesce(CASE WHEN {n} > 2 AND {v} > 0"
        f" THEN {g} * ({n} - 2) / sqrt({n} * ({n} - 1.0)) * {n} * {v} * sqrt({v}) END, 0)"
    )
    fourth = f"coalesce(CASE WHEN {v} > 0 THEN ({k} + 3) * {n} * {v} * {v} END, 0)"
    total = f"sum({n})"
    m2 = _unless_constant(v, m, f"sum({n} * {v} + {n} * {d} * {d})")
    m3 = f"sum({third} + 3 * {d} * {n} * {v} + {n} * {d} * {d} * {d})"
    m4 = (
        f"sum({fourth} + 4 * {d} * {third} + 6 * {d} * {d} * {n} * {v}"
        f" + {n} * {d} * {d} * {d} * {d})"
    )
    variance = f"(({m2}) / {total})"
    if call.name == "skewness":
        value = (
            f"{m3} / {total} / ({variance} * sqrt({variance}))"
            f" * sqrt({total} * ({total} - 1.0)) / ({total} - 2)"
        )
        return f"CASE WHEN {total} > 2 AND {variance} > 0 THEN {value} END"
    excess = f"({m4} / {total} / ({variance} * {variance}) - 3)"
    if call.name == "kurtosis_pop":
        return f"CASE WHEN {total} > 1 AND {variance} > 0 THEN {excess} END"
    value = (
        f"({total} - 1.0) / (({total} - 2.0) * ({total} - 3.0)) * (({total} + 1) * {excess} + 6)"
    )
    return f"CASE WHEN {total} > 3 AND {variance} > 0 THEN {value} END"


def merge_pair(call: Call, partials: Partials) -> str:
    """covar_*, corr and regr_* of (y, x), over rows where both are present."""
    if len(call.arguments) != 2:
        raise error("BINDING", f"{call.name} takes two arguments")
    y, x = call.arguments
    n = partials.add("regr_count({0}, {1})", call.arguments, call.condition, "BIGINT", "additive")
    mx = partials.add("favg({1})", call.arguments, _present(y, call.condition), "DOUBLE", "moments")
    my = partials.add("favg({0})", call.arguments, _present(x, call.condition), "DOUBLE", "moments")
    total = f"sum({n})"
    mean_x, mean_y = f"sum({n} * {mx}) / {total}", f"sum({n} * {my}) / {total}"
    if call.name in ("regr_avgx", "regr_avgy"):
        mean = mean_x if call.name == "regr_avgx" else mean_y
        return f"CASE WHEN {total} > 0 THEN {mean} END"
    sx = partials.add("regr_sxx({0}, {1})", call.arguments, call.condition, "DOUBLE", "moments")
    sy = partials.add("regr_syy({0}, {1})", call.arguments, call.condition, "DOUBLE", "moments")
    co = partials.add("covar_pop({0}, {1})", call.arguments, call.condition, "DOUBLE", "moments")
    dx = f"({mx} - {partials.add_centre(n, mx)})"
    dy = f"({my} - {partials.add_centre(n, my)})"
    sxx = _unless_constant(sx, mx, f"sum({sx} + {n} * {dx} * {dx})")
    syy = _unless_constant(sy, my, f"sum({sy} + {n} * {dy} * {dy})")
    sxy = (
        f"CASE WHEN ({sxx}) = 0 OR ({syy}) = 0 THEN 0.0"
        f" ELSE sum({n} * {co} + {n} * {dx} * {dy}) END"
    )
    nan = "CAST('nan' AS DOUBLE)"
    slope = f"CASE WHEN ({sxx}) = 0 THEN {nan} ELSE ({sxy}) / ({sxx}) END"
    value = {
        "covar_pop": _finite(f"({sxy}) / {total}"),
        "covar_samp": f"CASE WHEN {total} > 1 THEN {_finite(f'({sxy}) / ({total} - 1)')} END",
        "corr": f"CASE WHEN ({sxx}) = 0 OR ({syy}) = 0 THEN {nan}"
        f" ELSE ({sxy}) / (sqrt({sxx}) * sqrt({syy})) END",
        "regr_slope": slope,
        "regr_intercept": f"CASE WHEN ({sxx}) <> 0 THEN {mean_y} - ({slope}) * ({mean_x}) END",
        "regr_r2": f"CASE WHEN ({sxx}) = 0 THEN NULL WHEN ({syy}) = 0 THEN 1.0"
        f" ELSE (({sxy}) / ({sxx})) * (({sxy}) / ({syy})) END",
        "regr_sxx": sxx,
        "regr_syy": syy,
        "regr_sxy": sxy,
    }[call.name]
    return f"CASE WHEN {total} > 0 THEN {value} END"


def _present(other: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
    """Rows where the other column is present too, and the call's own FILTER holds."""
    found: exp.Expression = exp.Not(
        this=exp.Is(this=exp.Paren(this=other.copy()), expression=exp.Null())
    )
    return found if condition is None else exp.And(this=condition.copy(), expression=found)


def _unless_constant(spread: str, mean: str, value: str) -> str:
    same = (
        f"max({spread}) = 0 AND max({mean}) - min({mean})"
        f" <= {_ROUNDING} * greatest(abs(max({mean})), abs(min({mean})))"
    )
    return f"CASE WHEN {same} THEN 0.0 ELSE {value} END"


def _finite(value: str) -> str:
    """DuckDB raises where a variance overflows; so does the merge."""
    return f"CASE WHEN isfinite({value}) THEN {value} ELSE error('out of range') END"
