"""Exact discrete Laplace and Gaussian noise in integers (Canonne, Kamath & Steinke 2020).

No float touches a sample, so there are no low bits to read a true value from (Mironov 2012), and
randomness is the operating system's: there is no seed. Sources: arXiv 2004.00010, Algorithms 1-3.
"""

import secrets
from fractions import Fraction
from math import isqrt


def discrete_gaussian(variance: Fraction) -> int:
    """One draw of N_Z(0, variance): probability proportional to exp(-x² / (2·variance))."""
    if variance <= 0:
        raise ValueError("the variance must be positive")
    scale = _root(variance) + 1
    while True:
        drawn = discrete_laplace(Fraction(scale))
        bias = (abs(drawn) - variance / scale) ** 2 / (2 * variance)
        if _bernoulli_exp(bias):
            return drawn


def discrete_laplace(scale: Fraction) -> int:
    """One draw with probability proportional to exp(-|x| / scale)."""
    if scale <= 0:
        raise ValueError("the scale must be positive")
    whole, parts = scale.numerator, scale.denominator
    while True:
        rest = secrets.randbelow(whole)
        if not _bernoulli_exp(Fraction(rest, whole)):
            continue
        turns = 0
        while _bernoulli_exp(Fraction(1)):
            turns += 1
        size = (rest + whole * turns) // parts
        negative = secrets.randbelow(2) == 1
        if negative and size == 0:
            continue
        return -size if negative else size


def _bernoulli_exp(gamma: Fraction) -> bool:
    """True with probability exp(-gamma)."""
    while gamma > 1:
        if not _bernoulli_exp_small(Fraction(1)):
            return False
        gamma -= 1
    return _bernoulli_exp_small(gamma)


def _bernoulli_exp_small(gamma: Fraction) -> bool:
    count = 1
    while secrets.randbelow(gamma.denominator * count) < gamma.numerator:
        count += 1
    return count % 2 == 1


def _root(value: Fraction) -> int:
    """Floor of the square root."""
    return isqrt(value.numerator // value.denominator)
