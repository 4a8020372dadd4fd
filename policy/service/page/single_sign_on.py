"""Single sign-on by OpenID Connect: authorization code flow with PKCE, state and nonce.

Rule to keep: an officer is who the provider's signed token names (issuer and subject), never an
e-mail address or a name; a token is believed only with its signature, audience, nonce and time.
"""

import base64
import json
import secrets
import threading
from hashlib import sha256
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.responses import RedirectResponse, Response

from podsql.errors import Error, error
from podsql.policy.service.database import Database
from podsql.policy.service.officers import Officer, by_name
from podsql.policy.service.page.page_file import Oidc
from podsql.policy.service.page.signing_in import TOO_MANY, enter, inside, refuse
from podsql.policy.service.page.visits import Visitor, drop_cookie, put_cookie

SECONDS: Final = 10.0
ANSWER_BYTES: Final = 1 << 20
SKEW_MS: Final = 60_000
KEPT_MS: Final = 3600_000
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
BROKEN: Final = (JoseError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a token, or keys, that are not as they should be ends in."""
FAILED: Final = error(
    "POLICY_UNAVAILABLE", "single sign-on is not possible now", hint="try again, or another way"
)


class Provider:
    """What a provider publishes of itself, read once an hour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, dict[str, Any]]] = {}

    def about(self, issuer: str, now: int) -> dict[str, Any]:
        """Its discovery document."""
        found = self.document(f"{issuer}/.well-known/openid-configuration", issuer, now)
        if str(found.get("issuer", "")).rstrip("/") != issuer or not found.get(
            "authorization_endpoint"
        ):
            raise FAILED
        return found

    def document(
        self, address: str, issuer: str, now: int, *, anew: bool = False
    ) -> dict[str, Any]:
        """A JSON document, kept for an hour."""
        with self._lock:
            known = self._known.get(address)
        if known is not None and now - known[0] < KEPT_MS and not anew:
            return known[1]
        found = _fetch(address, issuer)
        with self._lock:
            self._known[address] = (now, found)
        return found


PROVIDER: Final = Provider()


def leave(visitor: Visitor) -> Response:
    """Send the browser to the provider."""
    ask, site, tenant = visitor.ask, visitor.site, visitor.tenant
    oidc = tenant.file.oidc if tenant else None
    if oidc is None:
        return visitor.page("sign_in.html", 503, fault=FAILED)
    try:
        about = PROVIDER.about(oidc.issuer, ask.now)
    except Error:
        return visitor.page("sign_in.html", 503, fault=FAILED)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": oidc.client_id,
        "redirect_uri": _back(visitor),
        "scope": "openid",
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    if ask.query.get("again"):
        # To be let on, somebody must sign in at the provider now, not an hour ago.
        asked |= {"prompt": "login", "max_age": "0"}
    response = RedirectResponse(f"{about['authorization_endpoint']}?{urlencode(asked)}", 303)
    wanted = inside(visitor, ask.query.get("next", ""))[:500]
    text = site.seal.shut(
        "sso", ask.federation, ask.now, state=state, nonce=nonce, verifier=verifier, next=wanted
    )
    put_cookie(response, site, ask.federation, "sso", text, 600)
    return response


def back(visitor: Visitor) -> Response:
    """Who the provider says it is, if an officer, is let in."""
    ask, site, tenant = visitor.ask, visitor.site, visitor.tenant
    if not site.attempts.take(ask.address, ask.now):
        return visitor.page("sign_in.html", 429, fault=TOO_MANY)
    oidc = tenant.file.oidc if tenant else None
    kept = site.seal.open("sso", ask.federation, ask.now, ask.cookie("sso", site))
    state = ask.query.get("state", "")
    if (
        tenant is None
        or oidc is None
        or kept is None
        or not secrets.compare_digest(kept["state"].encode(), state.encode())
        or not site.seal.once(state, ask.now)
    ):
        return refuse(visitor)
    try:
        claims = _claims(oidc, visitor, kept)
    except Error:
        return refuse(visitor)
    officer = _officer(tenant.database, oidc, str(claims["sub"]))
    if officer is None:
        return refuse(visitor)
    # Without a time of its own the provider's word is no fresh proof.
    signed_in = claims.get("auth_time", 0)
    proved = min(ask.now, int(signed_in) * 1000) if isinstance(signed_in, int | float) else 0
    response = enter(visitor, tenant, officer, proved=proved, wanted=kept["next"])
    drop_cookie(response, site, ask.federation, "sso")
    return response


def _claims(oidc: Oidc, visitor: Visitor, kept: dict[str, str]) -> dict[str, Any]:
    """Exchange the code; what the signed token claims."""
    now = visitor.ask.now
    about = PROVIDER.about(oidc.issuer, now)
    answer = _fetch(
        str(about.get("token_endpoint", "")),
        oidc.issuer,
        {
            "grant_type": "authorization_code",
            "code": visitor.ask.query.get("code", ""),
            "redirect_uri": _back(visitor),
            "code_verifier": kept["verifier"],
        },
        oidc,
    )
    token = str(answer.get("id_token", ""))
    keys = str(about.get("jwks_uri", ""))
    try:
        claims = _read(token, PROVIDER.document(keys, oidc.issuer, now))
    except BROKEN:
        try:  # the provider may have new keys
            claims = _read(token, PROVIDER.document(keys, oidc.issuer, now, anew=True))
        except BROKEN:
            raise FAILED from None
    require_claims(claims, oidc, nonce=kept["nonce"], now=now)
    return claims


def require_claims(claims: dict[str, Any], oidc: Oidc, *, nonce: str, now: int) -> None:
    """DENIED unless the token is this provider's, for us, for this sign-in, and of now."""
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    ends = claims.get("exp")
    if (
        str(claims.get("iss", "")).rstrip("/") != oidc.issuer
        or oidc.client_id not in listed
        or (len(listed) > 1 and claims.get("azp") != oidc.client_id)
        or not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode())
        or not isinstance(ends, int | float)
        or ends * 1000 + SKEW_MS < now
        or not claims.get("sub")
    ):
        raise error("DENIED", "the provider's token is not for this sign-in")


def _read(token: str, keys: dict[str, Any]) -> dict[str, Any]:
    found = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
    return dict(found.claims)


def _officer(database: Database, oidc: Oidc, subject: str) -> Officer | None:
    rows = database.read(
        "SELECT name FROM officers WHERE oidc = ? AND ended IS NULL", f"{oidc.issuer} {subject}"
    )
    return by_name(database, rows[0]["name"]) if len(rows) == 1 else None


def _back(visitor: Visitor) -> str:
    return f"{visitor.site.origins[0]}{visitor.home}sso/back"


class _Stay(HTTPRedirectHandler):
    """A provider's own addresses do not lead elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = build_opener(_Stay)


def _fetch(
    address: str, issuer: str, form: dict[str, str] | None = None, oidc: Oidc | None = None
) -> dict[str, Any]:
    """A JSON document over TLS (or from this machine, as the issuer itself may be)."""
    scheme = urlsplit(address).scheme
    if scheme != "https" and scheme != urlsplit(issuer).scheme:
        raise FAILED
    headers = {"accept": "application/json"}
    if oidc is not None:
        pair = f"{quote(oidc.client_id)}:{quote(oidc.client_secret)}".encode()
        headers["authorization"] = "Basic " + base64.b64encode(pair).decode()
    body = urlencode(form).encode() if form is not None else None
    try:
        with _OPENER.open(Request(address, body, headers), timeout=SECONDS) as reply:
            found = json.loads(reply.read(ANSWER_BYTES))
    except (URLError, OSError, ValueError):
        raise FAILED from None
    if not isinstance(found, dict):
        raise FAILED
    return found
