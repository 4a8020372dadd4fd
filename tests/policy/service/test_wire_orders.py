"""Orders that come in SQL: signed by who gives them, for this service, now, and once."""

import os

import pytest
from msgspec.structs import replace as structs_replace
from service_desk import (
    ANA,
    BEN,
    CARA,
    CARDS,
    DAN,
    MINUTE,
    NOW,
    OTHER_SERVICE,
    SERVICE,
    card,
    order,
    signed,
)

from podsql.message import Signed
from podsql.messages import Failed, decode_as, encode
from podsql.policy.service.asking import one_request
from podsql.policy.service.granting import insert
from podsql.policy.service.history import changes, epoch
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.people import know
from podsql.policy.service.wire_orders import LINES
from podsql.relay.keys import PeerKeys, fingerprint
from podsql.relay.signing import sign
from podsql.service_messages import (
    GrantsRequest,
    Order,
    OrderReply,
    OrderRequest,
    RightsReply,
    RightsRequest,
)

TABLES = ("visits",)


def refused(reply, code: str) -> bool:
    return isinstance(reply, Failed) and reply.code == code


def test_an_officer_grants_and_revokes_and_the_record_names_him(desk):
    given = desk.give(BEN, CARDS["ben"], "grant", analyst="ana", tables=TABLES, purpose="cohort")
    assert isinstance(given, OrderReply)
    assert desk.in_force() == list(given.grants)
    ended = desk.give(BEN, CARDS["ben"], "revoke", analyst=CARDS["ana"].fingerprint, tables=TABLES)
    assert (ended.grants, desk.in_force()) == (given.grants, [])
    last, before, *_ = changes(desk.database)
    assert [(one.actor, one.act, one.object) for one in (before, last)] == [
        ("ben", "grant", given.grants[0]),
        ("ben", "revoke", given.grants[0]),
    ]


@pytest.mark.parametrize(
    ("act", "more"),
    [
        ("grant", {"analyst": "ana", "tables": TABLES}),
        ("grant", {"analyst": "cara", "tables": TABLES}),
        ("revoke", {"analyst": "ana", "tables": TABLES}),
        ("revoke", {"grant_id": "GIVEN"}),
    ],
)
def test_an_analyst_without_an_officers_key_changes_nothing(desk, act, more):
    given = desk.orders.grant(CONSOLE, desk.wish(), name="ana").grant_id
    before = desk.dump()
    more = {name: given if value == "GIVEN" else value for name, value in more.items()}
    assert refused(desk.give(ANA, CARDS["ana"], act, **more), "DENIED")
    assert desk.dump() == before
    assert refused(desk.send(CARDS["ana"], RightsRequest(everybody=True)), "DENIED")


def test_an_officer_who_has_ended_or_only_reads_gives_nothing(desk):
    desk.orders.change_officer(CONSOLE, "vera", role="viewer", identity=CARA.identity_public)
    assert isinstance(desk.send(CARDS["cara"], RightsRequest(everybody=True)), RightsReply)
    for name, keys in (("cara", CARA), ("ben", BEN)):
        if name == "ben":
            desk.orders.end_officer(CONSOLE, "ben")
        before = desk.dump()
        assert refused(
            desk.give(keys, CARDS[name], "grant", analyst="ana", tables=TABLES), "DENIED"
        )
        assert desk.dump() == before


def test_an_officer_of_another_federation_is_nobody_here(desk):
    stranger = PeerKeys.generate()
    before = desk.dump()
    # The relay would not let the card in; and if it did, the key is no officer's.
    for name in ("ben", "stranger"):
        peer = card(stranger, name)
        assert refused(desk.give(stranger, peer, "grant", analyst="ana", tables=TABLES), "DENIED")
    # An order that the real officer signed does not travel in another's session.
    document = signed(order(BEN, "grant", analyst="ana", tables=TABLES), BEN)
    for peer in (CARDS["ana"], card(stranger, "ben")):
        assert refused(desk.send(peer, OrderRequest(order=document)), "SIGNATURE")
    assert desk.dump() == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"service": OTHER_SERVICE.identity_public}, "SIGNATURE"),
        ({"service": b""}, "SIGNATURE"),
        ({"actor": ANA.identity_public}, "SIGNATURE"),
        ({"created": NOW - MINUTE - 1}, "CLOCK"),
        ({"created": NOW + MINUTE + 1}, "CLOCK"),
        ({"created": 0}, "CLOCK"),
        ({"id": b""}, "BAD_MESSAGE"),
        ({"id": b"x" * 17}, "BAD_MESSAGE"),
        ({"analyst": "nobody"}, "UNKNOWN_PEER"),
        ({"analyst": ""}, "UNKNOWN_PEER"),
        ({"analyst": "north"}, "UNKNOWN_PEER"),
        ({"tables": ()}, "ARGUMENT"),
        ({"tables": ("a\nb",)}, "ARGUMENT"),
        ({"pod": ""}, "ARGUMENT"),
        ({"purpose": "x" * 300}, "ARGUMENT"),
        ({"until": 1}, "ARGUMENT"),
        ({"until": -1}, "ARGUMENT"),
        ({"analyst": "ben"}, "DENIED"),
    ],
)
def test_an_order_for_another_service_another_time_or_of_nonsense_is_refused(desk, change, code):
    before = desk.dump()
    more = {"analyst": "ana", "tables": TABLES, **change}
    assert refused(desk.give(BEN, CARDS["ben"], "grant", **more), code)
    assert desk.dump() == before


def test_an_order_given_again_is_not_done_again_and_an_old_one_never(desk):
    document = signed(order(BEN, "grant", analyst="ana", tables=TABLES), BEN)
    first = desk.send(CARDS["ben"], OrderRequest(order=document))
    assert isinstance(first, OrderReply)
    for later in (0, MINUTE):
        desk.now = NOW + later
        assert refused(desk.send(CARDS["ben"], OrderRequest(order=document)), "REPLAY")
    # Its id is forgotten when its time alone refuses it.
    for later in (MINUTE + 1, 5 * MINUTE, 500 * MINUTE):
        desk.now = NOW + later
        assert isinstance(
            desk.give(BEN, CARDS["ben"], "grant", analyst="cara", tables=TABLES, created=desk.now),
            OrderReply,
        )
        assert refused(desk.send(CARDS["ben"], OrderRequest(order=document)), "CLOCK")
    assert len(desk.database.read("SELECT 1 FROM orders")) == 1


CURVE_ORDER = 2**252 + 27742317777372353535851937790883648493


def test_a_signature_that_is_bent_borrowed_or_of_another_kind_is_refused(desk):
    written = order(BEN, "grant", analyst="ana", tables=TABLES)
    good, before = signed(written, BEN), desk.dump()
    scalar = int.from_bytes(good.signature[32:], "little") + CURVE_ORDER
    wider = structs_replace(written, tables=("visits", "labs"))
    ill = [
        signed(written, ANA),
        signed(written, SERVICE),
        structs_replace(good, signature=good.signature[:32] + scalar.to_bytes(32, "little")),
        Signed(good.kind, good.body, b"\x01" + bytes(31), b"\x01" + bytes(63)),
        structs_replace(good, body=encode(wider)),
        structs_replace(good, signer=ANA.identity_public),
        structs_replace(good, kind="grant"),
        sign("grant", encode(written), BEN.identity),
        sign("request", encode(written), BEN.identity),
        structs_replace(sign("request", encode(written), BEN.identity), kind="order"),
    ]
    for document in ill:
        assert isinstance(desk.send(CARDS["ben"], OrderRequest(order=document)), Failed)
    for body in (b"", good.body + b"\x00", good.body[:-1], b"\xc1", os.urandom(80)):
        document = sign("order", body, BEN.identity)
        assert isinstance(desk.send(CARDS["ben"], OrderRequest(order=document)), Failed)
    assert desk.dump() == before
    assert isinstance(desk.send(CARDS["ben"], OrderRequest(order=good)), OrderReply)


def test_pods_give_no_orders_and_people_ask_nothing_that_is_for_pods(desk):
    before = desk.dump()
    assert refused(
        desk.give(DAN, CARDS["north"], "grant", analyst="ana", tables=TABLES), "BAD_MESSAGE"
    )
    assert refused(desk.send(CARDS["north"], RightsRequest()), "BAD_MESSAGE")
    asked = GrantsRequest(analyst=ANA.identity_public, purpose="", project="", nonce=b"n")
    assert refused(desk.send(CARDS["ben"], asked), "ROLE")
    for role in ("service", "convener"):
        assert refused(desk.send(card(CARA, "cara", role), RightsRequest()), "ROLE")
    assert desk.dump() == before


def test_an_analyst_asks_for_themselves_whatever_the_order_says(desk):
    reply = desk.give(
        ANA, CARDS["ana"], "ask", analyst="cara", tables=TABLES, reason="study", review=True
    )
    found = one_request(desk.database, reply.request)
    assert (found.name, found.wish.analyst, found.reason) == ("ana", ANA.identity_public, "study")
    assert refused(desk.give(ANA, CARDS["ana"], "ask"), "ARGUMENT")
    assert refused(desk.give(CARA, CARDS["cara"], "withdraw", request=reply.request), "ARGUMENT")
    gone = desk.give(ANA, CARDS["ana"], "withdraw", request=reply.request)
    assert one_request(desk.database, gone.request).state == "withdrawn"
    assert refused(desk.give(ANA, CARDS["ana"], "withdraw", request=99), "ARGUMENT")


def test_everybody_sees_their_own_rights_and_an_officer_all(desk):
    mine = desk.orders.grant(CONSOLE, desk.wish(), name="ana").grant_id
    past = desk.orders.grant(CONSOLE, desk.wish(CARA, until=NOW + 1), name="cara").grant_id
    future = desk.orders.grant(CONSOLE, desk.wish(since=NOW + MINUTE), name="ana").grant_id
    number = desk.ask(CARA, "cara")
    desk.now += 1
    own = {line.id: line.state for line in desk.send(CARDS["ana"], RightsRequest()).lines}
    assert own == {mine: "in force", future: "not yet"}
    hers = {line.id: line.state for line in desk.send(CARDS["cara"], RightsRequest()).lines}
    assert hers == {past: "expired", str(number): "open"}
    everything = desk.send(CARDS["ben"], RightsRequest(everybody=True)).lines
    assert {line.id for line in everything} == {mine, past, future, str(number)}


def test_more_rights_than_fit_into_a_message_come_in_several(desk):
    with desk.database.write() as db:
        know(db, ANA.identity_public, "ana")
        for _ in range(LINES + 5):
            insert(db, desk.wish(), now=NOW, actor="x")
    first = desk.send(CARDS["ana"], RightsRequest())
    second = desk.send(CARDS["ana"], RightsRequest(start=LINES))
    assert (len(first.lines), first.more) == (LINES, True)
    assert len(encode(first)) < 1 << 20
    assert (bool(second.lines), second.more) == (True, False)
    ids = [line.id for line in (*first.lines, *second.lines)]
    assert sorted(ids) == sorted(desk.in_force())
    for start in (1 << 40, -5):
        assert isinstance(desk.send(CARDS["ana"], RightsRequest(start=start)), RightsReply)


def test_what_is_revoked_by_tables_is_exactly_what_is_named(desk):
    one = desk.orders.grant(CONSOLE, desk.wish(), name="ana").grant_id
    north = desk.orders.grant(CONSOLE, desk.wish(pod="north"), name="ana").grant_id
    theirs = desk.orders.grant(CONSOLE, desk.wish(CARA), name="cara").grant_id
    for more in ({"tables": ("visits", "labs")}, {"tables": ("*",)}, {"pod": "south"}):
        asked = {"analyst": "ana", "tables": TABLES, **more}
        assert refused(desk.give(BEN, CARDS["ben"], "revoke", **asked), "ARGUMENT")
    done = desk.give(BEN, CARDS["ben"], "revoke", analyst="ana", tables=TABLES, pod="north")
    assert (done.grants, set(desk.in_force())) == ((north,), {one, theirs})
    done = desk.give(BEN, CARDS["ben"], "revoke", analyst="ana", tables=("main.visits",))
    assert (done.grants, desk.in_force()) == ((one,), [theirs])


def test_rights_of_who_left_the_federation_are_revoked_by_name_and_key(desk):
    gone = PeerKeys.generate()
    for _ in range(2):
        given = desk.orders.grant(CONSOLE, desk.wish(gone), name="gone").grant_id
        assert desk.in_force() == [given]
        for who in ("gone", fingerprint(gone.identity_public)):
            asked = {"analyst": who, "tables": TABLES}
            done = desk.give(BEN, CARDS["ben"], "revoke", **asked)
            if who == "gone":
                assert done.grants == (given,)
            else:
                assert refused(done, "ARGUMENT")  # nothing is left
    assert desk.in_force() == []


def test_an_order_reads_back_as_it_was_written():
    written = order(BEN, "grant", analyst="ana", tables=TABLES, review=True, until=5)
    assert decode_as(Order, signed(written, BEN).body) == written


def test_refused_orders_leave_no_line_in_the_record(desk):
    number = epoch(desk.database)
    for _ in range(3):
        desk.give(ANA, CARDS["ana"], "grant", analyst="ana", tables=TABLES)
    assert epoch(desk.database) == number
