"""Sums over pods that stay and pods that leave: bit for bit the plain sum of those in it, or nothing."""

import os
import random

import numpy as np
import pytest
from msgspec.structs import replace
from sum_world import World, plain_sum, refused

from podsql.engine.sums.coordinator import Close, Coordinator, NextRound, Replied
from podsql.engine.sums.effects import Dropped, Opened, Ready, Restart
from podsql.engine.sums.pod_round import Input
from podsql.engine.sums.quorum import quorum
from podsql.errors import Error
from podsql.messages import Failed
from podsql.relay.signing import sign
from podsql.sum_messages import SumKeys, SumRound, SumShares, SumStart, SumSurvivors, SumUnmask

PARTS = ((7, 0), (5, 20))
STEPS = (SumRound, SumShares, SumSurvivors, SumUnmask)
"""A pod that is silent from here on was lost after the keys, after its shares, after its masked
vector, after it signed the list."""


def figures_of(world, seed=0):
    """Random figures of both signs, with zero and both ends of the range among them."""
    drawn = random.Random(seed)
    limit = world.job.limit
    figures = {}
    for pod in world.names:
        whole = [limit, -limit, 0, -1, *(drawn.randint(-limit, limit) for _ in range(3))]
        drawn.shuffle(whole)
        reach = limit / 2.0**21
        floats = [-0.0, -0.5 / 2**20, *(drawn.uniform(-reach, reach) for _ in range(3))]
        figures[pod] = (drawn.randint(0, 10**9), (whole, floats))
    return figures


def require_equal(end, world, figures, pods, parts=PARTS):
    assert isinstance(end, Opened), end
    rows, totals = plain_sum(figures, pods, parts)
    assert end.sum.pods == tuple(pods)
    assert end.sum.rows == rows
    assert [part.units() for part in end.sum.parts] == totals
    for part, total, (_, fraction) in zip(end.sum.parts, totals, parts, strict=True):
        assert part.floats().tolist() == [value / 2**fraction for value in total]


@pytest.mark.parametrize("word", [64, 128])
@pytest.mark.parametrize("n", [3, 4, 10, 50])
def test_a_sum_is_the_plain_sum_bit_for_bit(n, word):
    world = World(n, word=word, parts=PARTS)
    figures = figures_of(world)
    require_equal(world.round(figures), world, figures, world.names)
    assert not world.dropped


@pytest.mark.parametrize("word", [64, 128])
@pytest.mark.parametrize("sign", [1, -1])
def test_all_pods_at_the_end_of_the_range_do_not_overflow(word, sign):
    world = World(10, word=word, parts=((2, 0),))
    limit = world.job.limit
    figures = {pod: (limit, ([sign * limit, 0],)) for pod in world.names}
    end = world.round(figures)
    assert end.sum.parts[0].units() == [sign * limit * 10, 0]
    assert end.sum.rows == limit * 10
    assert (limit + 1) * 10 > 2 ** (word - 1) - 1, "the range leaves nothing unused"


@pytest.mark.parametrize("word", [64, 128])
@pytest.mark.parametrize("step", STEPS)
def test_pods_lost_at_one_step_are_left_out_or_already_in(step, word):
    world = World(10, word=word, parts=PARTS)
    figures = figures_of(world)
    lost = {"pod00", "pod04", "pod09"}
    end = world.round(figures, dict.fromkeys(lost, step))
    # Who is lost after its masked vector has arrived is in the sum.
    stays = step in (SumSurvivors, SumUnmask)
    require_equal(end, world, figures, [pod for pod in world.names if stays or pod not in lost])
    assert end.sum.missing == (tuple(sorted(lost)) if step is SumShares else ())


def expected_survivors(world, silent):
    """Who is in the sum, by the rules of the protocol alone; None: it starts again."""
    there = list(world.names)
    alive = None
    for step in STEPS:
        there = [pod for pod in there if silent.get(pod) is not step]
        if len(there) < max(3, world.job.quorum):
            return None
        if step is SumShares:
            alive = list(there)
    return alive


@pytest.mark.parametrize("seed", range(40))
def test_random_losses_at_every_step_give_the_plain_sum_or_a_restart(seed):
    drawn = random.Random(seed)
    n = drawn.choice([3, 4, 5, 7, 10])
    world = World(n, word=drawn.choice([64, 128]), parts=PARTS, colluders=drawn.choice([0, 1]))
    ends = []
    for number in range(1, 6):
        figures = figures_of(world, number)
        chance = drawn.choice([0.1, 0.3, 0.5])
        silent = {pod: drawn.choice(STEPS) for pod in world.names if drawn.random() < chance}
        end = world.round(figures, silent)
        alive = expected_survivors(world, silent)
        if alive is None:
            assert isinstance(end, Restart)
            assert end.fault.code == "SUM_RESTART"
        else:
            require_equal(end, world, figures, alive)
        ends.append(alive is None)
    assert not world.dropped


def test_the_random_losses_meet_both_ends():
    """Over the seeds of the test above, so that it cannot pass by never losing or never opening."""
    world = World(5)
    drawn = random.Random(1)
    seen = {
        expected_survivors(
            world, {pod: drawn.choice(STEPS) for pod in world.names if drawn.random() < 0.3}
        )
        is None
        for _ in range(50)
    }
    assert seen == {True, False}


def test_a_pod_that_was_lost_is_back_in_a_later_round():
    world = World(4, parts=PARTS)
    figures = figures_of(world)
    first = world.round(figures, {"pod02": SumShares})
    require_equal(first, world, figures, ["pod00", "pod01", "pod03"])
    require_equal(world.round(figures), world, figures, world.names)


def test_what_custodians_let_counts_for_pods_that_let_it_themselves():
    willing = ("pod00", "pod02")
    world = World(4, apart=willing)
    assert isinstance(world.begin(), Ready)
    assert world.coordinator.apart == {*willing}
    told = {pod: world.pods[pod].apart for pod in world.names}
    assert told == {"pod00": willing, "pod01": (), "pod02": willing, "pod03": ()}


def test_a_pod_without_a_key_ends_the_job_before_it_begins():
    world = World(4)
    end = world.begin({"pod01": SumStart})
    assert isinstance(end, Restart)
    assert end.fault.code == "SUM_RESTART"
    refused("ARGUMENT", world.coordinator.handle, NextRound())


def test_a_pod_lost_at_the_keys_is_missing_and_the_others_go_on():
    world = World(4, parts=PARTS)
    assert isinstance(world.begin({"pod01": SumKeys}), Ready)
    figures = figures_of(world)
    # It has no keys, so it refuses the round: as a lost pod would be.
    end = world.round(figures)
    require_equal(end, world, figures, ["pod00", "pod02", "pod03"])
    assert [(pod, fault.code) for pod, fault in world.dropped] == [("pod01", "BAD_MESSAGE")]


def test_a_restarted_pod_takes_no_part_in_the_old_job():
    world = World(4, parts=PARTS)
    figures = figures_of(world)
    world.round(figures)
    world.pods["pod03"] = world.new_pod("pod03")
    require_equal(world.round(figures), world, figures, ["pod00", "pod01", "pod02"])


@pytest.mark.parametrize(
    ("bad", "code", "cell"),
    [
        (([0] * 6 + [2**126], [0.0] * 5), "OVERFLOW", "cell 6 "),
        (([0] * 7, [0.0, float("nan")] + [0.0] * 3), "DATA", "cell 8 "),
        (([0] * 7, [0.0] * 4 + [float("-inf")]), "DATA", "cell 11 "),
        (([0] * 7, [1e300] + [0.0] * 4), "OVERFLOW", "cell 7 "),
        (([0] * 6, [0.0] * 5), "DATA", ""),
        (([0] * 7,), "DATA", ""),
    ],
)
def test_a_pod_with_a_bad_figure_refuses_and_the_others_go_on(bad, code, cell):
    world = World(4, parts=PARTS)
    figures = figures_of(world)
    figures["pod01"] = (17_171_717, bad)
    end = world.round(figures)
    require_equal(end, world, figures, ["pod00", "pod02", "pod03"])
    [(pod, fault)] = world.dropped
    assert (pod, fault.code) == ("pod01", code)
    assert cell in str(fault)
    assert "1717" not in str(fault)


@pytest.mark.parametrize("rows", [-1, 2**126])
def test_an_impossible_number_of_rows_is_refused(rows):
    world = World(4)
    world.meet()
    deals = world.deal()
    figures = {**world.some_figures(), "pod00": (rows, ([1] * 5,))}
    fault = refused("OVERFLOW", world.mask, deals, figures, 1, ["pod00"])
    assert str(rows) not in str(fault)


def test_a_refused_input_may_be_brought_again():
    world = World(3)
    world.meet()
    deals = world.deal()
    world.ask("pod00", world.shares("pod00", deals))
    pod = world.pods["pod00"]
    refused("DATA", pod.handle, Input(round=1, rows=1, parts=([1.5] * 5,)))
    assert pod.handle(Input(round=1, rows=1, parts=([1] * 5,)))


def test_arrays_and_lists_give_the_same_sum():
    world = World(3, parts=PARTS)
    figures = figures_of(world)
    arrays = {
        pod: (rows, (whole, np.array(floats))) for pod, (rows, (whole, floats)) in figures.items()
    }
    require_equal(world.round(arrays), world, figures, world.names)


def test_a_wrong_share_ends_the_round_with_a_name_and_no_sum():
    """A pod that shows a share that is not the one it was dealt cannot make a wrong sum."""
    for kind in ("alive", "missing"):
        world = World(4, parts=PARTS)
        figures = figures_of(world)
        honest = world.ask

        def lying(pod, message, brought=None, *, honest=honest, kind=kind):
            reply = honest(pod, message, brought)
            if isinstance(message, SumUnmask) and pod == "pod00":
                shares = getattr(reply, kind)
                return replace(reply, **{kind: (bytes(33), *shares[1:])})
            return reply

        world.ask = lying
        end = world.round(figures, {"pod03": SumShares})
        assert isinstance(end, Restart)
        assert end.fault.code == "BAD_MESSAGE"
        assert ("'pod00'" if kind == "alive" else "'pod03'") in str(end.fault)


def test_pair_masks_that_differ_end_the_round_with_both_names_and_no_sum():
    """pod00 does not have the pair mask with the missing pod that this one dealt a key to."""
    world = World(4, parts=PARTS)
    honest = world.ask

    def lying(pod, message, brought=None):
        reply = honest(pod, message, brought)
        if pod == "pod00" and isinstance(message, SumRound):
            return replace(reply, pair_tags=(*reply.pair_tags[:2], bytes(32)))
        return reply

    world.ask = lying
    end = world.round(figures_of(world), {"pod03": SumShares})
    assert isinstance(end, Restart)
    assert end.fault.code == "BAD_MESSAGE"
    assert "'pod00' and the missing 'pod03'" in str(end.fault)


def test_an_impossible_number_of_rows_ends_the_round():
    world = World(3, parts=PARTS)
    honest = world.ask

    def lying(pod, message, brought=None):
        reply = honest(pod, message, brought)
        if pod == "pod00" and isinstance(message, SumShares):
            vector = bytearray(reply.vector)
            # The sign of the first cell.
            vector[8 * world.job.cells + 7] ^= 0x80
            return replace(reply, vector=bytes(vector))
        return reply

    world.ask = lying
    end = world.round(figures_of(world))
    assert isinstance(end, Restart)
    assert end.fault.code == "BAD_RESULT"


def spoiled(reply, asked):
    """An answer of the right kind that no honest pod gives."""
    match asked:
        case SumRound():
            return replace(reply, pair_tags=reply.pair_tags[1:])
        case SumShares():
            return replace(reply, vector=reply.vector[8:])
        case SumSurvivors():
            listed = sign("sum-list", reply.survivors.body, os.urandom(32))
            return replace(reply, survivors=listed)
        case SumUnmask():
            return replace(reply, alive=reply.alive[1:])


@pytest.mark.parametrize("step", STEPS)
def test_a_pod_that_answers_badly_is_named_and_the_others_go_on(step):
    world = World(4, parts=PARTS)
    figures = figures_of(world)
    honest = world.ask

    def ask(pod, message, brought=None):
        reply = honest(pod, message, brought)
        return spoiled(reply, message) if pod == "pod01" and isinstance(message, step) else reply

    world.ask = ask
    stays = step in (SumSurvivors, SumUnmask)
    alive = [pod for pod in world.names if stays or pod != "pod01"]
    require_equal(world.round(figures), world, figures, alive)
    [(pod, fault)] = world.dropped
    assert pod == "pod01"
    assert fault.code in ("BAD_MESSAGE", "SIGNATURE")


def test_a_pod_that_answers_something_else_is_named():
    world = World(4, parts=PARTS)
    world.begin()
    world.coordinator.handle(NextRound())
    [dropped] = world.coordinator.handle(Replied("pod01", Failed("DENIED", "no")))
    assert (dropped.pod, dropped.fault.code) == ("pod01", "BAD_MESSAGE")


def test_the_sum_is_opened_as_soon_as_a_quorum_has_shown_its_shares():
    world = World(4, parts=PARTS)
    figures = figures_of(world)
    world.begin()
    pending = world.coordinator.handle(NextRound())
    while not isinstance(pending[0].message, SumUnmask):
        asks, pending = pending, []
        for asked in asks:
            rows, parts = figures[asked.pod]
            reply = world.ask(asked.pod, asked.message, Input(round=1, rows=rows, parts=parts))
            pending += world.coordinator.handle(Replied(asked.pod, reply))
    ends = [
        world.coordinator.handle(Replied(asked.pod, world.ask(asked.pod, asked.message)))
        for asked in pending
    ]
    assert [len(end) for end in ends] == [0, 0, 1, 0]
    require_equal(ends[2][0], world, figures, world.names)


def test_too_few_pods_that_took_the_keys_end_the_job():
    world = World(4)
    end = world.begin({"pod01": SumKeys, "pod02": SumKeys})
    assert isinstance(end, Restart)
    assert end.fault.code == "SUM_RESTART"


def test_a_quorum_leaves_no_two_groups_without_an_honest_pod_in_common():
    for n in range(3, 60):
        for c in range(n - 1):
            t = quorum(n, c)
            # Two groups of t, which share all c dishonest pods and no honest one, need more than n.
            assert 2 * (t - c) > n - c
            assert t - c >= 2
            assert t >= 3
            assert t <= n or c > n - 2
            smaller = t - 1
            assert 2 * (smaller - c) <= n - c or smaller - c < 2 or smaller < 3, (
                "no more than needed"
            )


def test_a_step_that_is_closed_goes_on_with_who_has_answered():
    world = World(4, parts=PARTS)
    figures = figures_of(world)
    world.begin()
    pending = world.coordinator.handle(NextRound())
    while not isinstance(pending[0], Opened):
        effects = []
        for asked in pending:
            if asked.pod != "pod01":
                rows, parts = figures[asked.pod]
                reply = world.ask(asked.pod, asked.message, Input(round=1, rows=rows, parts=parts))
                effects += world.coordinator.handle(Replied(asked.pod, reply))
        # pod01 answers nothing: the time of a step that asked it too is over.
        pending = effects or world.coordinator.handle(Close())
    [end] = pending
    require_equal(end, world, figures, ["pod00", "pod02", "pod03"])


def test_answers_that_come_late_or_twice_change_nothing():
    world = World(4, parts=PARTS)
    require_equal(world.round(figures_of(world, 1)), world, figures_of(world, 1), world.names)
    old = list(world.replies)
    figures = figures_of(world, 2)
    honest = world.ask

    def with_old_ones(pod, message, brought=None):
        for reply in old:
            effects = world.coordinator.handle(reply)
            assert not [effect for effect in effects if not isinstance(effect, Dropped)]
        return honest(pod, message, brought)

    world.ask = with_old_ones
    require_equal(world.round(figures), world, figures, world.names)


def test_a_round_that_nobody_closes_waits_and_a_next_one_begins_afresh():
    world = World(4, parts=PARTS)
    world.begin()
    begun = world.coordinator.handle(NextRound())
    assert len(begun) == 4
    figures = figures_of(world)
    end = world.round(figures)
    require_equal(end, world, figures, world.names)
    assert end.sum.round == 2


def test_no_round_begins_beyond_the_last():
    world = World(3, rounds=1)
    world.round(world.some_figures())
    refused("ARGUMENT", world.coordinator.handle, NextRound())


@pytest.mark.parametrize("n", [1, 2])
def test_a_job_of_fewer_than_three_pods_is_refused_by_both_ends(n):
    with pytest.raises(Error) as caught:
        World(n)
    assert caught.value.code == "TOO_FEW_PODS"
    told = World(3).told
    small = type(told)(told.nonce, told.about, told.members[:n], 1, 128, told.parts, told.rounds)
    refused("TOO_FEW_PODS", Coordinator, small)


def test_seeds_have_256_bits_and_are_fresh_in_every_round():
    drawn = []

    def draw(size):
        drawn.append(os.urandom(size))
        return drawn[-1]

    world = World(3)
    world.draws = dict.fromkeys(world.names, draw)
    world.pods = {pod: world.new_pod(pod) for pod in world.names}
    for _ in range(3):
        world.round(world.some_figures())
    seeds = [piece for piece in drawn if len(piece) == 32]
    # Three job keys; a self-mask and a bundle key a pod and round.
    assert len(seeds) == 3 + 3 * 3 * 2
    assert len(set(drawn)) == len(drawn)
