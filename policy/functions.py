"""Closed lists of functions, by the class sqlglot reads them as or by DuckDB's own name.

Rule to keep: a function enters only if it is deterministic, reads nothing but its arguments, gives
a result no longer than a small multiple of them, and cannot quote a value in an error.
"""

from typing import Final, Literal

from sqlglot import exp

Family = Literal[
    "count", "sum", "avg", "var", "skewness", "covar", "corr", "regr", "extreme", "predicate"
]

SCALAR_CLASSES: Final[dict[type[exp.Expr], str]] = {
    exp.Abs: "abs",
    exp.Acos: "acos",
    exp.Acosh: "acosh",
    exp.Asin: "asin",
    exp.Asinh: "asinh",
    exp.Atan: "atan",
    exp.Atan2: "atan2",
    exp.Atanh: "atanh",
    exp.Cbrt: "cbrt",
    exp.Ceil: "ceil",
    exp.Coalesce: "coalesce",
    exp.Concat: "concat",
    exp.ConcatWs: "concat_ws",
    exp.Contains: "contains",
    exp.Cos: "cos",
    exp.Cosh: "cosh",
    exp.Cot: "cot",
    exp.DateBin: "time_bucket",
    exp.DateDiff: "date_diff",
    exp.DateFromParts: "make_date",
    exp.Day: "day",
    exp.DayOfMonth: "dayofmonth",
    exp.DayOfWeek: "dayofweek",
    exp.DayOfWeekIso: "isodow",
    exp.DayOfYear: "dayofyear",
    exp.Dayname: "dayname",
    exp.Degrees: "degrees",
    exp.EndsWith: "ends_with",
    exp.Exp: "exp",
    exp.Extract: "extract",
    exp.Floor: "floor",
    exp.Greatest: "greatest",
    exp.Hour: "hour",
    exp.IsInf: "isinf",
    exp.IsNan: "isnan",
    exp.LastDay: "last_day",
    exp.Least: "least",
    exp.Left: "left",
    exp.Length: "length",
    exp.Ln: "ln",
    exp.Log: "log",
    exp.Lower: "lower",
    exp.Minute: "minute",
    exp.Month: "month",
    exp.Monthname: "monthname",
    exp.Nullif: "nullif",
    exp.Pi: "pi",
    exp.Pow: "power",
    exp.Quarter: "quarter",
    exp.Radians: "radians",
    exp.Replace: "replace",
    exp.Reverse: "reverse",
    exp.Right: "right",
    exp.Round: "round",
    exp.Second: "second",
    exp.Sign: "sign",
    exp.Sin: "sin",
    exp.Sinh: "sinh",
    exp.SplitPart: "split_part",
    exp.Sqrt: "sqrt",
    exp.StartsWith: "starts_with",
    exp.StrPosition: "strpos",
    exp.Substring: "substring",
    exp.Tan: "tan",
    exp.Tanh: "tanh",
    exp.TimeFromParts: "make_time",
    exp.TimeToStr: "strftime",
    exp.TimeToUnix: "epoch",
    exp.TimestampTrunc: "date_trunc",
    exp.ToDays: "to_days",
    exp.Translate: "translate",
    exp.Trim: "trim",
    exp.Trunc: "trunc",
    exp.Upper: "upper",
    exp.Week: "week",
    exp.WeekOfYear: "weekofyear",
    exp.Year: "year",
}
SCALAR_NAMES: Final = frozenset(
    [
        "century",
        "datepart",
        "date_part",
        "datesub",
        "date_sub",
        "decade",
        "divide",
        "epoch_ns",
        "epoch_us",
        "era",
        "even",
        "fdiv",
        "fmod",
        "gcd",
        "greatest_common_divisor",
        "isfinite",
        "isoyear",
        "julian",
        "lcm",
        "least_common_multiple",
        "microsecond",
        "millennium",
        "millisecond",
        "nfc_normalize",
        "prefix",
        "round_even",
        "signbit",
        "strip_accents",
        "strlen",
        "suffix",
        "to_hours",
        "to_microseconds",
        "to_milliseconds",
        "to_minutes",
        "to_months",
        "to_quarters",
        "to_seconds",
        "to_weeks",
        "to_years",
        "try_strptime",
        "weekday",
        "yearweek",
    ]
)
PATTERN_CLASSES: Final[dict[type[exp.Expr], str]] = {
    exp.RegexpExtract: "regexp_extract",
    exp.RegexpFullMatch: "regexp_full_match",
    exp.RegexpLike: "regexp_matches",
    exp.RegexpReplace: "regexp_replace",
    exp.SimilarTo: "similar to",
}
"""Functions whose second argument must be a literal: a bad pattern's error quotes it."""

CODING_CLASSES: Final[dict[type[exp.Expr], str]] = {
    exp.Ascii: "ascii",
    exp.BitLength: "bit_length",
    exp.BitwiseAnd: "&",
    exp.BitwiseLeftShift: "<<",
    exp.BitwiseNot: "~",
    exp.BitwiseOr: "|",
    exp.BitwiseRightShift: ">>",
    exp.BitwiseXor: "xor",
    exp.Chr: "chr",
    exp.Factorial: "factorial",
    exp.Glob: "glob",
    exp.Hex: "hex",
    exp.JarowinklerSimilarity: "jaro_winkler_similarity",
    exp.MD5: "md5",
    exp.SHA: "sha1",
    exp.SHA2: "sha256",
    exp.StrToTime: "strptime",
    exp.ToBase64: "to_base64",
    exp.Typeof: "typeof",
    exp.Unhex: "unhex",
    exp.Unicode: "unicode",
    exp.UnixToTime: "to_timestamp",
}
CODING_NAMES: Final = frozenset(
    [
        "bit_count",
        "gamma",
        "hamming",
        "jaccard",
        "jaro_similarity",
        "lgamma",
        "nextafter",
        "octet_length",
        "ord",
        "regexp_escape",
    ]
)
CODING: Final = CODING_NAMES | frozenset(CODING_CLASSES.values())
"""Functions that scramble or encode a value, or quote one in an error: only where rows may leave."""

AGGREGATE_CLASSES: Final[dict[type[exp.Expr], tuple[str, Family]]] = {
    exp.Count: ("count", "count"),
    exp.CountIf: ("count_if", "count"),
    exp.RegrCount: ("regr_count", "count"),
    exp.Sum: ("sum", "sum"),
    exp.Avg: ("avg", "avg"),
    exp.VariancePop: ("var_pop", "var"),
    exp.Variance: ("var_samp", "var"),
    exp.Stddev: ("stddev", "var"),
    exp.StddevPop: ("stddev_pop", "var"),
    exp.StddevSamp: ("stddev_samp", "var"),
    exp.Skewness: ("skewness", "skewness"),
    exp.Kurtosis: ("kurtosis", "skewness"),
    exp.CovarPop: ("covar_pop", "covar"),
    exp.CovarSamp: ("covar_samp", "covar"),
    exp.Corr: ("corr", "corr"),
    exp.RegrAvgx: ("regr_avgx", "regr"),
    exp.RegrAvgy: ("regr_avgy", "regr"),
    exp.RegrIntercept: ("regr_intercept", "regr"),
    exp.RegrR2: ("regr_r2", "regr"),
    exp.RegrSlope: ("regr_slope", "regr"),
    exp.RegrSxx: ("regr_sxx", "regr"),
    exp.RegrSxy: ("regr_sxy", "regr"),
    exp.RegrSyy: ("regr_syy", "regr"),
    exp.Min: ("min", "extreme"),
    exp.Max: ("max", "extreme"),
    exp.BitwiseAndAgg: ("bit_and", "extreme"),
    exp.BitwiseOrAgg: ("bit_or", "extreme"),
    exp.BitwiseXorAgg: ("bit_xor", "extreme"),
    exp.LogicalAnd: ("bool_and", "predicate"),
    exp.LogicalOr: ("bool_or", "predicate"),
}
AGGREGATE_NAMES: Final[dict[str, Family]] = {
    "bit_and": "extreme",
    "bit_or": "extreme",
    "bit_xor": "extreme",
    "bool_and": "predicate",
    "bool_or": "predicate",
    "favg": "avg",
    "fsum": "sum",
    "kahan_sum": "sum",
    "kurtosis_pop": "skewness",
    "mean": "avg",
    "product": "extreme",
    "sem": "var",
    "sumkahan": "sum",
}
IMPLIED: Final[dict[Family, frozenset[str]]] = {
    "count": frozenset(),
    "sum": frozenset({"sum", "avg", "var", "stddev", "covar", "corr", "regr", "skewness"}),
    "avg": frozenset({"sum", "avg", "var", "stddev", "covar", "corr", "regr", "skewness"}),
    "var": frozenset({"var", "stddev", "corr", "regr", "skewness"}),
    "skewness": frozenset({"skewness"}),
    "covar": frozenset({"covar", "corr", "regr"}),
    "corr": frozenset({"corr", "regr"}),
    "regr": frozenset({"regr", "corr", "covar"}),
    "extreme": frozenset({"extreme", "min", "max"}),
    "predicate": frozenset({"extreme", "bool"}),
}
"""Names of a policy's ``aggregates`` that allow a family: an average is released as sum and count."""

DATE_PART_NAMES: Final = frozenset({"datepart", "date_part", "datesub", "date_sub"})
DATE_PARTS: Final = frozenset(
    [
        "century",
        "day",
        "days",
        "dayofweek",
        "dayofyear",
        "decade",
        "doy",
        "dow",
        "epoch",
        "hour",
        "hours",
        "isodow",
        "isoyear",
        "microsecond",
        "microseconds",
        "millennium",
        "millisecond",
        "milliseconds",
        "minute",
        "minutes",
        "month",
        "months",
        "quarter",
        "quarters",
        "second",
        "seconds",
        "week",
        "weeks",
        "weekday",
        "year",
        "years",
        "yearweek",
    ]
)
"""Words that may stand as a date part; sqlglot prints them raw."""


def scalar_name(node: exp.Expr) -> str | None:
    """The listed scalar function ``node`` calls, or None."""
    kind = type(node)
    name = SCALAR_CLASSES.get(kind) or PATTERN_CLASSES.get(kind) or CODING_CLASSES.get(kind)
    if name is None and type(node) is exp.Anonymous and isinstance(node.this, str):
        called = node.this.lower()
        name = called if called in SCALAR_NAMES or called in CODING_NAMES else None
    return name


def aggregate(node: exp.Expr) -> tuple[str, Family] | None:
    """Name and family of the listed aggregate ``node`` calls, or None."""
    if type(node) is exp.Anonymous and isinstance(node.this, str):
        called = node.this.lower()
        family = AGGREGATE_NAMES.get(called)
        return None if family is None else (called, family)
    return AGGREGATE_CLASSES.get(type(node))
