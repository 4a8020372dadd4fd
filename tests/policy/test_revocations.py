"""What a pod believes of a service, and what it decides while that is silent; attack 45."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.errors import Error
from podsql.messages import RequestHead, encode
from podsql.policy.decisions import Agreed, Lost, Unavailable
from podsql.policy.revocations import (
    GRACE_MS,
    LONGEST_MS,
    Belief,
    believe,
    decide_alone,
    grants_alone,
    reached,
    read_list,
)
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.service_messages import Grant, Revocations

NOW = 1_770_000_000_000
MINUTE = 60_000
ANA, EVE = b"a" * 32, b"e" * 32


def listed(**more) -> Revocations:
    base = {
        "epoch": 5, "issued": NOW, "next_update": NOW + 15 * MINUTE, "frozen": False, "grants": (),
        "people": (),
    }  # fmt: skip
    return Revocations(**{**base, **more})


def grant(**more) -> Grant:
    base = {
        "grant_id": "g1", "analyst": ANA, "pod": "*", "tables": ("main.*",), "purpose": "*",
        "project": "*", "release": "rows", "since": NOW - MINUTE, "until": NOW + 60 * MINUTE,
    }  # fmt: skip
    return Grant(**{**base, **more})


def head(**more) -> RequestHead:
    base = {
        "request_id": b"r" * 16, "statement_id": b"s" * 16, "pod": b"p" * 32, "analyst": ANA,
        "handshake": b"", "payload_hash": b"h" * 32, "tables": ("main.visits",), "purpose": "",
        "project": "", "pods": ("north",), "offer": "1", "created": NOW, "deadline": NOW + MINUTE,
    }  # fmt: skip
    return RequestHead(**{**base, **more})


def alone(belief: Belief, *grants: Grant, now: int = NOW, **asked):
    """What is decided without the service."""
    try:
        found = grants_alone(
            grants or (grant(),), analyst=asked.get("analyst", ANA), belief=belief, now=now
        )
    except Unavailable as fault:
        return Lost(reason=fault.reason)
    return decide_alone(head(**asked), found, pod="north", now=now)


FRESH = believe(Belief(), listed(), NOW)
NONE = Lost(reason="no signed grant at hand")


def test_a_fresh_list_and_a_signed_grant_decide():
    assert alone(FRESH) == Agreed(release="rows")


def test_attack_45_a_missing_or_stale_list_decides_nothing_after_its_grace():
    assert alone(Belief(epoch=5)) == Lost(reason="no revocation list")
    end = NOW + 15 * MINUTE + GRACE_MS
    assert alone(FRESH, now=end) == Agreed(release="rows")
    assert alone(FRESH, now=end + 1) == Lost(reason="revocation list too old")


def test_attack_45_a_list_that_never_ends_is_believed_for_an_hour():
    belief = believe(Belief(), listed(next_update=NOW + 10_000 * MINUTE), NOW)
    assert belief.next_update == NOW + LONGEST_MS


def test_attack_45_an_older_list_is_refused_and_changes_nothing():
    known = believe(Belief(), listed(people=(ANA,), frozen=True), NOW)
    for older in (4, 0, -1):
        with pytest.raises(Unavailable) as caught:
            believe(known, listed(epoch=older), NOW)
        assert caught.value.reason == "service went back"
    with pytest.raises(Unavailable):
        reached(known, 4)
    assert reached(known, 5) is known
    assert reached(known, 9).people == {ANA}


def test_of_two_lists_that_overtake_each_other_the_later_one_holds():
    frozen = believe(Belief(), listed(frozen=True, issued=NOW + 10), NOW)
    assert believe(frozen, listed(issued=NOW), NOW) is frozen
    assert not believe(frozen, listed(issued=NOW + 20), NOW).frozen


def test_who_or_what_the_list_names_has_no_right():
    assert alone(believe(FRESH, listed(epoch=6, people=(ANA,)), NOW)) == NONE
    assert alone(believe(FRESH, listed(epoch=6, grants=("g1",)), NOW)) == NONE
    assert alone(believe(FRESH, listed(epoch=6, frozen=True), NOW)) == NONE
    other = believe(FRESH, listed(epoch=6, people=(EVE,), grants=("g2",)), NOW)
    assert alone(other) == Agreed(release="rows")


def test_a_grant_whose_results_are_reviewed_serves_only_with_its_service():
    assert alone(FRESH, grant(review=True)) == NONE
    both = alone(FRESH, grant(review=True), grant(grant_id="g2", release="sdc_local"))
    assert both == Agreed(release="sdc_local")


@pytest.mark.parametrize(
    ("grants", "asked"),
    [
        ({"until": NOW}, {}),
        ({"since": NOW + 1}, {}),
        ({"pod": "south"}, {}),
        ({"purpose": "other"}, {}),
        ({"project": "other"}, {}),
        ({"tables": ("main.else",)}, {}),
        ({}, {"tables": ("main.visits", "secret.visits")}),
        ({}, {"tables": ()}),
        ({}, {"analyst": EVE}),
    ],
)
def test_attack_42_a_kept_grant_gives_nothing_beyond_its_own_words(grants, asked):
    assert alone(FRESH, grant(**grants), **asked) == NONE


def test_attack_41_a_list_is_read_only_as_one_and_from_its_own_service():
    service, other = PeerKeys.generate(), PeerKeys.generate()
    body = encode(listed())
    good = sign("revocations", body, service.identity)
    assert read_list(good, service.identity_public) == listed()
    for wrong in (
        sign("revocations", body, other.identity),
        sign("grant", body, service.identity),
        sign("revocations", body + b"\x00", service.identity),
        sign("revocations", encode(grant()), service.identity),
    ):
        with pytest.raises(Error):
            read_list(wrong, service.identity_public)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), max_size=12))
def test_a_belief_only_moves_forward(arriving):
    belief = Belief()
    for epoch, issued, frozen in arriving:
        before = belief
        try:
            belief = believe(before, listed(epoch=epoch, issued=NOW + issued, frozen=frozen), NOW)
        except Unavailable:
            assert epoch < before.epoch
        assert (belief.epoch, belief.issued) >= (before.epoch, before.issued)
        if (epoch, NOW + issued) > (before.epoch, before.issued):
            assert belief.frozen is frozen
