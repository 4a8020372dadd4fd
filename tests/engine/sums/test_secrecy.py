"""What the coordinator and the relay see tells nothing of one pod: by statistics that can fail.

Each test of uniformity is run on a planted fault too, and must see it.
"""

import itertools
import os
import struct

import msgspec
import numpy as np
import pytest
from sum_world import World, looks_uniform

from podsql.engine.sums import pod_round
from podsql.engine.sums.masks import add_masks
from podsql.engine.sums.seeds import pair_mask, unseal
from podsql.engine.sums.shamir import Interpolation
from podsql.engine.sums.words import add_words, words_of_bytes, zero_words
from podsql.sum_messages import SumShares

CELLS = 300
WORDS = pytest.mark.parametrize("word", [64, 128])


def constant_figures(world, value=7):
    """The same small figures at all pods: nothing uniform about them."""
    return {pod: (1, ([value] * CELLS,)) for pod in world.names}


class Opened:
    """A round as a coordinator sees it that keeps all it gets: ``pod03`` is late, and called missing;
    its vector comes in the end. ``seeds``: what the round's openings give."""

    def __init__(self, *, word=128, n=5, number=1, world=None):
        self.world = world or World(n, word=word, parts=((CELLS, 0),))
        world = self.world
        if number == 1:
            world.meet()
        self.deals = world.deal(number)
        figures = constant_figures(world)
        self.alive = [pod for pod in world.names if pod != "pod03"]
        # The late vector too: its pod sent it before it knew that it is late.
        self.masked = world.mask(self.deals, figures, number)
        lists = world.agree(world.survivors(self.alive, ["pod03"], number), self.alive)
        openings = {pod: world.ask(pod, world.unmask(lists, number)) for pod in self.alive}
        shown = {world.job.places[pod]: told for pod, told in openings.items()}
        interpolation = Interpolation(list(shown))
        self.self_seeds = {
            pod: interpolation.secret({place: told.alive[at] for place, told in shown.items()})
            for at, pod in enumerate(self.alive)
        }
        key = interpolation.secret({place: told.missing[0] for place, told in shown.items()})
        body = unseal(key, self.deals["pod03"].bundle)
        self.pair_seeds = {pod: body[32 * at : 32 * at + 32] for at, pod in enumerate(self.alive)}

    def words(self, pod):
        return words_of_bytes(self.masked[pod].vector, self.world.told.word).copy()

    def known_masks_off(self, pod):
        """A pod's vector without every mask that the coordinator knows."""
        bare = self.words(pod)
        plus, minus = [], []
        if pod == "pod03":
            for other, seed in self.pair_seeds.items():
                (minus if pod < other else plus).append(pair_mask(seed, b""))
        else:
            minus.append(self.self_seeds[pod])
            (minus if pod < "pod03" else plus).append(pair_mask(self.pair_seeds[pod], b""))
        add_masks(bare, plus=plus, minus=minus)
        return bare


@WORDS
def test_each_masked_vector_is_uniform(word):
    seen = Opened(word=word)
    for pod in seen.world.names:
        assert looks_uniform(seen.masked[pod].vector)


@WORDS
def test_a_vector_without_masks_is_seen_not_to_be_uniform(word):
    world = World(3, word=word, parts=((CELLS, 0),))
    bare = zero_words(word, world.job.cells)
    bare[0] = 7
    assert not looks_uniform(bare.tobytes())


@WORDS
def test_only_the_sum_of_all_survivors_comes_out(word):
    seen = Opened(word=word)
    bare = {pod: seen.known_masks_off(pod) for pod in seen.alive}
    for size in range(1, len(seen.alive) + 1):
        for some in itertools.combinations(seen.alive, size):
            total = zero_words(word, seen.world.job.cells)
            for pod in some:
                add_words(total, bare[pod])
            if size == len(seen.alive):
                assert total[0].tolist() == [size] + [7 * size] * CELLS
            else:
                assert looks_uniform(total.tobytes())


@WORDS
def test_a_late_vector_stays_covered_by_its_self_mask(word):
    seen = Opened(word=word)
    assert looks_uniform(seen.known_masks_off("pod03").tobytes())


def test_a_pod_that_left_its_self_mask_out_would_be_seen(monkeypatch):
    """A planted fault: the test above can fail, and what it guards against is the pod's figures."""
    honest = pod_round.add_masks

    def without_self_mask(words, *, plus, minus):
        honest(words, plus=plus[1:], minus=minus)

    monkeypatch.setattr(pod_round, "add_masks", without_self_mask)
    bare = Opened().known_masks_off("pod03")
    assert not looks_uniform(bare.tobytes())
    assert bare[0].tolist() == [1] + [7] * CELLS


def differences(first, second):
    """The vectors of two rounds with equal figures, one less the other."""
    for pod in first.world.names:
        yield (first.words(pod) - second.words(pod)).tobytes()


def test_two_rounds_with_equal_figures_have_unrelated_vectors():
    first = Opened()
    second = Opened(number=2, world=first.world)
    assert all(looks_uniform(one) for one in differences(first, second))
    # Also without what both rounds opened: no mask is that of another round.
    for pod in first.world.names:
        difference = first.known_masks_off(pod) - second.known_masks_off(pod)
        assert looks_uniform(difference.tobytes())
    assert not set(tags(first)) & set(tags(second))


def tags(seen):
    """What is public of the seeds of a round."""
    for deal in seen.deals.values():
        yield deal.self_tag
        yield from deal.pair_tags


def test_a_seed_that_does_not_depend_on_the_round_would_be_seen(monkeypatch):
    """A planted fault: pair masks of two rounds are the same."""
    honest = pod_round.pair_seed
    monkeypatch.setattr(pod_round, "pair_seed", lambda root, number: honest(root, 0))
    first = Opened()
    second = Opened(number=2, world=first.world)
    assert set(tags(first)) & set(tags(second))
    for pod in first.alive:
        difference = first.known_masks_off(pod) - second.known_masks_off(pod)
        assert not looks_uniform(difference.tobytes())


def test_a_source_of_randomness_that_repeats_itself_would_be_seen():
    """A planted fault: self-mask seeds of two rounds are the same."""
    world = World(5, parts=((CELLS, 0),))
    fixed = {pod: os.urandom(64) for pod in world.names}
    world.draws = {pod: (lambda size, start=start: start[:size]) for pod, start in fixed.items()}
    world.pods = {pod: world.new_pod(pod) for pod in world.names}
    first = Opened(world=world)
    second = Opened(number=2, world=world)
    assert {deal.self_tag for deal in first.deals.values()} & set(tags(second))


def test_no_two_pods_or_pairs_have_one_mask():
    seen = Opened()
    found = list(tags(seen))
    n = len(seen.world.names)
    # Each pair's tag is said by both of its pods, each self-mask's by one.
    assert len(found) == n + n * (n - 1)
    assert len(set(found)) == n + n * (n - 1) // 2


def test_every_share_that_is_shown_is_uniform():
    world = World(5)
    world.meet()
    shown = bytearray()
    for number in range(1, 9):
        deals = world.deal(number)
        world.mask(deals, number=number)
        alive = world.names[:4]
        lists = world.agree(world.survivors(alive, ["pod04"], number), alive)
        for pod in alive:
            told = world.ask(pod, world.unmask(lists, number))
            # The first byte is the 257th bit, almost always zero.
            shown += b"".join(share[1:] for share in (*told.alive, *told.missing))
    assert looks_uniform(bytes(shown))


def forms_of(value):
    """How a number may stand in bytes: fixed sizes of both ends, msgpack, a double, text."""
    for size in (8, 16):
        if value < 2 ** (8 * size):
            yield value.to_bytes(size, "little")
            yield value.to_bytes(size, "big")
    yield msgspec.msgpack.encode(value)
    yield struct.pack("<d", value)
    yield str(value).encode()


@WORDS
def test_no_message_holds_a_pods_figure_or_its_number_of_rows(word):
    world = World(5, word=word, parts=((3, 0), (1, 20)))
    canaries = {}
    figures = {}
    for at, pod in enumerate(world.names):
        rows, cells = (
            1_600_000_011_000_017 + at * 7919,
            [2_718_281_828_459_045 + at * 104_729 + k for k in range(3)],
        )
        figures[pod] = (rows, (cells, [cells[0] / 2**20]))
        canaries[pod] = [rows, *cells]
    opened = world.round(figures, {"pod03": SumShares})
    assert opened.sum.pods == ("pod00", "pod01", "pod02", "pod04")
    # The sum is of the survivors; the transcript is all that crossed.
    whole = b"".join(world.seen)
    assert len(whole) > 5000
    for values in canaries.values():
        for value in values:
            assert not [form for form in forms_of(value) if form in whole]
    # So it can fail: the same search finds a figure that stands in a message.
    planted = whole + np.array([canaries["pod00"][0]], dtype="<u8").tobytes()
    assert [form for form in forms_of(canaries["pod00"][0]) if form in planted]
