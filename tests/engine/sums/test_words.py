"""Cells, figures in them, and masks: against Python's integers, fractions, and a ChaCha20 of ours."""

import os
import struct
from fractions import Fraction
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sum_world import in_units, refused

from podsql.engine.sums.encoding import (
    limit_of,
    put_floats,
    put_integers,
    to_floats,
    to_integers,
)
from podsql.engine.sums.masks import add_masks
from podsql.engine.sums.words import BLOCK, add_words, words_of_bytes, zero_words

WORDS = pytest.mark.parametrize("word", [64, 128])


def chacha20(key, nonce, size):
    """RFC 8439's keystream, from block 0."""
    out = b""
    for counter in range(-(-size // 64)):
        start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter]
        start += struct.unpack("<3I", nonce)
        state = list(start)
        for _ in range(10):
            for a, b, c, d in (
                (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
            ):  # fmt: skip
                for one, two, three, turn in (
                    (a, b, d, 16),
                    (c, d, b, 12),
                    (a, b, d, 8),
                    (c, d, b, 7),
                ):
                    state[one] = (state[one] + state[two]) & 0xFFFFFFFF
                    mixed = state[three] ^ state[one]
                    state[three] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF
        out += struct.pack(
            "<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(state, start, strict=True))
        )
    return out[:size]


def mask_of(seed, word, cells):
    """The mask of a seed, as numbers."""
    key = blake2b(key=seed, digest_size=32, person=b"ps-sum-mask").digest()
    lanes = [
        struct.unpack(f"<{cells}Q", chacha20(key, lane.to_bytes(12), 8 * cells))
        for lane in range(word // 64)
    ]
    return [
        sum(half << 64 * at for at, half in enumerate(cell)) for cell in zip(*lanes, strict=True)
    ]


def unsigned(cells, word):
    return [value % 2**word for value in to_integers(cells)]


def test_the_keystream_of_these_tests_is_that_of_rfc_8439():
    # Appendix A.1, test vectors 1 and 3 (the latter's second block).
    first = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    assert chacha20(bytes(32), bytes(12), 32).hex() == first
    second = "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
    assert chacha20(bytes(31) + b"\x01", bytes(12), 128)[64:96].hex() == second


@WORDS
def test_masks_are_chacha20_and_add_up_as_integers_do(word):
    cells = 37
    plus, minus = ([os.urandom(32) for _ in range(count)] for count in (4, 3))
    start = [int.from_bytes(os.urandom(word // 8)) for _ in range(cells)]
    array = zero_words(word, cells)
    signed = [value - 2**word if value >> (word - 1) else value for value in start]
    put_integers(array, signed, limit=2 ** (word - 1), first=0)
    add_masks(array, plus=plus, minus=minus)
    wanted = list(start)
    for sign, seeds in ((1, plus), (-1, minus)):
        for seed in seeds:
            wanted = [a + sign * b for a, b in zip(wanted, mask_of(seed, word, cells), strict=True)]
    assert unsigned(array, word) == [value % 2**word for value in wanted]


@WORDS
def test_carries_of_many_masks_and_of_blocks_are_right(word):
    cells = BLOCK + 5
    seeds = [os.urandom(32) for _ in range(300)]
    array = zero_words(word, cells)
    add_masks(array, plus=seeds, minus=[])
    for at in (0, 17):
        alone = [mask_of(seed, word, at + 1)[at] for seed in seeds]
        assert unsigned(array[:, at : at + 1], word) == [sum(alone) % 2**word]
    add_masks(array, plus=[], minus=seeds)
    assert not array.any()


def test_each_bit_of_a_seed_counts():
    seed = os.urandom(32)
    masks = set()
    for bit in range(256):
        flipped = (int.from_bytes(seed) ^ 1 << bit).to_bytes(32)
        array = zero_words(128, 4)
        add_masks(array, plus=[flipped], minus=[])
        masks.add(array.tobytes())
    assert len(masks) == 256


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([64, 128]))
def test_integers_go_in_and_come_out(data, word):
    limit = limit_of(word, data.draw(st.integers(3, 1000)))
    figures = data.draw(st.lists(st.integers(-limit, limit), min_size=1, max_size=9))
    array = zero_words(word, len(figures))
    put_integers(array, figures, limit=limit, first=0)
    assert to_integers(array) == figures
    assert unsigned(words_of_bytes(array.tobytes(), word), word) == [f % 2**word for f in figures]
    total = array.copy()
    add_words(total, array)
    assert to_integers(total) == [2 * figure for figure in figures]


@WORDS
@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint16", "uint64"])
def test_typed_integers_are_those_of_python(word, kind):
    limit = limit_of(word, 3)
    info = np.iinfo(kind)
    figures = np.array([max(info.min, -limit), 0, 1, min(info.max, limit)], dtype=kind)
    array = zero_words(word, 4)
    put_integers(array, figures, limit=limit, first=0)
    assert to_integers(array) == [int(figure) for figure in figures]


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([(64, 40), (64, 1), (128, 40), (128, 80), (128, 120)]))
def test_floats_become_the_nearest_multiples_of_the_quantum(data, form):
    word, fraction = form
    limit = limit_of(word, 10)
    edge = float(limit // 2) / 2.0**fraction
    near = st.floats(-edge, edge)
    figures = data.draw(st.lists(near, min_size=1, max_size=9))
    array = zero_words(word, len(figures))
    put_floats(array, np.array(figures), fraction=fraction, limit=limit, first=0)
    assert to_integers(array) == [in_units(figure, fraction) for figure in figures]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([64, 128]))
def test_cells_become_the_nearest_doubles(data, word):
    top = 2 ** (word - 1) - 1
    # Around halves of the last place of a double, where rounding twice would show.
    near_half = st.builds(
        lambda bits, shift, off: min(top, max(-top, ((bits << 1 | 1) << shift) + off)),
        st.integers(2**52, 2**53 - 1), st.integers(0, 72), st.integers(-1, 1),
    )  # fmt: skip
    numbers = st.one_of(st.integers(-top, top), near_half, near_half.map(lambda n: -n))
    figures = data.draw(st.lists(numbers, min_size=1, max_size=9))
    fraction = data.draw(st.integers(0, 60))
    array = zero_words(word, len(figures))
    put_integers(array, figures, limit=top, first=0)
    # Python's division of integers rounds once.
    assert to_floats(array, fraction).tolist() == [figure / 2**fraction for figure in figures]


@WORDS
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_by_its_number(word, bad):
    figures = np.array([1.0, 2.0, bad, 3.0, bad])
    fault = refused(
        "DATA", lambda: put_floats(zero_words(word, 5), figures, fraction=8, limit=99999, first=40)
    )
    assert fault.message == "cell 42 of the sum is not a finite number"


@WORDS
def test_one_unit_beyond_the_range_is_refused_by_its_number_and_not_its_value(word):
    limit = limit_of(word, 7)
    for beyond in (limit + 1, -limit - 1):
        array = zero_words(word, 3)
        fault = refused(
            "OVERFLOW",
            lambda beyond=beyond, array=array: put_integers(
                array, [1, limit, beyond], limit=limit, first=0
            ),
        )
        assert "cell 2 " in str(fault)
        assert str(abs(beyond)) not in str(fault)
        put_integers(array, [1, -limit, limit], limit=limit, first=0)


def test_typed_integers_beyond_the_range_are_refused():
    limit = limit_of(64, 3)
    for figures in (
        np.array([0, limit + 1]),
        np.array([0, -limit - 1]),
        np.array([0, 2**64 - 1], dtype=np.uint64),
    ):
        fault = refused(
            "OVERFLOW",
            lambda figures=figures: put_integers(zero_words(64, 2), figures, limit=limit, first=10),
        )
        assert "cell 11 " in str(fault)


@WORDS
@pytest.mark.parametrize("sign", [1, -1])
def test_floats_at_the_edge_of_the_range_are_told_apart_exactly(word, sign):
    limit = limit_of(word, 10)
    last = float(limit)
    last = last if int(last) <= limit else float(np.nextafter(last, 0))
    array = zero_words(word, 1)
    put_floats(array, np.array([sign * last / 2**8]), fraction=8, limit=limit, first=0)
    assert to_integers(array) == [sign * int(last)]
    beyond = np.array([sign * float(np.nextafter(last, np.inf)) / 2**8])
    assert abs(Fraction(float(beyond[0])) * 2**8) > limit
    for figure in (beyond, np.array([sign * 1.7e308])):
        refused(
            "OVERFLOW",
            lambda figure=figure: put_floats(
                zero_words(word, 1), figure, fraction=8, limit=limit, first=0
            ),
        )


def test_figures_of_another_kind_are_refused():
    for figures in ([1, 2.0], [True, 1], np.array([1.0, 2.0]), np.array([True, False])):
        refused(
            "DATA",
            lambda figures=figures: put_integers(zero_words(64, 2), figures, limit=99, first=0),
        )
    for figures in ([1.0, 2], [True, 1.0], np.array([1, 2]), np.array([1, 2], dtype=np.longdouble)):
        refused(
            "DATA",
            lambda figures=figures: put_floats(
                zero_words(64, 2), figures, fraction=8, limit=99, first=0
            ),
        )
