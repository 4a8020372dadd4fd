"""What may become of a manifest: pure changes, judged without files or sockets."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base

from podsql.convener.admission import judge
from podsql.convener.changes import (
    MANIFEST_LIFE,
    admit,
    extend,
    invite,
    next_manifest,
    revoke,
    rotate,
)
from podsql.errors import Error
from podsql.messages import JoinRequest, OfferRequest, encode
from podsql.relay.cards import Card, make_card, read_card
from podsql.relay.invite import invite_curve, secret_hash
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.manifest import InviteEntry, Manifest, read_manifest, sign_manifest

NOW = 1_800_000_000_000
SEED = generate_signing()
FEDERATION = fingerprint(signing_public(SEED))


def empty() -> Manifest:
    keys = PeerKeys.generate()
    card = make_card(keys, name="registrar", role="convener", now=NOW)
    return Manifest(
        federation=FEDERATION,
        version=1,
        issued=NOW,
        expires=NOW + MANIFEST_LIFE,
        cards=(card,),
    )


class Invitee:
    """Somebody with an invite's secret and fresh keys."""

    def __init__(self, name: str = "ana", role: str = "analyst", expires: int = NOW + 1000) -> None:
        self.secret = os.urandom(32)
        self.keys = PeerKeys.generate()
        self.name, self.role = name, role
        self.card = make_card(self.keys, name=name, role=role, now=NOW)
        self.entry = InviteEntry(
            curve=crypto_scalarmult_base(invite_curve(self.secret)),
            secret_hash=secret_hash(self.secret),
            name=name,
            role=role,
            expires=expires,
        )

    @property
    def peer(self) -> Card:
        """How the registrar's endpoint shows it."""
        return Card(
            name=self.name,
            role="invitee",
            identity=bytes(32),
            noise=self.keys.noise_public,
            curve=self.entry.curve,
            created=0,
        )

    @property
    def admission(self):
        return admit(
            self.card,
            self.entry.secret_hash,
            curve=self.entry.curve,
            noise=self.keys.noise_public,
            now=NOW,
        )

    @property
    def request(self) -> bytes:
        return encode(JoinRequest(card=self.card, secret_hash=self.entry.secret_hash))


def refused(change, manifest: Manifest) -> str:
    with pytest.raises(Error) as caught:
        change(manifest)
    return caught.value.code


def test_an_invited_card_is_admitted():
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    assert manifest.by_name("ana") == read_card(ana.card)


def test_an_invite_admits_once():
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    thief = Invitee()
    thief.entry, thief.secret = ana.entry, ana.secret
    assert refused(thief.admission, manifest) == "INVITE"


def test_an_expired_invite_admits_nobody():
    ana = Invitee(expires=NOW)
    assert refused(ana.admission, invite(ana.entry)(empty())) == "INVITE"


def test_a_revoked_invite_admits_nobody():
    ana = Invitee()
    manifest = revoke("ana")(invite(ana.entry)(empty()))
    assert refused(ana.admission, manifest) == "INVITE"


def test_revoking_a_member_ends_the_invite_it_came_by():
    ana = Invitee()
    manifest = revoke("ana")(ana.admission(invite(ana.entry)(empty())))
    assert manifest.by_name("ana") is None
    assert manifest.invites == ()
    again = Invitee()
    again.entry = ana.entry
    assert refused(again.admission, manifest) == "INVITE"


def test_the_invites_name_and_role_are_kept():
    ana = Invitee()
    manifest = invite(ana.entry)(empty())
    for name, role in (("bob", "analyst"), ("ana", "pod")):
        other = Invitee(name, role)
        other.entry = ana.entry
        assert refused(other.admission, manifest) == "INVITE"


def test_a_card_of_other_keys_than_the_sessions_is_refused():
    ana, other = Invitee(), Invitee()
    manifest = invite(ana.entry)(empty())
    change = admit(
        ana.card,
        ana.entry.secret_hash,
        curve=ana.entry.curve,
        noise=other.keys.noise_public,
        now=NOW,
    )
    assert refused(change, manifest) == "INVITE"


def test_a_secret_presented_from_another_connection_is_refused():
    ana, bob = Invitee(), Invitee("bob")
    manifest = invite(bob.entry)(invite(ana.entry)(empty()))
    change = admit(
        ana.card,
        ana.entry.secret_hash,
        curve=bob.entry.curve,
        noise=ana.keys.noise_public,
        now=NOW,
    )
    assert refused(change, manifest) == "INVITE"


def test_keys_of_another_member_are_refused():
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    bob = Invitee("bob")
    bob.keys = ana.keys
    bob.card = make_card(ana.keys, name="bob", role="analyst", now=NOW)
    assert refused(bob.admission, invite(bob.entry)(manifest)) == "INVITE"


def test_a_living_name_is_invited_again_only_in_its_place():
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    again = Invitee()
    assert refused(invite(again.entry), manifest) == "CONFLICT"
    replaced = invite(again.entry, replace=True)(manifest)
    assert replaced.by_name("ana") is None
    assert again.admission(replaced).by_name("ana") == read_card(again.card)


def test_rotation_keeps_the_identity_and_changes_the_rest():
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    fresh = PeerKeys.generate()
    keys = PeerKeys(identity=ana.keys.identity, noise=fresh.noise, curve=fresh.curve)
    card = make_card(keys, name="ana", role="analyst", now=NOW + 1)
    rotated = rotate(card, read_card(ana.card))(manifest)
    assert rotated.by_name("ana") == read_card(card)
    assert len(rotated.cards) == len(manifest.cards)


@pytest.mark.parametrize(("name", "role"), [("bob", "analyst"), ("ana", "pod")])
def test_rotation_changes_neither_name_nor_role(name, role):
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    card = make_card(ana.keys, name=name, role=role, now=NOW + 1)
    assert refused(rotate(card, read_card(ana.card)), manifest) == "INVITE"


def test_rotation_to_somebody_elses_identity_is_refused():
    ana = Invitee()
    manifest = ana.admission(invite(ana.entry)(empty()))
    card = make_card(PeerKeys.generate(), name="ana", role="analyst", now=NOW + 1)
    assert refused(rotate(card, read_card(ana.card)), manifest) == "INVITE"


def test_unknown_names_cannot_be_revoked():
    assert refused(revoke("nobody"), empty()) == "UNKNOWN_PEER"


@pytest.mark.parametrize("name", ["", "Ana", "a b", "../x", "a" * 64, "ä"])
def test_odd_names_are_refused(name):
    ana = Invitee()
    with pytest.raises(Error) as caught:
        invite(
            InviteEntry(
                curve=ana.entry.curve,
                secret_hash=ana.entry.secret_hash,
                name=name,
                role="pod",
                expires=NOW,
            )
        )
    assert caught.value.code == "ARGUMENT"


@given(st.lists(st.integers(min_value=NOW - 10**9, max_value=NOW + 10**9), max_size=6))
def test_versions_rise_and_times_never_fall_whatever_the_clock_does(clocks):
    manifest = empty()
    for now in clocks:
        following = next_manifest(manifest, extend, now=now, life=MANIFEST_LIFE)
        assert following.version == manifest.version + 1
        assert following.issued >= manifest.issued
        assert following.expires > following.issued
        manifest = following


def test_every_edition_is_a_manifest_that_peers_accept():
    ana = Invitee()
    manifest = next_manifest(empty(), invite(ana.entry), now=NOW, life=MANIFEST_LIFE)
    manifest = next_manifest(manifest, ana.admission, now=NOW, life=MANIFEST_LIFE)
    read = read_manifest(sign_manifest(manifest, SEED), federation=FEDERATION, now=NOW)
    assert read.by_name("ana") == read_card(ana.card)


def test_expired_invites_leave_with_the_next_edition():
    ana = Invitee(expires=NOW + 10)
    manifest = next_manifest(empty(), invite(ana.entry), now=NOW, life=MANIFEST_LIFE)
    assert manifest.invites == (ana.entry,)
    assert next_manifest(manifest, extend, now=NOW + 10, life=MANIFEST_LIFE).invites == ()


def test_asking_again_after_a_lost_answer_is_no_reuse():
    ana = Invitee()
    manifest = invite(ana.entry)(empty())
    first = judge(ana.request, ana.peer, manifest, now=NOW)
    assert first.change is not None
    admitted = first.change(manifest)
    again = judge(ana.request, ana.peer, admitted, now=NOW)
    assert again.change is None


def test_the_registrar_answers_join_requests_only():
    ana = Invitee()
    for body in (encode(OfferRequest(purpose="", project="")), b"\x00", b""):
        with pytest.raises(Error) as caught:
            judge(body, ana.peer, empty(), now=NOW)
        assert caught.value.code == "BAD_MESSAGE"


def test_a_member_cannot_have_another_card_admitted():
    ana, bob = Invitee(), Invitee("bob")
    manifest = invite(bob.entry)(ana.admission(invite(ana.entry)(empty())))
    admission = judge(bob.request, read_card(ana.card), manifest, now=NOW)
    assert admission.change is not None
    assert refused(admission.change, manifest) == "INVITE"
