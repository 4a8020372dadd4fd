"""Single sign-on against a real OpenID provider on loopback, and tokens that are not for us."""

import re
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from worlds import MINUTE, NOW, Browser

from podsql.errors import Error
from podsql.policy.service.page.page_file import Oidc, PageFile, read_page_file
from podsql.policy.service.page.single_sign_on import require_claims


@pytest.fixture
def world(worlds, issuer):
    oidc = Oidc(issuer=issuer, client_id="podsql", client_secret="a secret")
    world = worlds(clinics=PageFile(oidc=oidc), banks=None)
    world.now = time.time_ns() // 1_000_000  # the provider's tokens are of now
    return world


@pytest.fixture
def browser(world):
    browser = Browser(world)
    yield browser
    browser.close()


def to_provider(browser, path="sso"):
    """Where we send the browser."""
    answer = browser.get(path, follow=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def consent(address, subject):
    """What a person does there; where the provider sends the browser then."""
    answer = httpx.post(address, data={"sub": subject}, trust_env=False)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def come_back(browser, address):
    parts = urlsplit(address)
    return browser.get(f"{parts.path}?{parts.query}")


def test_an_officer_signs_in_by_subject(world, browser, issuer):
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    assert "Single sign-on" in browser.get("sign-in").text
    address = to_provider(browser, "sso?next=/f/clinics/grants")
    asked = parse_qs(urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["scope"] == ["openid"]
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    answer = come_back(browser, consent(address, "subject-7"))
    assert answer.url.path == "/f/clinics/grants"
    assert "anna" in answer.text


def test_a_single_sign_on_is_a_proof_for_ten_minutes_from_when_the_provider_saw_it(
    world, browser, issuer
):
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    come_back(browser, consent(to_provider(browser), "subject-7"))
    world.now += 11 * MINUTE
    browser.get("freeze")
    answer = browser.post("freeze", pod="north", reason="x")
    assert answer.status_code == 403
    assert "Confirm by single sign-on" in answer.text
    asked = parse_qs(urlsplit(to_provider(browser, "sso?again=1")).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])


def test_others_at_the_provider_are_nobody_here(world, browser, issuer):
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    for subject in ("subject-8", "anna", f"{issuer} subject-7"):
        answer = come_back(browser, consent(to_provider(browser), subject))
        assert answer.status_code == 401
        assert "Name or password is wrong" in answer.text


def test_an_ended_officer_is_not_let_in(world, browser, issuer):
    from podsql.policy.service.officers import CONSOLE

    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    world["clinics"].officer("bert")
    world["clinics"].orders.end_officer(CONSOLE, "anna")
    assert come_back(browser, consent(to_provider(browser), "subject-7")).status_code == 401


def test_an_answer_is_taken_once_by_the_browser_that_asked(world, browser, issuer):
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    back = consent(to_provider(browser), "subject-7")
    other = Browser(world)
    assert come_back(other, back).status_code == 401, "another browser has no such state"
    to_provider(other)
    assert come_back(other, back).status_code == 401, "nor with a state of its own"
    assert come_back(browser, back).url.path == "/f/clinics/"
    assert come_back(browser, back).status_code == 401, "a code is used once"
    other.close()


def test_an_answer_that_is_late_or_forged_is_refused(world, browser, issuer):
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    back = consent(to_provider(browser), "subject-7")
    forged = re.sub(r"code=[^&]+", "code=other", back)
    assert come_back(browser, forged).status_code == 401
    back = consent(to_provider(browser), "subject-7")
    world.now += 11 * MINUTE
    assert come_back(browser, back).status_code == 401
    assert browser.get("sso/back").status_code == 401
    assert browser.get("sso/back?error=access_denied&state=x").status_code == 401


def test_a_provider_opens_one_federation(world, browser, issuer):
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    world["banks"].officer("anna", oidc=f"{issuer} subject-7")
    bank = Browser(world, "banks")
    assert bank.get("sso").status_code == 503
    assert "Single sign-on" in bank.get("sign-in").text, "as every sign-in page of this process"
    back = consent(to_provider(browser), "subject-7")
    moved = back.replace("/f/clinics/", "/f/banks/")
    assert come_back(bank, moved).status_code == 401
    bank.close()


def test_a_provider_that_is_away_is_said_to_be_away(worlds):
    oidc = Oidc(issuer="http://127.0.0.1:9", client_id="podsql", client_secret="x")
    world = worlds(clinics=PageFile(oidc=oidc))
    browser = Browser(world)
    answer = browser.get("sso")
    assert answer.status_code == 503
    assert "Single sign-on is not possible now" in answer.text
    browser.close()


OIDC = Oidc(issuer="https://idp.example", client_id="podsql", client_secret="s")
CLAIMS = {"iss": OIDC.issuer, "aud": "podsql", "nonce": "n", "exp": NOW // 1000 + 60, "sub": "7"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"aud": "other"},
        {"aud": ["podsql", "other"]},
        {"aud": ["podsql", "other"], "azp": "other"},
        {"nonce": "m"},
        {"nonce": None},
        {"exp": NOW // 1000 - 120},
        {"exp": "later"},
        {"exp": None},
        {"sub": ""},
    ],
    ids=str,
)
def test_a_token_for_somebody_else_is_refused(wrong):
    require_claims(CLAIMS, OIDC, nonce="n", now=NOW)
    with pytest.raises(Error, match="not for this sign-in"):
        require_claims({**CLAIMS, **wrong}, OIDC, nonce="n", now=NOW)


def test_the_file_is_read_strictly(tmp_path):
    assert read_page_file(tmp_path) == PageFile()
    secret = tmp_path / "oidc.secret"
    secret.write_text("a secret\n")
    secret.chmod(0o600)
    good = '[oidc]\nissuer = "https://idp.example/"\nclient_id = "podsql"\nclient_secret_file = "oidc.secret"\n'
    (tmp_path / "page.toml").write_text(good)
    found = read_page_file(tmp_path).oidc
    assert (found.issuer, found.client_secret) == ("https://idp.example", "a secret")
    assert "secret" not in repr(found)
    for text in (
        good + "x = 1\n",
        good.replace("https", "http"),
        good.replace("oidc.secret", "none"),
        "[",
        "[oidc]\n",
    ):
        (tmp_path / "page.toml").write_text(text)
        with pytest.raises(Error, match="CONFIG"):
            read_page_file(tmp_path)
    (tmp_path / "page.toml").write_text(good)
    secret.chmod(0o644)
    with pytest.raises(Error, match="read by others"):
        read_page_file(tmp_path)
