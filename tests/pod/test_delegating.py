"""Who may ask a pod in whose place: each way to ask for another without the order's consent is refused."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from podsql.errors import Error
from podsql.job_messages import Delegated, Delegation
from podsql.messages import BudgetRequest, Cancel, OfferRequest, PolicyAsk, QueryRequest, encode
from podsql.pod.beliefs import Beliefs
from podsql.pod.delegating import Delegations
from podsql.policy.audit import Audit, lines
from podsql.relay.cards import make_card, read_card
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.manifest import Manifest, ManifestStore, sign_manifest
from podsql.relay.signing import sign
from podsql.service_messages import Revocations

NOW = 1_800_000_000_000
DAY = 24 * 3600 * 1000
ROLES = {"ana": "analyst", "mo": "modeller", "eve": "modeller", "north": "pod", "access": "service"}
KEYS = {name: PeerKeys.generate() for name in (*ROLES, "gone")}
SIGNED = {
    name: make_card(KEYS[name], name=name, role=ROLES.get(name, "analyst"), now=NOW)
    for name in KEYS
}
CARDS = {name: read_card(card) for name, card in SIGNED.items()}
ORDER = Delegation(
    job=b"j" * 16,
    analyst=CARDS["ana"].identity,
    modeller=CARDS["mo"].identity,
    statement=b"",
    families=(),
    designs=(),
    tables=(),
    purpose="care",
    project="beds",
    pods=(CARDS["north"].identity,),
    created=NOW,
    expires=NOW + DAY,
)
OFFERS = OfferRequest(purpose="care", project="beds")


@pytest.fixture
def world(tmp_path):
    seed = generate_signing()
    mark = fingerprint(signing_public(seed))
    manifest = Manifest(
        federation=mark,
        version=1,
        issued=NOW,
        expires=NOW + 30 * DAY,
        cards=tuple(SIGNED[name] for name in ROLES),
        revoked=(),
        invites=(),
    )
    store = ManifestStore(tmp_path / "manifest.bin", mark)
    store.accept(sign_manifest(manifest, seed), NOW)
    audit = Audit(tmp_path / "audit.jsonl", now=NOW)
    beliefs = Beliefs(tmp_path / "services.json", (CARDS["access"].fingerprint,))
    pod = CARDS["north"].identity
    reading = Delegations(pod, audit, store, lambda: NOW, beliefs.ended)
    yield SimpleNamespace(reading=reading, beliefs=beliefs, audit=tmp_path / "audit.jsonl")
    audit.close()


def asked(message=OFFERS, by="ana", **change):
    told = replace(ORDER, **change)
    document = sign("delegation", encode(told), KEYS[by].identity)
    return Delegated(delegation=document, message=encode(message))


def test_the_analyst_of_an_order_is_whom_a_modeller_asks_for(world):
    found = world.reading.read(CARDS["mo"], asked())
    assert (found.person.name, found.person.role, found.message) == ("ana", "analyst", OFFERS)
    alone = world.reading.read(CARDS["mo"], OFFERS)
    assert (alone.person.name, alone.person.role, alone.order) == ("mo", "modeller", None)
    assert list(lines(world.audit)) == []


@pytest.mark.parametrize(
    ("peer", "message", "code"),
    [
        ("eve", asked(), "SIGNATURE"),  # a stolen order
        ("ana", asked(), "ROLE"),
        ("mo", asked(by="mo"), "SIGNATURE"),
        ("mo", asked(by="mo", analyst=CARDS["mo"].identity), "REVOKED"),  # itself is no analyst
        ("mo", asked(by="gone", analyst=CARDS["gone"].identity), "REVOKED"),
        ("mo", asked(pods=()), "DELEGATION"),
        ("mo", asked(expires=NOW), "DELEGATION"),
        ("mo", asked(created=NOW - 30 * DAY), "DELEGATION"),
        ("mo", asked(OfferRequest(purpose="care", project="other")), "DELEGATION"),
        ("mo", asked(BudgetRequest(purpose="care", project="beds", offer="")), "DELEGATION"),
        ("mo", asked(PolicyAsk(b"", "", (), "care", "beds", "")), "DELEGATION"),
        ("mo", asked(Cancel(b"r" * 16)), "DELEGATION"),
        ("mo", asked(asked()), "DELEGATION"),
    ],
)
def test_nobody_is_asked_for_without_an_order_and_the_audit_has_a_line(world, peer, message, code):
    with pytest.raises(Error) as caught:
        world.reading.read(CARDS[peer], message)
    assert caught.value.code == code
    (line,) = lines(world.audit)
    assert (line.entry.decision, line.entry.reason, line.entry.modeller) == ("deny", code, peer)


def test_a_modeller_whom_a_service_has_ended_asks_nothing_also_once_it_is_silent(world):
    query = QueryRequest(head=sign("request", b"", KEYS["mo"].identity), payload=b"")
    ended = Revocations(
        epoch=1,
        issued=NOW,
        next_update=NOW + 1,
        frozen=False,
        grants=(),
        people=(CARDS["mo"].identity,),
    )
    assert world.reading.read(CARDS["mo"], asked(query)).message == query
    world.beliefs.listed(CARDS["access"].identity, ended, NOW)
    for message in (OFFERS, query):
        with pytest.raises(Error) as caught:
            world.reading.read(CARDS["mo"], asked(message))
        assert caught.value.code == "DELEGATION"
