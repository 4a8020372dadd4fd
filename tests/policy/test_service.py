"""The policy service: grants, decisions, what a pod believes of them; attacks 39-49."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from podsql.errors import Error
from podsql.message import Signed
from podsql.messages import Failed, RequestHead, decode, encode, query_hash
from podsql.policy.decisions import (
    Agreed,
    Consultation,
    Lost,
    Refused,
    read_decision,
    read_grants,
    read_head,
    require_agreement,
    require_fresh,
)
from podsql.policy.denial import Denial
from podsql.policy.service.granting import all_grants, make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store, search_decisions
from podsql.relay.cards import Card, make_card, read_card
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.service_messages import (
    Decision,
    DecisionReply,
    DecisionRequest,
    GrantsReply,
    GrantsRequest,
)

NOW = 1_770_000_000_000
MINUTE = 60_000
SERVICE, POD, OTHER, ANA, EVE = (PeerKeys.generate() for _ in range(5))


def card(keys: PeerKeys, name: str, role: str) -> Card:
    return read_card(make_card(keys, name=name, role=role, now=NOW))


NORTH = card(POD, "north", "pod")


def make_head(**more) -> RequestHead:
    base = {
        "request_id": b"r" * 16,
        "statement_id": b"s" * 16,
        "pod": POD.identity_public,
        "analyst": ANA.identity_public,
        "handshake": b"h" * 64,
        "payload_hash": b"p" * 32,
        "tables": ("main.visits",),
        "purpose": "cohort",
        "project": "p1",
        "pods": ("north",),
        "offer": "v1",
        "created": NOW,
        "deadline": NOW + MINUTE,
    }
    return RequestHead(**{**base, **more})


def signed(head: RequestHead, keys: PeerKeys = ANA) -> Signed:
    return sign("request", encode(head), keys.identity)


def grant(store, *, analyst, name, now, review=False, **more):
    given = make_grant(analyst=analyst, now=now, **more)
    return (
        Orders(store.database, lambda: now).grant(CONSOLE, given, name=name, review=review).grant_id
    )


def revoke(store, grant_id, *, now):
    Orders(store.database, lambda: now).revoke(CONSOLE, grant_id)


class Roster:
    """What the service asks of a manifest."""

    def __init__(self, members) -> None:
        self._members = members

    def by_identity(self, key):
        return key if key in self._members else None

    def members(self):
        return ()


class Desk:
    """A service over a real file, with a clock and a roster that tests set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOW
        self.members = {ANA.identity_public}
        self.store = Store(path)
        self.service = PolicyService(
            store=self.store,
            keys=SERVICE,
            manifest=lambda: Roster(self.members),
            clock=lambda: self.now,
        )

    def ask(self, message, peer: Card = NORTH):
        return self.service.answer(peer, encode(message))

    def decide(
        self, head: RequestHead, *, document: Signed | None = None, peer: Card = NORTH
    ) -> Decision:
        reply = self.ask(DecisionRequest(head=document or signed(head), nonce=b"n" * 16), peer)
        assert isinstance(reply, DecisionReply), reply
        return read_decision(
            reply, service=SERVICE.identity_public, nonce=b"n" * 16, head=head, now=self.now
        )


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "service.db")
    yield desk
    desk.store.close()


def allow_ana(desk, **more):
    return grant(
        desk.store, analyst=ANA.identity_public, name="ana", now=NOW, tables=["visits"], **more
    )


def test_a_granted_request_is_allowed_until_it_is_revoked(desk):
    assert desk.decide(make_head()).allow is False
    grant_id = allow_ana(desk)
    decision = desk.decide(make_head())
    assert (decision.allow, decision.release) == (True, "sdc_local")
    revoke(desk.store, grant_id, now=NOW)
    assert desk.decide(make_head()).allow is False
    assert [decided.allow for _, decided in search_decisions(desk.store.database)] == [
        False,
        True,
        False,
    ]
    with pytest.raises(Error):
        revoke(desk.store, grant_id, now=NOW)


def test_another_process_takes_effect_on_the_next_request(desk):
    assert desk.decide(make_head()).allow is False
    code = (
        "import sys; from pathlib import Path; from podsql.policy.service.database import Database\n"
        "from podsql.policy.service.granting import make_grant\n"
        "from podsql.policy.service.officers import CONSOLE\n"
        "from podsql.policy.service.orders import Orders\n"
        "now = int(sys.argv[3]); orders = Orders(Database(Path(sys.argv[1])), lambda: now)\n"
        "given = make_grant(analyst=bytes.fromhex(sys.argv[2]), now=now, tables=['visits'])\n"
        "print(orders.grant(CONSOLE, given, name='ana').grant_id)"
    )
    arguments = [str(desk.path), ANA.identity_public.hex(), str(NOW)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert desk.decide(make_head()).allow is True
    assert [one.grant.grant_id for one in all_grants(desk.store.database)] == [done.stdout.strip()]
    second = Store(desk.path)
    revoke(second, done.stdout.strip(), now=NOW)
    second.close()
    assert desk.decide(make_head()).allow is False
    assert all_grants(desk.store.database)[0].revoked == NOW


@pytest.mark.parametrize(
    "change",
    [
        {"tables": ("main.other",)},
        {"tables": ("main.visits", "main.other")},
        {"tables": ()},
        {"purpose": "marketing"},
        {"project": "p2"},
    ],
)
def test_attack_42_a_grant_gives_nothing_beyond_its_own_words(desk, change):
    allow_ana(desk, purpose="cohort", project="p1", pod="nor*")
    assert desk.decide(make_head()).allow is True
    assert desk.decide(make_head(**change)).allow is False


def test_attack_42_a_pod_cannot_ask_on_a_request_meant_for_another(desk):
    allow_ana(desk)
    document = signed(make_head(pod=OTHER.identity_public))
    reply = desk.ask(DecisionRequest(head=document, nonce=b"n" * 16))
    assert msgspec.msgpack.decode(reply.decision.body, type=Decision).allow is False


def test_attack_42_a_grant_for_another_pod_or_analyst_gives_nothing(desk):
    allow_ana(desk, pod="south")
    grant(desk.store, analyst=EVE.identity_public, name="eve", now=NOW, tables=["visits"])
    assert desk.decide(make_head()).allow is False


def test_attack_44_a_grant_holds_from_its_start_to_its_end(desk):
    allow_ana(desk, since=NOW, until=NOW + 5 * MINUTE)
    for now, expected in (
        (NOW - 1, False),
        (NOW, True),
        (NOW + 5 * MINUTE - 1, True),
        (NOW + 5 * MINUTE, False),
    ):
        desk.now = now
        assert desk.decide(make_head(created=now, deadline=now + MINUTE)).allow is expected


def test_an_analyst_whose_key_the_manifest_revoked_is_refused(desk):
    allow_ana(desk)
    desk.members.clear()
    assert desk.decide(make_head()).allow is False
    asked = GrantsRequest(analyst=ANA.identity_public, purpose="cohort", project="p1", nonce=b"n")
    assert desk.ask(asked).grants == ()


@pytest.mark.parametrize("signer", [EVE, SERVICE, POD])
def test_attack_39_a_request_signed_by_another_key_is_refused(desk, signer):
    allow_ana(desk)
    reply = desk.ask(DecisionRequest(head=signed(make_head(), signer), nonce=b"n" * 16))
    assert isinstance(reply, Failed)
    assert reply.code == "SIGNATURE"
    with pytest.raises(Error):
        read_head(
            signed(make_head(), signer),
            analyst=ANA.identity_public,
            pod=POD.identity_public,
            handshake=b"h" * 64,
            now=NOW,
        )


ORDER = 2**252 + 27742317777372353535851937790883648493


def test_attack_40_a_malleated_signature_or_a_small_order_key_is_refused(desk):
    good = signed(make_head())
    scalar = int.from_bytes(good.signature[32:], "little") + ORDER
    bent = Signed(
        good.kind, good.body, good.signer, good.signature[:32] + scalar.to_bytes(32, "little")
    )
    small = Signed(good.kind, good.body, b"\x01" + b"\x00" * 31, b"\x01" + b"\x00" * 63)
    for document in (bent, small):
        assert isinstance(desk.ask(DecisionRequest(head=document, nonce=b"n" * 16)), Failed)


def test_attack_41_a_document_of_one_kind_is_not_read_as_another(desk):
    allow_ana(desk)
    asked = GrantsRequest(
        analyst=ANA.identity_public, purpose="cohort", project="p1", nonce=b"n" * 16
    )
    granted = desk.ask(asked).grants[0]
    head = make_head()
    decided = desk.ask(DecisionRequest(head=signed(head), nonce=b"n" * 16)).decision
    with pytest.raises(Error):
        read_decision(
            DecisionReply(decision=granted),
            service=SERVICE.identity_public,
            nonce=b"n" * 16,
            head=head,
            now=NOW,
        )
    with pytest.raises(Error):
        read_grants(
            GrantsReply(grants=(decided,), nonce=b"n" * 16),
            service=SERVICE.identity_public,
            nonce=b"n" * 16,
            analyst=ANA.identity_public,
            now=NOW,
        )
    relabelled = Signed("request", granted.body, granted.signer, granted.signature)
    assert isinstance(desk.ask(DecisionRequest(head=relabelled, nonce=b"n" * 16)), Failed)


def test_attack_43_odd_encodings_of_signed_documents_are_refused(desk):
    allow_ana(desk)
    body = encode(make_head())
    for odd in (
        body + b"\x00",
        body[:-1],
        b"\x81" + body,
        msgspec.msgpack.encode({"tag": "head/1"}),
        b"",
    ):
        document = sign("request", odd, ANA.identity)
        assert isinstance(desk.ask(DecisionRequest(head=document, nonce=b"n" * 16)), Failed)
    wide = msgspec.msgpack.decode(body)
    document = sign("request", msgspec.msgpack.encode([*wide, "extra"]), ANA.identity)
    assert isinstance(desk.ask(DecisionRequest(head=document, nonce=b"n" * 16)), Failed)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"created": NOW + 61_000, "deadline": NOW + 2 * MINUTE}, "CLOCK"),
        ({"created": NOW - 10_000, "deadline": NOW}, "TIMEOUT"),
        ({"created": NOW - 61_000, "deadline": NOW - 1}, "CLOCK"),
        ({"deadline": NOW + 25 * 3600 * 1000}, "CLOCK"),
    ],
)
def test_attack_44_a_request_whose_times_make_no_sense_is_refused(desk, change, code):
    allow_ana(desk)
    with pytest.raises(Error) as caught:
        require_fresh(make_head(**change), NOW)
    assert caught.value.code == code
    reply = desk.ask(DecisionRequest(head=signed(make_head(**change)), nonce=b"n" * 16))
    assert isinstance(reply, DecisionReply)
    assert msgspec.msgpack.decode(reply.decision.body, type=Decision).allow is False


def test_a_minute_of_skew_is_forgiven():
    require_fresh(make_head(created=NOW + 60_000, deadline=NOW + 2 * MINUTE), NOW)
    require_fresh(make_head(created=NOW - 90_000, deadline=NOW + 1), NOW)


def test_attack_47_a_decision_serves_one_query_one_pod_and_one_nonce(desk):
    allow_ana(desk)
    head = make_head()
    reply = desk.ask(DecisionRequest(head=signed(head), nonce=b"n" * 16))
    believed = {"service": SERVICE.identity_public, "nonce": b"n" * 16, "head": head, "now": NOW}
    assert read_decision(reply, **believed).allow
    wrong = {
        "service": EVE.identity_public,
        "nonce": b"m" * 16,
        "head": make_head(payload_hash=b"q" * 32),
        "now": NOW + 10 * MINUTE,
    }
    for name, value in wrong.items():
        with pytest.raises(Error):
            read_decision(reply, **{**believed, name: value})
    forged = Decision(
        query_hash=query_hash(head), nonce=b"n" * 16, pod=OTHER.identity_public, allow=True, reason="", release="rows",
        expires=NOW + MINUTE,
    )  # fmt: skip
    with pytest.raises(Error):
        read_decision(
            DecisionReply(decision=sign("decision", encode(forged), SERVICE.identity)), **believed
        )


def test_a_request_of_another_session_or_pod_is_not_read():
    believed = {
        "analyst": ANA.identity_public,
        "pod": POD.identity_public,
        "handshake": b"h" * 64,
        "now": NOW,
    }
    assert read_head(signed(make_head()), **believed) == make_head()
    for name, value in (
        ("handshake", b"g" * 64),
        ("pod", OTHER.identity_public),
        ("analyst", EVE.identity_public),
    ):
        with pytest.raises(Error):
            read_head(signed(make_head()), **{**believed, name: value})


@pytest.mark.parametrize("role", ["analyst", "service", "convener", "modeller"])
def test_only_pods_may_ask(desk, role):
    allow_ana(desk)
    reply = desk.ask(
        DecisionRequest(head=signed(make_head()), nonce=b"n" * 16), card(EVE, "eve", role)
    )
    assert isinstance(reply, Failed)
    assert reply.code == "ROLE"
    assert search_decisions(desk.store.database) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"x" * 100, encode(Failed("X", "y")), os.urandom(64)],
    ids=["empty", "unused byte", "text", "a reply", "random"],
)
def test_noise_is_answered_with_a_refusal(desk, body):
    assert isinstance(desk.service.answer(NORTH, body), Failed)


def test_signed_grants_are_short_lived_and_for_the_asking_pod(desk):
    allow_ana(desk, pod="north")
    allow_ana(desk, pod="south", release="rows")
    asked = GrantsRequest(
        analyst=ANA.identity_public, purpose="cohort", project="p1", nonce=b"n" * 16
    )
    reply = desk.ask(asked)
    (found,) = read_grants(
        reply,
        service=SERVICE.identity_public,
        nonce=b"n" * 16,
        analyst=ANA.identity_public,
        now=NOW,
    )
    assert (found.pod, found.tables) == ("north", ("main.visits",))
    assert NOW < found.until <= NOW + 60 * MINUTE
    for change in (
        {"nonce": b"m" * 16},
        {"service": EVE.identity_public},
        {"analyst": EVE.identity_public},
    ):
        with pytest.raises(Error):
            read_grants(
                reply,
                **{
                    "service": SERVICE.identity_public,
                    "nonce": b"n" * 16,
                    "analyst": ANA.identity_public,
                    "now": NOW,
                    **change,
                },
            )


def test_attack_45_grants_that_have_expired_meanwhile_count_for_nothing(desk):
    allow_ana(desk)
    asked = GrantsRequest(
        analyst=ANA.identity_public, purpose="cohort", project="p1", nonce=b"n" * 16
    )
    old = desk.ask(asked)
    believed = {
        "service": SERVICE.identity_public,
        "nonce": b"n" * 16,
        "analyst": ANA.identity_public,
    }
    assert read_grants(old, now=NOW + 3 * 60 * MINUTE, **believed) == ()


def consult(services=(SERVICE.identity_public,)):
    numbers = iter(range(100))
    head = make_head()
    return Consultation(
        document=signed(head),
        head=head,
        services=services,
        random=lambda size: bytes([next(numbers)]) * size,
    )


def test_a_service_that_agrees_lets_the_request_run(desk):
    allow_ana(desk, release="rows")
    consultation = consult()
    (body,) = consultation.tick(0.0).values()
    assert consultation.outcome() == "waiting"
    consultation.answered(SERVICE.identity_public, encode(desk.service.answer(NORTH, body)), NOW)
    assert consultation.outcome() == Agreed(release="rows")
    assert require_agreement(consultation.outcome()).release == "rows"
    assert consultation.tick(10.0) == {}
    assert consultation.next_due() is None


def test_attack_46_a_silent_service_makes_the_request_unavailable_after_two_tries_of_two_seconds(
    desk,
):
    allow_ana(desk)
    consultation = consult()
    first = consultation.tick(0.0)
    assert consultation.next_due() == 2.0
    assert consultation.tick(1.9) == {}
    second = consultation.tick(2.0)
    assert first != second
    assert consultation.outcome() == "waiting"
    consultation.tick(4.0)
    assert isinstance(consultation.outcome(), Lost)
    late = encode(desk.service.answer(NORTH, second[SERVICE.identity_public]))
    consultation.answered(SERVICE.identity_public, late, NOW)
    assert isinstance(consultation.outcome(), Lost)
    with pytest.raises(Error, match="POLICY_UNAVAILABLE"):
        require_agreement(consultation.outcome())


def test_attack_46_an_answer_to_the_first_try_does_not_serve_the_second(desk):
    allow_ana(desk)
    consultation = consult()
    first = consultation.tick(0.0)[SERVICE.identity_public]
    consultation.tick(2.0)
    consultation.answered(SERVICE.identity_public, encode(desk.service.answer(NORTH, first)), NOW)
    assert isinstance(consultation.outcome(), Lost)


def test_attack_49_every_service_must_agree(desk):
    allow_ana(desk, release="rows")
    both = consult((SERVICE.identity_public, EVE.identity_public))
    asks = both.tick(0.0)
    both.answered(
        SERVICE.identity_public,
        encode(desk.service.answer(NORTH, asks[SERVICE.identity_public])),
        NOW,
    )
    assert both.outcome() == "waiting"
    # The first service's answer is not the second's.
    both.answered(
        EVE.identity_public, encode(desk.service.answer(NORTH, asks[EVE.identity_public])), NOW
    )
    assert isinstance(both.outcome(), Lost)


def test_a_refusal_tells_the_audit_why_and_the_analyst_nothing(desk):
    consultation = consult()
    (body,) = consultation.tick(0.0).values()
    consultation.answered(SERVICE.identity_public, encode(desk.service.answer(NORTH, body)), NOW)
    assert consultation.outcome() == Refused(reason="no grant in force")
    with pytest.raises(Denial) as caught:
        require_agreement(consultation.outcome())
    assert "grant" not in str(caught.value)


def test_noise_from_a_service_fails_closed():
    for body in (b"", b"\xc1", encode(Failed("X", "y")), encode(GrantsReply(grants=(), nonce=b""))):
        consultation = consult()
        consultation.tick(0.0)
        consultation.answered(SERVICE.identity_public, body, NOW)
        assert isinstance(consultation.outcome(), Lost)


def test_the_serve_callback_answers_once(desk):
    replies = []

    class Call:
        peer = NORTH
        body = encode(
            GrantsRequest(analyst=ANA.identity_public, purpose="", project="", nonce=b"n")
        )

        def reply(self, body: bytes) -> None:
            replies.append(decode(body))

    desk.service.serve(Call())
    assert replies == [GrantsReply(grants=(), nonce=b"n")]


def test_a_store_of_another_version_is_refused(tmp_path):
    path = tmp_path / "s.db"
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(Error, match="newer version"):
        Store(path)


def test_an_ill_formed_grant_is_refused(desk):
    for change in (
        {"analyst": b"short"},
        {"tables": []},
        {"since": 5, "until": 5},
        {"tables": ["a\nb"]},
    ):
        with pytest.raises(Error):
            grant(desk.store, **{"analyst": b"a" * 32, "name": "x", "now": NOW, **change})
