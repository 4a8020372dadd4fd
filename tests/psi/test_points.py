"""Blinded keys: what the group gives, and what no peer may send."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from podsql.engine.psi.keys import canonical_keys
from podsql.engine.psi.points import (
    count_points,
    hide,
    is_ascending,
    multiply_points,
    new_secret,
    ordered,
    split,
    to_point,
)
from podsql.errors import Error

DOMAIN = bytes(range(32))
GOOD = to_point(DOMAIN, b"a key")
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
ORDER_2 = bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
BAD = {
    "the identity": bytes([1]) + bytes(31),
    "the identity, negated": bytes([1]) + bytes(30) + b"\x80",
    "order 2": ORDER_2,
    "order 4": bytes(32),
    "order 8": ORDER_8,
    "outside the prime-order group": bindings.crypto_core_ed25519_add(GOOD, ORDER_8),
    "a good point and one of order 2": bindings.crypto_core_ed25519_add(GOOD, ORDER_2),
    "an encoding above p": b"\xff" * 32,
    "the identity, encoded above p": bytes.fromhex("ee" + "ff" * 30 + "7f"),
    "not on the curve": bytes([2]) + bytes(31),
}


@pytest.mark.parametrize("point", BAD.values(), ids=BAD.keys())
def test_a_bad_point_is_refused_before_it_is_used(point):
    with pytest.raises(Error) as caught:
        multiply_points(new_secret(), GOOD + point)
    assert caught.value.code == "BAD_MESSAGE"


def test_points_meet_whoever_multiplied_first():
    one, two = new_secret(), new_secret()
    keys = [b"ada", b"bob"]
    there = multiply_points(two, hide(one, DOMAIN, keys))
    assert there == multiply_points(one, hide(two, DOMAIN, keys))
    assert all(map(bindings.crypto_core_ed25519_is_valid_point, split(there)))


def test_a_key_is_another_point_in_another_statement():
    assert to_point(bytes(32), b"a key") != GOOD


def test_order_tells_nothing_of_the_order_of_the_keys_and_shows_repeats():
    hidden = hide(new_secret(), DOMAIN, [b"%d" % n for n in range(50)])
    assert set(split(hidden)) == set(split(ordered(hidden)))
    assert is_ascending(ordered(hidden))
    assert not is_ascending(GOOD + GOOD)
    assert not is_ascending(GOOD[:31])


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_counts_are_those_of_sets(sets):
    points = [b"".join(n.to_bytes(32, "big") for n in sorted(one)) for one in sets]
    assert count_points(points, "union") == len(set().union(*sets))
    assert count_points(points, "overlap") == len(set.intersection(*sets))


def test_equal_keys_have_one_form_and_kinds_are_apart():
    def form(kind, text):
        return next(canonical_keys(kind, [text], exact=False))

    assert form("text", "Zoe\u0308") == form("text", "Zo\u00eb")
    assert form("text", "1") != form("integer", "1")
    assert form("text", "a") != form("text", "a ")
    with pytest.raises(Error) as caught:
        list(canonical_keys("text", ["Zoe\u0308"], exact=True))
    assert caught.value.code == "NOT_EXACT"
    assert "Zo" not in str(caught.value)
