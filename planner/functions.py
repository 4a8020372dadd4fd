"""Closed lists of functions, by DuckDB's own (folded) names.

Rule to keep: a scalar enters only if it is deterministic and reads nothing but its arguments; an
aggregate enters only with a partial state and a merge in ``rules/``. Names are those after
``agreement.ALIASES``.
"""

from typing import Final

SCALARS: Final = frozenset(
    """
    + - * / // % ** & | << >> ~ ~~ !~~ ~~* !~~* ~~~ || ^@ @ !__postfix
    like_escape ilike_escape not_like_escape not_ilike_escape
    abs acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh cot degrees even exp fdiv fmod
    floor gamma greatest_common_divisor isfinite isinf isnan least_common_multiple lgamma ln log
    log10 log2 nextafter pi radians round round_even sign signbit sin sinh sqrt tan tanh trunc xor
    divide bit_count greatest least nullif coalesce if
    ascii bit_length chr concat concat_ws contains damerau_levenshtein ends_with format hamming
    jaccard jaro_similarity jaro_winkler_similarity left length levenshtein lower lpad ltrim md5
    nfc_normalize octet_length prefix printf regexp_escape regexp_extract regexp_full_match
    regexp_matches regexp_replace repeat replace reverse right rpad rtrim sha1 sha256 split_part
    strip_accents strlen strpos substring translate trim unicode upper hex unhex to_base64
    century date_diff date_part date_sub date_trunc day dayname dayofmonth dayofweek dayofyear
    decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day make_date
    make_time make_timestamp microsecond millennium millisecond minute month monthname quarter
    second strftime time_bucket week weekday weekofyear year yearweek
    to_years to_months to_days to_hours to_minutes to_seconds to_weeks to_quarters
    to_milliseconds to_microseconds to_timestamp try_strptime strptime
    typeof
    """.split()
)

COUNTS: Final = frozenset({"count", "count_star", "count_if", "regr_count"})
SUMS: Final = frozenset({"sum", "kahan_sum"})
MEANS: Final = frozenset({"avg", "favg"})
SPREADS: Final = frozenset({"var_pop", "var_samp", "stddev_pop", "stddev_samp", "sem"})
SHAPES: Final = frozenset({"skewness", "kurtosis", "kurtosis_pop"})
PAIRS: Final = frozenset(
    """covar_pop covar_samp corr regr_slope regr_intercept regr_r2 regr_sxx regr_sxy regr_syy
    regr_avgx regr_avgy""".split()
)
SAME: Final = frozenset(
    {"min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "product"}
)
"""Merged by the same aggregate."""
MACROS: Final = frozenset({"geomean", "weighted_avg"})
"""Written out before planning."""
MERGEABLE: Final = COUNTS | SUMS | MEANS | SPREADS | SHAPES | PAIRS | SAME

REFUSED: Final[dict[str, str]] = {
    "median": "a median is not a function of the pods' medians",
    "quantile_cont": "a quantile is not a function of the pods' quantiles",
    "quantile_disc": "a quantile is not a function of the pods' quantiles",
    "mad": "a median deviation is not a function of the pods' ones",
    "mode": "the most frequent value of all pods need not be frequent in any",
    "entropy": "it needs the counts of every value",
    "histogram": "it needs the counts of every value",
    "list": "it would move every value",
    "string_agg": "it would move every value",
    "first": "no order over all pods says which row is first",
    "last": "no order over all pods says which row is last",
    "any_value": "the answer is not determined by the rows",
    "arg_min": "it would move single rows' values, and ties have no order over pods",
    "arg_max": "it would move single rows' values, and ties have no order over pods",
    "approx_count_distinct": "sketches are not planned",
    "approx_quantile": "sketches are not planned",
    "approx_top_k": "sketches are not planned",
    "reservoir_quantile": "sampling is not deterministic",
    "bitstring_agg": "it would move every value",
    "histogram_exact": "it needs the counts of every value",
    "arg_min_null": "ties have no order over pods",
    "arg_max_null": "ties have no order over pods",
    "arg_min_nulls_last": "ties have no order over pods",
    "arg_max_nulls_last": "ties have no order over pods",
    "sum_no_overflow": "it is internal to DuckDB",
    "combine_aggr": "it is internal to DuckDB",
    "lttb": "it would move single rows' values",
}
"""Aggregates without a plan, and why."""

AGGREGATES: Final = MERGEABLE | MACROS | REFUSED.keys()

WINDOWS: Final = frozenset(
    """row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value
    nth_value fill""".split()
)
"""Functions that only exist over a window; aggregates may stand there too."""

HINTS: Final[dict[str, str]] = {
    "median": "ask for avg, or for counts per bucket",
    "quantile_cont": "ask for avg, or for counts per bucket",
    "quantile_disc": "ask for avg, or for counts per bucket",
    "mode": "GROUP BY the value and ORDER BY count(*) DESC",
    "entropy": "GROUP BY the value and count",
    "histogram": "GROUP BY the value and count",
    "any_value": "use min or max",
    "first": "use min or max",
    "last": "use min or max",
    "arg_min": "use min",
    "arg_max": "use max",
    "approx_count_distinct": "count(DISTINCT key) works on a declared local key",
}
