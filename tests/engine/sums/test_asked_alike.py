"""What pods of one round are asked is the same, or their sum is noise: no pod is singled out by its question."""

import pytest
from sum_world import World, plain_sum

from podsql.engine.sums.effects import Opened, Restart
from podsql.sum_messages import SumShares, SumSurvivors

PARTS = ((5, 0),)


def asked_so(world, odd=(), asked=b"one"):
    return {
        pod: (*figures, (), b"other" if pod in odd else asked)
        for pod, figures in world.some_figures().items()
    }


def is_sum(world, ended, figures, pods):
    rows, totals = plain_sum(figures, pods, PARTS)
    return (ended.sum.rows, [part.units() for part in ended.sum.parts]) == (rows, totals)


@pytest.mark.parametrize("odd", [("pod00",), ("pod01",), ("pod03",), ("pod01", "pod02")])
def test_a_pod_that_was_asked_otherwise_makes_the_sum_noise(odd):
    """The coordinator may take either for what all were asked."""
    world = World(4, parts=PARTS)
    figures = asked_so(world, odd)
    for told in (b"one", b"other"):
        ended = world.round(figures, asked=told)
        if isinstance(ended, Restart):
            assert ended.fault.code == "BAD_RESULT"
            continue
        assert isinstance(ended, Opened)
        for pods in (world.names, odd, tuple(set(world.names) - set(odd))):
            assert not is_sum(world, ended, figures, pods)
        assert all(abs(cell) > 2**64 for cell in ended.sum.parts[0].units())


@pytest.mark.parametrize("gone", [SumShares, SumSurvivors])
def test_pods_that_were_asked_alike_add_up_whoever_is_lost(gone):
    world = World(5, parts=PARTS)
    figures = asked_so(world)
    ended = world.round(figures, {"pod02": gone}, asked=b"one")
    assert isinstance(ended, Opened)
    assert is_sum(world, ended, figures, ended.sum.pods)
    assert ("pod02" in ended.sum.missing) == (gone is SumShares)
