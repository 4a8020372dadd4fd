"""Joining a federation that runs: the real relay, the real registrar, every way it may go wrong."""

import os
import time
from pathlib import Path

import pytest

from podsql.convener.changes import extend, revoke
from podsql.convener.editing import current_edition, edit, load_federation_key, write_invite
from podsql.convener.joining import WayOut, join
from podsql.convener.publishing import publish
from podsql.convener.recovering import rejoin
from podsql.convener.rotating import rotate_keys
from podsql.errors import Error
from podsql.membership import load_membership
from podsql.relay.invite import Invite, RelayAddress, invite_from_text, invite_text
from podsql.relay.keys import load_keys
from podsql.relay.manifest import ManifestStore
from podsql.relay.sockets.endpoint import Endpoint

WAY = WayOut(environ={})
NAMES = tuple((name, "analyst") for name in "abcdefghijkl")


@pytest.fixture(scope="module")
def federation(tmp_path_factory, founded, serving):
    made = founded(tmp_path_factory.mktemp("founded") / "fed", *NAMES, ("north", "pod"))
    with serving(made.desk):
        yield made


def now() -> int:
    return time.time_ns() // 1_000_000


def line(federation, name: str) -> str:
    return dict(federation.invites)[name]


def refusal(call, *arguments, **named) -> Error:
    with pytest.raises(Error) as caught:
        call(*arguments, **named)
    return caught.value


def endpoint_of(path: Path) -> Endpoint:
    me = load_membership(path, environ={})
    return Endpoint(keys=me.keys, relay=me.relay, store=me.store, egress=me.egress)


def test_an_invitee_becomes_a_member(federation, tmp_path, joined):
    done = joined(line(federation, "a"), tmp_path / "a")
    assert (done.name, done.role, done.federation) == ("a", "analyst", "clinics")
    me = load_membership(done.path, environ={})
    assert me.store.current is not None
    card = me.store.current.by_name("a")
    assert card is not None
    assert card.identity == me.keys.identity_public
    assert card.fingerprint == done.fingerprint
    endpoint = endpoint_of(done.path)
    endpoint.start(timeout=20.0)
    endpoint.close()


def test_a_pod_may_join_too(federation, tmp_path, joined):
    assert joined(line(federation, "north"), tmp_path / "north").role == "pod"


def test_a_used_invite_is_refused(federation, tmp_path, joined):
    joined(line(federation, "b"), tmp_path / "first")
    fault = refusal(joined, line(federation, "b"), tmp_path / "second")
    assert fault.code == "INVITE"
    assert "used" in fault.message
    assert fault.hint
    assert not (tmp_path / "second" / "federation.toml").exists()


def test_an_interrupted_join_can_be_repeated(federation, tmp_path, joined):
    done = joined(line(federation, "c"), tmp_path / "c")
    done.path.unlink()
    again = joined(line(federation, "c"), tmp_path / "c")
    assert again.fingerprint == done.fingerprint


def test_a_membership_is_never_overwritten(federation, tmp_path, joined):
    done = joined(line(federation, "d"), tmp_path / "d")
    before = done.path.read_bytes()
    assert refusal(joined, line(federation, "e"), tmp_path / "d").code == "CONFIG"
    assert done.path.read_bytes() == before


def test_an_expired_invite_is_refused_without_a_connection(federation, tmp_path, joined):
    old = invite_from_text(line(federation, "e"))
    expired = Invite(
        relay=old.relay,
        federation=old.federation,
        secret=old.secret,
        name=old.name,
        role=old.role,
        expires=now() - 1,
    )
    fault = refusal(joined, invite_text(expired), tmp_path / "e")
    assert fault.code == "INVITE"
    assert "expired" in fault.message
    assert not (tmp_path / "e").exists()


def test_a_secret_nobody_invited_is_refused(federation, tmp_path):
    old = invite_from_text(line(federation, "e"))
    forged = Invite(
        relay=old.relay,
        federation=old.federation,
        secret=os.urandom(32),
        name="e",
        role="analyst",
        expires=old.expires,
    )
    fault = refusal(join, invite_text(forged), tmp_path / "e", way=WAY, now=now(), timeout=10.0)
    assert fault.code == "INVITE"


def test_an_invite_of_another_federation_is_refused(federation, tmp_path, founded):
    """The relay is the right one, but what it serves is not what the invite makes one trust."""
    other = founded(tmp_path / "other")
    old = invite_from_text(line(federation, "f"))
    wrong = Invite(
        relay=old.relay,
        federation=other.fingerprint,
        secret=old.secret,
        name=old.name,
        role=old.role,
        expires=old.expires,
    )
    fault = refusal(join, invite_text(wrong), tmp_path / "f", way=WAY, now=now(), timeout=10.0)
    assert fault.code == "INVITE"
    assert "federation" in fault.message
    assert not (tmp_path / "f" / "federation.toml").exists()


def test_attack_77_a_relay_with_another_key_is_refused(federation, tmp_path, joined):
    """attack 77: the relay's CURVE key is not the pinned one."""
    done = joined(line(federation, "g"), tmp_path / "g")
    me = load_membership(done.path, environ={})
    wrong = RelayAddress(endpoint=me.relay.endpoint, curve=me.keys.curve_public)
    endpoint = Endpoint(keys=me.keys, relay=wrong, store=me.store, egress=me.egress)
    fault = refusal(endpoint.start, timeout=10.0)
    assert fault.code == "RELAY_KEY"


def test_attack_51_an_old_manifest_from_the_relay_is_noticed(federation, tmp_path, joined):
    """attack 51: the relay serves an older manifest than the one already seen."""
    done = joined(line(federation, "h"), tmp_path / "h")
    desk = federation.desk
    seed = load_federation_key(desk)
    future = edit(desk, seed, extend, now=now())  # signed, but not given to the relay
    me = load_membership(done.path, environ={})
    assert me.store.accept(future.raw, now())
    fault = refusal(endpoint_of(done.path).start, timeout=10.0)
    assert fault.code == "MANIFEST"
    publish(desk, future)


def test_attack_8_a_revoked_member_is_turned_away(federation, tmp_path, joined):
    """attack 8: a revoked key, at the next connection."""
    done = joined(line(federation, "i"), tmp_path / "i")
    desk = federation.desk
    edition = edit(desk, load_federation_key(desk), revoke("i"), now=now())
    assert publish(desk, edition) == ""
    fault = refusal(endpoint_of(done.path).start, timeout=10.0)
    assert fault.code in ("NOT_ADMITTED", "REVOKED")
    # Nor does the invite it came by open the door again.
    assert (
        refusal(join, line(federation, "i"), tmp_path / "j", way=WAY, now=now(), timeout=10.0).code
        == "INVITE"
    )


def test_rotated_keys_work_and_the_old_ones_do_not(federation, tmp_path, joined):
    done = joined(line(federation, "k"), tmp_path / "k")
    old = load_membership(done.path, environ={})
    rotated = rotate_keys(old, now=now(), timeout=20.0)
    assert rotated.fingerprint == done.fingerprint
    assert not (tmp_path / "k" / "keys.next.json").exists()
    assert load_keys(tmp_path / "k" / "keys.json").noise != old.keys.noise
    endpoint = endpoint_of(done.path)
    endpoint.start(timeout=20.0)
    endpoint.close()
    former = Endpoint(
        keys=old.keys,
        relay=old.relay,
        store=ManifestStore(tmp_path / "fresh.bin", old.federation),
        egress=old.egress,
    )
    assert refusal(former.start, timeout=10.0).code == "NOT_ADMITTED"


def test_lost_keys_are_recovered_with_a_replacing_invite(federation, tmp_path, joined):
    done = joined(line(federation, "l"), tmp_path / "l")
    (tmp_path / "l" / "keys.json").unlink()
    desk = federation.desk
    text, edition = write_invite(
        desk,
        load_federation_key(desk),
        name="l",
        role="analyst",
        now=now(),
        entropy=os.urandom,
        replace=True,
    )
    assert publish(desk, edition) == ""
    again, kept = rejoin(text, tmp_path / "l", way=WAY, now=now(), timeout=30.0)
    assert again.fingerprint != done.fingerprint
    assert (kept / "federation.toml").exists()


def test_a_recovery_that_fails_leaves_the_membership(federation, tmp_path, joined):
    done = joined(line(federation, "j"), tmp_path / "j")
    before = done.path.read_bytes()
    fault = refusal(rejoin, line(federation, "j"), tmp_path / "j", way=WAY, now=now(), timeout=10.0)
    assert fault.code == "INVITE"
    assert done.path.read_bytes() == before
    assert load_keys(tmp_path / "j" / "keys.json").fingerprint == done.fingerprint


def test_edits_while_the_relay_is_away_are_published_when_it_comes(
    tmp_path, founded, serving, joined
):
    made = founded(tmp_path / "fed")
    seed = load_federation_key(made.desk)
    text, edition = write_invite(
        made.desk, seed, name="ana", role="analyst", now=now(), entropy=os.urandom
    )
    assert "serve" in publish(made.desk, edition)
    with serving(made.desk):
        assert joined(text, tmp_path / "ana").name == "ana"
    assert current_edition(made.desk).manifest.by_name("ana") is not None
