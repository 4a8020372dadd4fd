"""Passkeys: a key in the officer's device signs in, and proves again who it is, without a password.

The device itself asks for finger or PIN (user verification is required), so a passkey is two factors.
Rule to keep: a challenge is used once, and signs in only to the federation that sent it.
"""

import ipaddress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import webauthn
from starlette.responses import JSONResponse, Response
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from podsql.errors import error
from podsql.policy.service import sessions
from podsql.policy.service.database import Database
from podsql.policy.service.history import note
from podsql.policy.service.officers import Officer, by_name
from podsql.policy.service.page.hosting import Site
from podsql.policy.service.page.signing_in import TOO_MANY, enter, refuse
from podsql.policy.service.page.visits import Visit, Visitor

MOST: Final = 10
REQUIRED: Final = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """One that an officer registered."""

    credential: bytes
    officer: str
    public_key: bytes
    count: int
    label: str
    created: int


def passkeys_of(database: Database, officer: str) -> list[Passkey]:
    """Those of an officer, oldest first."""
    return [
        Passkey(**dict(row))
        for row in database.read(
            "SELECT * FROM passkeys WHERE officer = ? ORDER BY created, credential", officer
        )
    ]


def possible(site: Site) -> bool:
    """Browsers bind passkeys to a name; an address of numbers has none."""
    try:
        ipaddress.ip_address(site.host)
    except ValueError:
        return site.secure or site.host == "localhost"
    return False


def sign_in_options(visitor: Visitor) -> Response:
    """A challenge for whatever passkey the browser has: no name is asked, so none is told."""
    options = webauthn.generate_authentication_options(
        rp_id=visitor.site.host, user_verification=REQUIRED
    )
    return _options(webauthn.options_to_json(options), _shut(visitor, options.challenge))


def sign_in(visitor: Visitor) -> Response:
    """Let in whoever holds a registered passkey."""
    ask, site, tenant = visitor.ask, visitor.site, visitor.tenant
    if not site.attempts.take(ask.address, ask.now):
        return visitor.page("sign_in.html", 429, fault=TOO_MANY)
    officer = None
    if tenant is not None:
        officer = _verified(site, tenant.database, visitor)
    if officer is None or tenant is None:
        return refuse(visitor)
    return enter(visitor, tenant, officer, proved=ask.now)


def proof_options(visit: Visit) -> Response:
    """A challenge for the passkeys of this officer."""
    mine = passkeys_of(visit.database, visit.officer.name)
    options = webauthn.generate_authentication_options(
        rp_id=visit.site.host,
        allow_credentials=[PublicKeyCredentialDescriptor(id=one.credential) for one in mine],
        user_verification=REQUIRED,
    )
    return _options(webauthn.options_to_json(options), _shut(visit, options.challenge))


def prove(visit: Visit) -> Response:
    """A fresh proof of who it is, for the next ten minutes."""
    officer = _verified(visit.site, visit.database, visit)
    if officer is None or officer.name != visit.officer.name:
        raise error("DENIED", "the passkey was not accepted")
    sessions.prove(visit.database, visit.session, visit.now)
    return JSONResponse({"proved": True})


def register_options(visit: Visit) -> Response:
    """What a new passkey must be."""
    mine = passkeys_of(visit.database, visit.officer.name)
    if len(mine) >= MOST:
        raise error("QUOTA", f"{MOST} passkeys are enough", hint="remove one that is not used")
    name = f"{visit.officer.name} ({visit.tenant.name})"
    handle = blake2b(name.encode(), digest_size=32, person=b"ps-passkey").digest()
    options = webauthn.generate_registration_options(
        rp_id=visit.site.host,
        rp_name="podsql access manager",
        user_name=name,
        user_id=handle,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one.credential) for one in mine],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=REQUIRED
        ),
    )
    return _options(webauthn.options_to_json(options), _shut(visit, options.challenge))


def register(visit: Visit) -> Response:
    """Keep a new passkey."""
    form, site = visit.form, visit.site
    label = form.text("label", "The name", most=64, needed=False) or "passkey"
    challenge = _challenge(site, visit)
    if challenge is None or form.problems:
        raise error("ARGUMENT", "the passkey was not registered", hint="try again")
    try:
        found = webauthn.verify_registration_response(
            credential=form.raw("credential"),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=list(site.origins),
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError):
        raise error("ARGUMENT", "the passkey was not registered", hint="try again") from None
    with visit.database.write() as db:
        kept = db.execute(
            "INSERT INTO passkeys VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                found.credential_id,
                visit.officer.name,
                found.credential_public_key,
                found.sign_count,
                label,
                visit.now,
            ),
        )
        if not kept.rowcount:
            raise error("CONFLICT", "this passkey is registered already")
        note(db, time=visit.now, actor=visit.officer.name, act="passkey", object=visit.officer.name, detail=label)  # fmt: skip
    return visit.go("account", "The passkey was registered.")


def remove(visit: Visit) -> Response:
    """Forget a passkey of one's own."""
    try:
        credential = bytes.fromhex(visit.form.raw("passkey"))
    except ValueError:
        credential = b""
    with visit.database.write() as db:
        gone = db.execute(
            "DELETE FROM passkeys WHERE credential = ? AND officer = ?",
            (credential, visit.officer.name),
        )
        if not gone.rowcount:
            raise error("ARGUMENT", "no such passkey")
        note(db, time=visit.now, actor=visit.officer.name, act="remove passkey", object=visit.officer.name)  # fmt: skip
    return visit.go("account", "The passkey was removed.")


def _verified(site: Site, database: Database, asked: Visit | Visitor) -> Officer | None:
    """The officer whose passkey signed the challenge."""
    challenge = _challenge(site, asked)
    sent = asked.ask.form.raw("credential")
    try:
        credential = webauthn.helpers.parse_authentication_credential_json(sent)
        rows = database.read("SELECT * FROM passkeys WHERE credential = ?", credential.raw_id)
        if not rows or challenge is None:
            return None
        known = Passkey(**dict(rows[0]))
        found = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=list(site.origins),
            credential_public_key=known.public_key,
            credential_current_sign_count=known.count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError):
        return None
    database.log(
        "UPDATE passkeys SET count = ? WHERE credential = ?",
        (found.new_sign_count, known.credential),
    )
    return by_name(database, known.officer)


def _options(document: str, sealed: str) -> Response:
    """The options, and the challenge sealed, which comes back with the answer."""
    return Response(document, media_type="application/json", headers={"x-challenge": sealed})


def _shut(asked: Visit | Visitor, challenge: bytes) -> str:
    ask = asked.ask
    return asked.site.seal.shut("passkey", ask.federation, ask.now, challenge=challenge.hex())


def _challenge(site: Site, asked: Visit | Visitor) -> bytes | None:
    ask = asked.ask
    opened = site.seal.open("passkey", ask.federation, ask.now, ask.form.raw("challenge"))
    if opened is None or not site.seal.once(opened["challenge"], ask.now):
        return None
    return bytes.fromhex(opened["challenge"])
