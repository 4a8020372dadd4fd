"""``[policy] mode = "offline"``: what signed grants decide while their service is silent."""

import shutil

import pytest
from served import ANSWER, CAROL, COUNT, code_of, served, until

from podsql.errors import Error
from podsql.pod.beliefs import Beliefs
from podsql.policy.revocations import GRACE_MS
from podsql.relay.keys import PeerKeys, fingerprint


@pytest.fixture
def federation():
    with served(mode="offline") as made:
        until(lambda: belief(made).next_update)
        yield made


def belief(federation):
    return federation.pods["north"].services.beliefs.of(federation.key("access"))


def reason(federation):
    return federation.events("query")[-1].entry.reason


def test_signed_grants_decide_until_the_list_is_too_old(federation):
    federation.allow()
    with federation.connect() as con, federation.connect("bob") as bob:
        assert con.execute(COUNT).fetchall() == ANSWER
        federation.stop_service()
        assert con.execute(COUNT).fetchall() == ANSWER
        assert code_of(bob, COUNT) != ""
        services = federation.pods["north"].services
        clock, late = services.clock, belief(federation).next_update + GRACE_MS + 1
        services.clock = lambda: late
        assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
        assert reason(federation) == "revocation list too old"
        services.clock = clock
        federation.start_service()
        with federation.orders() as orders:
            orders.off_board(CAROL, federation.key("ana"))
        until(lambda: federation.events("withdrawn"))
        federation.stop_service()
        assert code_of(con, COUNT) != ""


def test_where_the_service_answers_its_decision_rules(federation):
    grant = federation.allow()
    with federation.connect() as con:
        assert con.execute(COUNT).fetchall() == ANSWER
        with federation.orders() as orders:
            orders.revoke(CAROL, grant)
        assert code_of(con, COUNT) in ("DENIED", "UNKNOWN_TABLE")
        until(lambda: federation.events("withdrawn"))
        federation.stop_service()
        assert code_of(con, COUNT) not in ("",)


def test_results_that_must_be_reviewed_need_the_service(federation):
    federation.allow(review=True)
    with federation.connect() as con:
        assert code_of(con, COUNT) == "IN_REVIEW"
        federation.stop_service()
        assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
        assert reason(federation) == "no signed grant at hand"


def test_online_is_the_default_and_needs_the_service():
    with served() as federation, federation.connect() as con:
        federation.allow()
        assert con.execute(COUNT).fetchall() == ANSWER
        federation.stop_service()
        assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
        assert reason(federation) == "no answer in time"


def test_attack_45_what_was_seen_of_a_service_outlives_the_pod(tmp_path):
    key = PeerKeys.generate().identity_public
    mark, path = fingerprint(key), tmp_path / "services.json"
    beliefs = Beliefs(path, (mark,))
    assert not path.exists()
    beliefs.reached(key, 7, 1)
    first = path.stat().st_mtime_ns
    beliefs.reached(key, 7, 2)
    assert path.stat().st_mtime_ns == first, "written only when it rises"
    again = Beliefs(path, (mark,))
    assert again.of(key).epoch == 7
    with pytest.raises(Error):
        again.reached(key, 6, 3)
    again.forget(key)
    assert Beliefs(path, (mark,)).of(key).epoch == 0
    shutil.copy(path, tmp_path / "damaged.json")
    (tmp_path / "damaged.json").write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Error, match="damaged"):
        Beliefs(tmp_path / "damaged.json", (mark,))
