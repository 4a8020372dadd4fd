"""Groups of partial states as cells: their sums are the states of all rows, unless a pod spoils them."""

import random
from decimal import Decimal
from fractions import Fraction
from statistics import pvariance

import pytest
from sum_world import World, looks_uniform, refused

from podsql.engine.sums.effects import Opened
from podsql.engine.sums.groups import GroupSums
from podsql.planner.fragment import Column
from podsql.planner.masked_states import read_states

PODS = 4
LIMIT = (2**127 - 1) // PODS
COLUMNS = [
    Column("n", "count(x)", "BIGINT"),
    Column("w", "sum(x)", "HUGEINT"),
    Column("m", "favg(x)", "DOUBLE"),
    Column("v", "var_pop(x)", "DOUBLE"),
    Column("d", "sum(y) FILTER (WHERE z)", "DECIMAL(38,2)"),
    Column("k", "count(y) FILTER (WHERE z)", "BIGINT"),
    Column("s", "fsum(x)", "DOUBLE"),
]
SUMS = GroupSums(states=read_states(COLUMNS), lists=(("f", "m", None),))
ONE = GroupSums(states=SUMS.states)


def states(values):
    """What a pod has of a group: moments that are as exact as a double can be."""
    if not values:
        return [0, None, None, None, None, 0, None]
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    spread = float(pvariance(exact))
    cents = Decimal(sum(int(value * 100) for value in exact)).scaleb(-2)
    total = int(sum(int(value) for value in exact))
    return [len(values), total, float(mean), spread, cents, len(values), float(sum(exact))]


def put(sums, rows, *, short=False, hides=True):
    figures, spoiled = sums.put(rows, short=short, limit=LIMIT, hides=hides)
    assert len(figures) == sums.cells
    return figures, spoiled


def added(sums, *brought):
    """The sums as they are opened, cell by cell modulo 2^128."""
    cells = []
    for column in zip(*brought, strict=True):
        total = sum(column) % 2**128
        cells.append(total - 2**128 if total >> 127 else total)
    return sums.read(cells, PODS)


def spread_of(rows):
    """Chan's merge of the pods' moments, in fractions."""
    own = [(n, Fraction(m), Fraction(v)) for n, _, m, v, *_ in rows if n]
    count = sum(n for n, _, _ in own)
    mean = sum(n * m for n, m, _ in own) / count
    return float(sum(n * (v + (m - mean) ** 2) for n, m, v in own) / count)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
@pytest.mark.parametrize("centre", [0.0, 1e3, 1e12])
def test_sums_are_the_states_of_all_rows(scale, centre):
    draw = random.Random(f"{scale} {centre}")
    pods = [
        {
            group: [draw.gauss(centre + 7 * pod, scale) for _ in range(draw.randrange(2, 30))]
            for group in (("f",), ("m",), (None,))
            if draw.random() < 0.8
        }
        for pod in range(PODS)
    ]
    brought = [put(SUMS, {g: states(values) for g, values in rows.items()}) for rows in pods]
    assert not any(spoiled for _, spoiled in brought)
    found, whole = added(SUMS, *(figures for figures, _ in brought))
    assert whole
    for group, (n, w, m, v, d, k, s) in found.items():
        values = [value for rows in pods for value in rows.get(group, ())]
        exact = [Fraction(value) for value in values]
        assert (n, k) == (len(values), len(values))
        if not values:
            assert (w, m, v, d, s) == (None,) * 5
            continue
        assert w == sum(int(value) for value in exact)
        assert d == Decimal(sum(int(value * 100) for value in exact)).scaleb(-2)
        assert m == pytest.approx(float(sum(exact) / n), rel=1e-15, abs=1e-15 * scale)
        assert s == pytest.approx(float(sum(exact)), rel=1e-15, abs=1e-13 * scale)
        assert v == pytest.approx(
            spread_of([states(rows.get(group, ())) for rows in pods]), rel=1e-9
        )
        if centre < 1e9 * scale:  # else the pods' own means are too coarse
            assert v == pytest.approx(float(pvariance(exact)), rel=1e-9)


def test_equal_values_have_no_spread_though_their_means_are_rounded():
    rows = [{(): [3, 0, 0.1 + 1e-17 * at, 0.0, None, 0, 0.3]} for at in range(PODS)]
    found, _ = added(ONE, *(put(ONE, one)[0] for one in rows))
    assert found[()][3] == 0.0


def test_a_spread_below_what_cells_hold_is_refused():
    row = {(): [2, 0, 1e-18, 1e-36, None, 0, 2e-18]}
    refused("NOT_EXACT", added, ONE, *(put(ONE, row)[0] for _ in range(PODS)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_a_figure_that_does_not_fit_is_kept_back_or_an_error(value):
    row = states([1.0, 2.0])
    row[6] = value
    code = "OVERFLOW" if value == 1e38 else "DATA"
    refused(code, lambda: put(SUMS, {("f",): row}, hides=False))
    _, spoiled = put(SUMS, {("f",): row, ("m",): states([1.0, 2.0])})
    kept = set(range(SUMS.width, 2 * SUMS.width))
    assert set(spoiled) == set(range(SUMS.cells)) - kept


def test_what_a_pod_spoils_follows_from_what_it_shows():
    """If it keeps a group back: all that it does not show, so that small and empty look alike."""
    shown = {("f",): states([1.0, 2.0])}
    assert put(SUMS, shown)[1] == ()
    assert put(SUMS, {**shown, ("x",): states([3.0])})[1] == (SUMS.cells - 1,)
    assert put(SUMS, shown, short=True)[1] == tuple(range(SUMS.width, SUMS.cells))
    assert put(ONE, {}, short=True)[1] == tuple(range(ONE.cells))


def test_a_spoiled_group_is_read_by_nobody_and_the_others_are():
    world = World(PODS, parts=((SUMS.cells, 0),))
    rows = {("f",): states([1.5, 2.5]), ("m",): states([4.0])}
    figures = {}
    for pod in world.names:
        shown = dict(rows)
        if pod == "pod01":
            del shown[("m",)]
        cells, spoiled = put(SUMS, shown, short=pod == "pod01")
        figures[pod] = 0, (cells,), spoiled
    vectors = []
    for _ in range(40):
        ended = world.round(figures)
        assert isinstance(ended, Opened)
        [part] = ended.sum.parts
        found, whole = SUMS.read(part.units(), PODS)
        assert not whole
        assert list(found) == [("f",)]
        assert found[("f",)][0] == 2 * PODS
        vectors.append(part.cells[:, SUMS.width :].tobytes())
        if len(vectors) == 9:
            world.coordinator = None  # its rounds are over
            break
    assert looks_uniform(b"".join(vectors))
    del figures["pod01"]
    plain = [sum(one[1][0][at] for one in figures.values()) for at in range(SUMS.cells)]
    assert not looks_uniform(b"".join(abs(cell).to_bytes(16, "little") for cell in plain) * 9)


@pytest.mark.parametrize("cell", [-1, 2**63])
def test_counts_that_no_rows_give_are_refused(cell):
    cells = [0, cell, *[0] * (ONE.cells - 2)]
    refused("BAD_RESULT", ONE.read, cells, PODS)
