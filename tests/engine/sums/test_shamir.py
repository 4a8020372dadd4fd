"""Shares of seeds, against a published example, exact fractions, and a test of primes."""

import os
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sum_world import looks_uniform

from podsql.engine.sums.shamir import PRIME, SHARE_BYTES, Interpolation, split, value_at

WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def is_probably_prime(number):
    """Miller and Rabin."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in WITNESSES:
        power = pow(witness, odd, number)
        if power in (1, number - 1):
            continue
        if not any((power := power * power % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True


def lagrange(points, place=0):
    """The polynomial through ``points`` at ``place``, over the rationals, then modulo the prime."""
    total = Fraction(0)
    for x, y in points:
        term = Fraction(y)
        for other, _ in points:
            if other != x:
                term *= Fraction(place - other, x - other)
        total += term
    return total.numerator * pow(total.denominator, -1, PRIME) % PRIME


def test_the_field_is_the_least_prime_above_all_seeds():
    assert is_probably_prime(PRIME)
    assert not any(is_probably_prime(number) for number in range(2**256, PRIME))


def test_the_published_example_of_shamirs_scheme():
    # Wikipedia, "Shamir's secret sharing": 1234 + 166 x + 94 x^2.
    points = [(1, 1494), (2, 1942), (3, 2578), (4, 3402), (5, 4414), (6, 5614)]
    assert [value_at([1234, 166, 94], x) for x, _ in points] == [y for _, y in points]
    shares = {x: y.to_bytes(SHARE_BYTES) for x, y in points}
    chosen = Interpolation([2, 4, 5])
    assert chosen.secret({x: shares[x] for x in (2, 4, 5)}) == (1234).to_bytes(32)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_enough_shares_give_the_secret_as_fractions_do(data):
    holders = data.draw(st.integers(3, 12))
    least = data.draw(st.integers(2, holders))
    secret = data.draw(st.binary(min_size=32, max_size=32))
    shares = dict(enumerate(split(secret, range(1, holders + 1), least, os.urandom), 1))
    chosen = data.draw(st.permutations(range(1, holders + 1)))[:least]
    points = [(place, int.from_bytes(shares[place])) for place in chosen]
    assert lagrange(points) == int.from_bytes(secret)
    found = Interpolation(chosen).secret({place: shares[place] for place in chosen})
    assert found == secret


@pytest.mark.parametrize("least", [2, 3, 5])
def test_one_share_fewer_does_not_give_the_secret(least):
    shares = dict(enumerate(split(b"\x07" * 32, range(1, 8), least, os.urandom), 1))
    for some in combinations(shares, least - 1):
        assert Interpolation(some).secret({place: shares[place] for place in some}) != b"\x07" * 32


@pytest.mark.parametrize("other", [0, 1, 2**255, 2**256 - 1])
def test_fewer_shares_than_needed_fit_any_secret(other):
    shares = split(b"\x07" * 32, range(1, 6), 3, os.urandom)
    known = {1: shares[0], 4: shares[3]}
    points = [(0, other), *((place, int.from_bytes(share)) for place, share in known.items())]
    third = lagrange(points, 2).to_bytes(SHARE_BYTES)
    assert Interpolation([1, 2, 4]).secret({**known, 2: third}) == other.to_bytes(32)


def test_every_holders_share_of_one_secret_is_uniform():
    drawn = [split(b"\x07" * 32, (1, 2, 5), 3, os.urandom) for _ in range(300)]
    for holder in range(3):
        # The first byte is the 257th bit, almost always zero.
        assert looks_uniform(b"".join(shares[holder][1:] for shares in drawn))


def test_shares_with_a_fixed_polynomial_are_seen_not_to_be_uniform():
    drawn = [split(b"\x07" * 32, (1, 2, 5), 3, lambda size: bytes(size)) for _ in range(300)]
    assert not looks_uniform(b"".join(shares[0][1:] for shares in drawn))


def test_wrong_shares_give_another_secret_or_none():
    shares = split(b"\x11" * 32, (1, 2, 3), 3, os.urandom)
    wrong = {1: shares[0], 2: shares[1], 3: bytes(SHARE_BYTES)}
    assert Interpolation([1, 2, 3]).secret(wrong) != b"\x11" * 32
