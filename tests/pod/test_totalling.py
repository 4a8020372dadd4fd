"""What pods let out on their total, against the rules counted over all people at once."""

import random
from itertools import combinations

import pytest

from podsql.engine.sums.totals import PAST, Bar, Common, Shape, names_in, note_of
from podsql.engine.sums.words import words_of_bytes
from podsql.errors import Error
from podsql.pod.totalling import Totalling, differences, union
from podsql.policy.ledger.past import OFTEN


def pods_of(rng, people, groups):
    """For each of 4 to 6 pods, its people by group: name to rows; some are in several groups."""
    shape = []
    for _ in range(rng.randint(4, 6)):
        cells = [{} for _ in range(groups)]
        for person in range(rng.randint(0, people)):
            for group in rng.sample(range(groups), min(groups, rng.choice([1, 1, 1, 2]))):
                cells[group][person] = OFTEN * rng.randint(1, 3) + 1
        shape.append([[cell] for cell in cells])
    return shape


def judged(pods, bar, past=None):
    """One statement at all pods: what each adds to the totals is all that they judge by."""
    groups = len(pods[0])
    shape = Shape(groups=groups, figures=1)
    parts = [
        Totalling(bar=bar, shape=shape, cells=cells, past=past[at] if past else ())
        for at, cells in enumerate(pods)
    ]
    totals = [sum(column) for column in zip(*(one.first() for one in parts), strict=True)]
    assert len(totals) == shape.first
    for one in parts:
        one.judge_first(totals)
    totals = [sum(column) for column in zip(*(one.second() for one in parts), strict=True)]
    for one in parts:
        one.judge_second(totals)
    assert len({(tuple(one.shown), one.empty, one.full, len(one.fresh)) for one in parts}) == 1
    return parts


def rest(numbers, colluders):
    """The fewest that are left without so many of the pods."""
    return sum(sorted(numbers)[: len(numbers) - colluders])


def apart(one, other):
    """People of one cell only, and people with other rows."""
    return (
        len(one.keys() ^ other.keys()),
        sum(one.get(person) != other.get(person) for person in one.keys() | other.keys()),
    )


@pytest.mark.parametrize("colluders", [1, 2])
def test_whatever_leaves_has_enough_people_and_differs_by_enough_also_without_some_pods(colluders):
    rng = random.Random(7 * colluders)
    bar = Bar(units=6, colluders=colluders)
    answers = kept = 0
    for _ in range(120):
        pods = pods_of(rng, rng.choice([3, 8, 25]), rng.randint(1, 4))
        past = [[] for _ in pods]
        for _ in range(3):
            parts = judged(pods, bar, past)
            shown = parts[0].shown
            answers += len(shown)
            kept += len(pods[0]) - len(shown)
            for group in shown:
                assert rest([len(cells[group][0]) for cells in pods], colluders) >= bar.units
            cells = [
                [*past[at], *(pods[at][group][0] for group in shown)] for at in range(len(pods))
            ]
            if shown:
                whole = [union([one[group][0] for group in shown]) for one in pods]
                cells = [[*known, whole[at]] for at, known in enumerate(cells)]
            for one, other in combinations(range(len(cells[0])), 2):
                found = [apart(known[one], known[other]) for known in cells]
                for numbers in zip(*found, strict=True):
                    assert not sum(numbers) or rest(numbers, colluders) >= bar.units
            for at, one in enumerate(parts):
                past[at] += one.fresh
            # People come and go, or are asked about in other groups.
            pods = [
                [
                    [{who: rows for who, rows in cell.items() if rng.random() > chance}]
                    for [cell] in one
                ]
                for one in pods
                for chance in [rng.choice([0, 0.05, 0.5])]
            ]
    assert answers > 60
    assert kept > 100


def test_the_bar_is_reached_by_rare_people_at_many_pods_and_by_no_few_pods():
    bar = Bar(units=10, colluders=1)

    def total(*numbers):
        return sum(min(number, bar.cap) for number in numbers)

    assert total(3, 3, 3, 3, 3) >= bar.least
    assert total(3, 3, 3, 3) < bar.least
    assert total(1000, 1000) < bar.least  # each of two would know the other's
    assert total(1000, 9) < bar.least
    assert total(1000, 5, 5) >= bar.least
    for units in range(3, 40):
        for colluders in range(1, 5):
            bar = Bar(units=units, colluders=colluders)
            assert (colluders + 1) * bar.cap < bar.least <= (colluders + 2) * bar.cap


def rows_of(cell):
    return {who: OFTEN * (1 + rows) + 1 for who, rows in cell.items()}


def test_people_are_not_counted_beside_what_counts_few_of_them_otherwise():
    """Rows less people are somebody's further rows; groups less the total, who is in two of them."""
    bar = Bar(units=6, colluders=1)
    people = dict.fromkeys(range(9), 1)
    rows = {who: OFTEN * (who + 7) + 1 for who in range(9)}
    twice = rows | {0: OFTEN * 99 + 2}

    def shown(group, *past):
        return judged([[[group]] for _ in range(4)], bar, [list(past) for _ in range(4)])[0].shown

    assert shown(people, rows) == shown(rows, people) == [0]
    assert shown(people, twice) == shown(twice, people) == []
    assert shown(dict.fromkeys(range(9), OFTEN * 5 + 2), people) == []  # nor a multiple less few
    other = dict.fromkeys(range(20, 29), 1)
    apart = [[[people], [other]] for _ in range(4)]
    assert judged(apart, bar)[0].shown == [0, 1]
    both = [[[people], [other | {0: 1}]] for _ in range(4)]  # somebody is in two groups
    assert judged(both, bar)[0].shown == []


def test_differences_are_those_of_people_and_of_their_rows_up_to_the_cap():
    rng = random.Random(3)
    for _ in range(300):
        one, other = (
            {who: rng.randint(0, 2) for who in range(9) if rng.random() < 0.8} for _ in "ab"
        )
        people, rows = apart(one, other)
        assert differences(rows_of(one), rows_of(other), 3) == (min(people, 3), min(rows, 3), 0)
        assert differences(rows_of(one), rows_of(other), 99) == (people, rows, 0)


def test_what_is_answered_again_needs_no_room_and_what_is_new_does():
    cells = [[[dict.fromkeys(range(9), 1)], [dict.fromkeys(range(9, 18), 1)]] for _ in range(4)]
    bar = Bar(units=6, colluders=1)
    known = [one.fresh for one in judged(cells, bar)]
    assert [len(one) for one in known] == [3] * 4  # two groups, and both together
    again = judged(cells, bar, known)
    assert again[0].shown == [0, 1]
    assert again[0].fresh == []
    full = [[{-at - 99 * n: OFTEN for at in range(9)} for n in range(PAST)] for _ in cells]
    assert judged(cells, bar, full)[0].full
    assert judged(cells, bar, full)[0].shown == []


class Job:
    """As much of a job as its totals need."""

    digest, members, units, colluders, cells = bytes(32), ("a", "b", "c"), 10, 1, 1 + 9


NOTES = {pod: note_of(bytes([at]) * 32, [bytes(16)]) for at, pod in enumerate("abc")}


def opened(numbers, change=None, notes=NOTES):
    """What pod a reads of totals that a coordinator brings back, changed or not."""
    import numpy as np

    from podsql.engine.sums.encoding import put_integers
    from podsql.engine.sums.masks import add_masks
    from podsql.engine.sums.words import add_words, zero_words

    total = zero_words(128, 9)
    for pod, own in numbers.items():
        common = Common.of(Job, 1, pod, NOTES)
        cells = zero_words(128, 9)
        put_integers(cells, common.close(own), limit=2**120, first=0)
        add_masks(cells, plus=[common.own], minus=())
        add_words(total, cells)
    if change is not None:
        cells = zero_words(128, 9)
        put_integers(cells, change, limit=2**126, first=0)
        add_words(total, cells)
    assert len(set(np.ravel(total).tolist())) == 18  # to the coordinator they are as drawn
    assert words_of_bytes(total.tobytes(), 128).shape == (2, 9)
    return Common.of(Job, 1, "a", notes).open(total.tobytes(), 128)


def test_totals_are_read_by_pods_and_forged_by_nobody():
    numbers = {"a": [1, 0, 5], "b": [2, 0, 0], "c": [3, 0, 1]}
    assert opened(numbers)[:4] == [6, 0, 6, 0]
    for change in ([9, *[0] * 8], [0, 1, *[0] * 7], [*[0] * 8, 1], [0, -1, 0, *[0] * 6]):
        with pytest.raises(Error, match="other totals"):
            opened(numbers, change)
    for pod, note in (("b", bytes(32) + bytes(16)), ("c", NOTES["c"] + bytes(16))):
        with pytest.raises(Error, match="other totals"):  # a pod that tells pods different things
            opened(numbers, notes=NOTES | {pod: note})
    assert names_in(NOTES["a"]) == {bytes(16)}
    with pytest.raises(Error, match="note"):
        names_in(NOTES["a"] + b"x")
