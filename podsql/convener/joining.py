"""The invitee's side: from one line of text to keys, manifest and ``federation.toml``.

Runs on analysts' machines of any system. Rule to keep: secrets are on disk before they are
presented, and ``federation.toml`` is written last, so that its presence means "joined" and an
interrupted join can be repeated with the same invite.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podsql.errors import Error, error
from podsql.membership import (
    FederationSection,
    MembershipFile,
    MeSection,
    RelaySection,
    egress_of,
    key_text,
    membership_text,
)
from podsql.message import Signed
from podsql.messages import JoinReply, JoinRequest, encode, reply_of
from podsql.relay.cards import Card, card_text, make_card
from podsql.relay.invite import Invite, invite_curve, invite_from_text, secret_hash
from podsql.relay.keys import PeerKeys, load_keys, replace_file, save_keys
from podsql.relay.manifest import Manifest, ManifestStore
from podsql.relay.sockets.endpoint import Egress, Endpoint

ASK_AGAIN: Final = "ask the convener for another: podsql invite NAME --role ROLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """How an invitee reaches the relay, and from which environment variables."""

    ca: Path | None = None
    proxy: str | None = None
    socks: str | None = None
    environ: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a join wrote."""

    path: Path
    federation: str
    name: str
    role: str
    fingerprint: str
    card: str


def join(
    text: str,
    directory: Path,
    *,
    way: WayOut,
    now: int,
    passphrase: str | None = None,
    timeout: float = 20.0,
) -> Joined:
    """Redeem an invite into ``directory``; INVITE, RELAY_… and CONFIG errors say what to do next."""
    invite = invite_from_text(text)
    if invite.expires <= now:
        raise error("INVITE", "this invite has expired", hint=ASK_AGAIN)
    path = directory / "federation.toml"
    if path.exists():
        raise error(
            "CONFIG",
            f"{str(directory)!r} holds a membership already",
            hint="--dir OTHER joins beside it; podsql key recover INVITE replaces its keys",
        )
    make_private(directory)
    keys = _keys(directory / "keys.json", passphrase)
    relay = _relay_section(invite, way, directory)
    store = _store(directory / "manifest.bin", invite.federation)
    egress = egress_of(relay, directory, way.environ)
    card = make_card(keys, name=invite.name, role=invite.role, now=now)
    name = _redeem(invite, keys, card, store, egress, now=now, timeout=timeout)
    file = MembershipFile(
        federation=FederationSection(name=name or "federation", fingerprint=invite.federation),
        relay=relay,
        me=MeSection(name=invite.name, role=invite.role),
    )
    replace_file(path, membership_text(file).encode(), mode=0o644)
    return Joined(
        path=path,
        federation=file.federation.name,
        name=invite.name,
        role=invite.role,
        fingerprint=keys.fingerprint,
        card=card_text(card),
    )


def make_private(directory: Path) -> None:
    """A directory that only its owner may enter; an existing one is left as it is."""
    if not directory.is_dir():
        directory.mkdir(parents=True, mode=0o700)


def _keys(path: Path, passphrase: str | None) -> PeerKeys:
    if path.exists():  # an interrupted join: its keys may be in the manifest already
        return load_keys(path, passphrase)
    keys = PeerKeys.generate()
    save_keys(path, keys, passphrase)
    return keys


def _store(path: Path, federation: str) -> ManifestStore:
    """The store of an interrupted join of this federation; what another one left is dropped."""
    try:
        return ManifestStore(path, federation)
    except Error:
        path.unlink()
        return ManifestStore(path, federation)


def _relay_section(invite: Invite, way: WayOut, directory: Path) -> RelaySection:
    ca = None
    if way.ca is not None:
        ca = "ca.pem"
        if way.ca.resolve() != (directory / ca).resolve():
            shutil.copyfile(way.ca, directory / ca)
    return RelaySection(
        endpoint=invite.relay.endpoint,
        key=key_text(invite.relay.curve),
        ca=ca,
        proxy=way.proxy,
        socks=way.socks,
    )


def _redeem(
    invite: Invite,
    keys: PeerKeys,
    card: Signed,
    store: ManifestStore,
    egress: Egress,
    *,
    now: int,
    timeout: float,
) -> str:
    """Ask the registrar; the federation's name. The store then holds the manifest with our card."""
    endpoint = Endpoint(
        keys=keys,
        relay=invite.relay,
        store=store,
        egress=egress,
        curve=invite_curve(invite.secret),
        name="invitee",
    )
    request = encode(JoinRequest(card=card, secret_hash=secret_hash(invite.secret)))
    try:
        endpoint.start(timeout=timeout)
        reply = endpoint.call_wait(registrar_card(store.current), request, timeout=timeout)
    except Error as fault:
        raise _explain(fault) from None
    finally:
        endpoint.close()
    answer = read_reply(reply)
    store.accept(answer.manifest, now)
    check_member(store.current, keys, invite.name)
    return answer.federation


def read_reply(reply: bytes) -> JoinReply:
    """The registrar's answer; its refusal is raised as the error it names."""
    odd = "the registrar sent something else than an answer to a join"
    return reply_of(JoinReply, reply, odd)


def check_member(manifest: Manifest | None, keys: PeerKeys, name: str) -> None:
    """INVITE unless the manifest names these keys by ``name``."""
    card = manifest.by_name(name) if manifest else None
    if card is None or (card.identity, card.noise, card.curve) != (
        keys.identity_public,
        keys.noise_public,
        keys.curve_public,
    ):
        raise error("INVITE", f"the manifest does not hold our card as {name!r}", hint=ASK_AGAIN)


def registrar_card(manifest: Manifest | None) -> Card:
    """The convener's card that answers joins: the one named ``registrar``, else any convener."""
    conveners = [
        card for card in (manifest.members() if manifest else ()) if card.role == "convener"
    ]
    if not conveners:
        raise error("MANIFEST", "the manifest names no convener")
    return min(conveners, key=lambda card: (card.name != "registrar", card.name))


def _explain(fault: Error) -> Error:
    """Say in an invitee's words what a failed connection means."""
    match fault.code:
        case "NOT_ADMITTED" | "REVOKED":
            text = "the relay does not know this invite: used, revoked, expired or not published"
            return error("INVITE", text, hint=ASK_AGAIN)
        case "MANIFEST":
            text = f"the relay serves no manifest of the invite's federation ({fault.message})"
            return error("INVITE", text, hint=fault.hint or ASK_AGAIN)
        case "TIMEOUT" | "POD_LOST":
            hint = "is `podsql federation serve` running at the convener's?"
            return error(fault.code, "the registrar does not answer", hint=hint)
        case _:
            return fault
