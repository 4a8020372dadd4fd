"""Counts over several pods: the protocol without a network, against sets, and against cheats."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from podsql.engine.psi import ring as rings
from podsql.engine.psi.points import POINT_BYTES, hide, multiply_points, new_secret, ordered
from podsql.engine.psi.ring import Count, HandOn, Multiply, Order, Over, Ring, in_order, released
from podsql.errors import Error
from podsql.messages import PsiClaim
from podsql.relay.signing import sign

SESSION = bytes(range(32))
PODS = ("east", "north", "south", "west")


def claim_of(pod, size, *, least=0, zero=True, base=1, complement=False, session=SESSION):
    return PsiClaim(session, pod, size, least, zero, base, complement)


class Sent(NamedTuple):
    sender: str
    to: str
    claim: PsiClaim
    index: int
    points: bytes


class World:
    """Pods that hand on what they are told to; ``cheat`` may change what is sent."""

    def __init__(self, keys, *, cheat=lambda sent: [sent], most=1000, **terms):
        self.pods = tuple(keys)
        self.rings = {
            pod: Ring(pod=pod, pods=self.pods, session=SESSION, most=most) for pod in keys
        }
        self.secrets = {pod: new_secret() for pod in keys}
        self.cheat = cheat
        self.over = set()
        self.count = None
        self.seen = []
        self.pending = []
        self.claims = {pod: claim_of(pod, len(found), **terms) for pod, found in keys.items()}
        for pod, found in keys.items():
            names = [b"%d" % key for key in sorted(found)]
            points = ordered(hide(self.secrets[pod], SESSION, names))
            document = sign("psi-claim", b"", bytes(32))
            self.pending.append((pod, self.rings[pod].bring(self.claims[pod], document, points)))

    def run(self):
        while self.pending:
            pod, effects = self.pending.pop(0)
            for effect in effects:
                self.pending.append((pod, self.do(pod, effect) or []))
        return self

    def do(self, pod, effect):
        ring = self.rings[pod]
        match effect:
            case Multiply(origin, index, points, own):
                found = points if own else multiply_points(self.secrets[pod], points)
                return ring.multiplied(origin, index, found)
            case Order(origin, parts):
                return ring.settled(origin, in_order(parts))
            case HandOn(origin, to, claim, points):
                for index, part in enumerate(rings.parts_of(points)):
                    for sent in self.cheat(Sent(pod, to, self.claims[origin], index, part)):
                        self.seen.append(sent)
                        self.pending.append((sent.to, self.take(sent, claim)))
                return ring.handed_on(origin)
            case Count():
                self.count = effect
            case Over():
                self.over.add(pod)
        return []

    def take(self, sent, document):
        return self.rings[sent.to].take(sent.sender, sent.claim, document, sent.index, sent.points)


SETS = st.lists(st.sets(st.integers(0, 20), max_size=9), min_size=2, max_size=4)


@given(SETS)
@settings(max_examples=25, deadline=None)
def test_pods_count_what_sets_hold(sets):
    world = World(dict(zip(PODS, sets, strict=False))).run()
    assert released(world.count.sets, world.count.claims, "union") == len(set().union(*sets))
    shared = len(set.intersection(*sets))
    assert released(world.count.sets, world.count.claims, "overlap") == shared
    assert world.over == set(world.pods[:-1])


def test_large_sets_travel_in_parts(monkeypatch):
    monkeypatch.setattr(rings, "PART_POINTS", 4)
    keys = {"north": set(range(10)), "south": set(range(5, 15)), "west": set(range(9))}
    world = World(keys).run()
    assert released(world.count.sets, world.count.claims, "union") == 15
    assert max(len(sent.points) for sent in world.seen) == 4 * POINT_BYTES
    assert max(sent.index for sent in world.seen) == 2


def test_no_pod_sees_a_set_twice_alike_nor_a_key():
    world = World({"north": {1, 2, 3}, "south": {2, 3, 4}, "west": {3, 4, 5}}).run()
    travelled = [point for sent in world.seen for point in split(sent.points)]
    # 3 sets of 3 keys cross 2, 2 and 3 links, and no point of one link is that of another.
    assert len(travelled) == 3 * 7
    assert len(set(travelled)) == 3 * 7 - overlaps(world)
    # Only the last pod multiplies last: nobody else could compare two sets.
    assert {sent.to for sent in world.seen if sent.claim.pod != "west"} == {
        "north",
        "south",
        "west",
    }


def split(points):
    return [points[at : at + POINT_BYTES] for at in range(0, len(points), POINT_BYTES)]


def overlaps(world):
    """Points that the last pod gets under the same secrets: of the sets of north and south."""
    last = [set(split(s.points)) for s in world.seen if s.to == "west" and s.claim.pod != "west"]
    return len(set.intersection(*last))


KEYS = {"north": {1, 2, 3}, "south": {2, 3, 4}, "west": {3, 4, 5}}


def of(pod, sender, change):
    """Cheat with what ``sender`` hands on of the set of ``pod``."""

    def cheat(sent):
        return change(sent) if (sent.claim.pod, sent.sender) == (pod, sender) else [sent]

    return cheat


CHEATS = {
    "a point dropped": (lambda s: [s._replace(points=s.points[32:])], "BAD_MESSAGE"),
    "a point twice": (lambda s: [s._replace(points=s.points[:32] + s.points[:64])], "BAD_MESSAGE"),
    "another order": (
        lambda s: [s._replace(points=s.points[32:] + s.points[:32])],
        "BAD_MESSAGE",
    ),
    "half a point": (lambda s: [s._replace(points=s.points[:-1])], "BAD_MESSAGE"),
    "the identity": (
        lambda s: [s._replace(points=bytes([1]) + bytes(31) + s.points[32:])],
        "BAD_MESSAGE",
    ),
    "small order": (lambda s: [s._replace(points=bytes(32) + s.points[32:])], "BAD_MESSAGE"),
    "the same part again": (lambda s: [s, s], "REPLAY"),
    "a part too many": (lambda s: [s._replace(index=1)], "BAD_MESSAGE"),
    "another size than signed": (
        lambda s: [s._replace(claim=replace(s.claim, size=4))],
        "BAD_MESSAGE",
    ),
    "another statement's set": (
        lambda s: [s._replace(claim=replace(s.claim, session=bytes(32)))],
        "BAD_MESSAGE",
    ),
    "the set of a stranger": (
        lambda s: [s._replace(claim=replace(s.claim, pod="stranger"))],
        "BAD_MESSAGE",
    ),
    "a huge set": (lambda s: [s._replace(claim=replace(s.claim, size=10**9))], "RESULT_TOO_BIG"),
    "a set sent past the next pod": (lambda s: [s._replace(to="west")], "BAD_MESSAGE"),
}


@pytest.mark.parametrize(("change", "code"), CHEATS.values(), ids=CHEATS.keys())
def test_a_cheating_pod_ends_the_count(change, code):
    with pytest.raises(Error) as caught:
        World(KEYS, cheat=of("north", "north", change)).run()
    assert caught.value.code == code


def test_a_pod_on_the_way_cannot_change_how_many_keys_another_brings():
    with pytest.raises(Error, match="another size"):
        World(KEYS, cheat=of("north", "south", lambda s: [s._replace(points=s.points[32:])])).run()


def test_a_pods_own_set_must_come_back_as_it_signed_it():
    def forged(sent):
        claim = replace(sent.claim, size=2)
        return [sent._replace(claim=claim, points=sent.points[32:])]

    with pytest.raises(Error, match="not the one this pod signed"):
        World(KEYS, cheat=of("west", "south", forged)).run()


@pytest.mark.parametrize("pods", [("north",), ("north", "north"), ("south", "west")])
def test_a_count_needs_two_pods_and_this_one_among_them(pods):
    with pytest.raises(Error):
        Ring(pod="north", pods=pods, session=SESSION, most=10)


def count(sets, counted=None, **terms):
    points = [b"".join(n.to_bytes(32, "big") for n in sorted(one)) for one in sets]
    claims = [claim_of("p", len(one), **terms) for one in sets]
    if counted is not None:
        return released(points, claims, counted)
    return released(points, claims, "overlap"), released(points, claims, "union")


def test_the_strictest_pods_terms_hold():
    wide = set(range(40))
    assert count([wide, wide], least=10) == (40, 40)
    # Five are shared: too few to tell, also by how many there are together.
    for counted in ("overlap", "union"):
        with pytest.raises(Error) as caught:
            count([wide, set(range(35, 80))], counted, least=10)
        assert caught.value.code == "WITHHELD"
    assert count([wide, set(range(50, 90))], least=10) == (0, 80)
    with pytest.raises(Error):
        count([wide, set(range(50, 90))], least=10, zero=False)
    # 4 keys of one pod are not the other's: a count beside its own would tell of four.
    with pytest.raises(Error):
        count([wide, set(range(44))], least=10, complement=True)
    assert count([wide, set(range(43))], least=10, base=5) == (40, 45)


def test_a_set_too_small_to_be_about_a_group_is_not_multiplied():
    with pytest.raises(Error) as caught:
        World({"north": {1}, "south": set(range(20))}, least=10, zero=True).run()
    assert caught.value.code == "WITHHELD"
    assert World({"north": set(), "south": set(range(20))}, least=10).run().count is not None
