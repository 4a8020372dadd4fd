"""Tail probabilities of the normal, Student's t and the chi-squared distribution.

Rule to keep: every function is right to 1e-9 of its value (1e-12 up to 10,000 degrees), in the
tails as well: p-values are shown by their size.
"""

from math import erfc, exp, inf, isnan, lgamma, log, log1p, nan, pi, sqrt


def normal_two_sided(z: float) -> float:
    """P(|Z| > |z|)."""
    return erfc(abs(z) / sqrt(2))


def student_two_sided(t: float, freedom: float) -> float:
    """P(|T| > |t|) with ``freedom`` > 0 degrees, by the incomplete beta function I_x(freedom/2, 1/2)."""
    if isnan(t) or not freedom > 0:
        return nan
    square = t * t
    if square == inf:
        return 0.0
    a = freedom / 2
    # x = freedom / (freedom + t^2) and its complement, neither by a difference
    x, rest = freedom / (freedom + square), square / (freedom + square)
    if rest == 0:
        return 1.0
    log_x = -log1p(square / freedom)
    log_front = a * log_x + 0.5 * log(rest) - _log_beta_half(a)
    # the continued fraction converges fast on this side of the mean only
    if x < (a + 1) / (a + 2.5):
        return exp(log_front) * _beta_fraction(a, 0.5, x) / a
    return 1.0 - exp(log_front) * _beta_fraction(0.5, a, rest) / 0.5


def chi_squared_tail(value: float, freedom: int) -> float:
    """P(X > value) with a whole number of degrees: finite sums (Abramowitz & Stegun 26.4.4-5)."""
    if isnan(value) or freedom < 1:
        return nan
    half = value / 2
    if half <= 0:
        return 1.0
    total = erfc(sqrt(half)) if freedom % 2 else 0.0
    order = 0.5 if freedom % 2 else 0.0
    while order < freedom / 2 - 0.25:
        total += exp(order * log(half) - half - lgamma(order + 1))
        order += 1
    return min(total, 1.0)


def _log_beta_half(a: float) -> float:
    """ln B(a, 1/2) without the difference of two large lgammas."""
    if a < 20:
        return lgamma(a) + lgamma(0.5) - lgamma(a + 0.5)
    # ln Gamma(a + 1/2) - ln Gamma(a), asymptotic in 1/a
    b = 1 / (a * a)
    series = (-1 / 8 + b * (1 / 192 - b * (1 / 640 - b * (17 / 14336 - b * 31 / 18432)))) / a
    return 0.5 * log(pi) - (0.5 * log(a) + series)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of I_x(a, b) (DLMF 8.17.22), by Lentz's way."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value
