"""What keeps others out: origins, tokens, sessions, locks, tenants, limits, headers."""

import re
import socket
import statistics
import time
from html import unescape
from urllib.parse import parse_qs

import pytest
from worlds import BEN_KEY, MINUTE, NOW, PASSWORD, Browser, fill, pages

from podsql.policy.service.accounts import LINK_MS
from podsql.policy.service.asking import one_request
from podsql.policy.service.granting import all_grants
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.page.app import ACTIONS
from podsql.policy.service.page.forms import FORM_BYTES
from podsql.policy.service.page.visits import ForOfficers

OFFICERS = [one for one in ACTIONS if isinstance(one, ForOfficers)]


def signed_in(browser):
    return browser.get("account", follow=False).status_code == 200


def address(action):
    """The action's path with something in place of what varies."""
    path = action.path.replace("{number:int}", "1")
    return re.sub(r"\{\w+\}", "x", path)


# -- strangers ---------------------------------------------------------------------------------


def test_no_action_is_reached_without_a_session(world):
    assert len(OFFICERS) > 40
    for action in OFFICERS:
        browser = Browser(world)
        if action.method == "GET":
            answer = browser.get(address(action), follow=False)
        else:
            answer = browser.post(address(action), follow=False, csrf="x")
        assert answer.status_code == 303, action.path
        assert "/f/clinics/sign-in" in answer.headers["location"], action.path
        browser.close()


def test_every_form_needs_its_token_and_its_origin(world, clinics, browsers):
    number = clinics.ask()
    anna = browsers("anna")
    forms = [one for one in OFFICERS if one.method == "POST"]
    assert len(forms) > 20
    for action in forms:
        require_guarded(action, world, clinics, anna, number)


def require_guarded(action, world, clinics, anna, number):
    before = world["clinics"].database.read("SELECT max(number) AS n FROM history")[0]["n"]
    for sent in ({"csrf": ""}, {"csrf": "x" * 43}, {}):
        assert anna.post(address(action), form=sent).status_code == 403, sent
    anna.get("requests")
    token = anna.csrf()
    evil = anna.post(address(action), csrf=token, origin="https://evil.example")
    assert evil.status_code == 403
    bare = anna.http.post(anna.home + address(action), data={"csrf": token})
    assert bare.status_code == 403, "no Origin at all"
    framed = anna.http.post(
        anna.home + address(action),
        data={"csrf": token},
        headers={"origin": world.origin, "sec-fetch-site": "cross-site"},
    )
    assert framed.status_code == 403
    after = world["clinics"].database.read("SELECT max(number) AS n FROM history")[0]["n"]
    assert after == before
    assert one_request(clinics.database, number).state == "open"
    assert signed_in(anna)


def test_a_token_of_one_session_is_none_of_another(clinics, browsers):
    anna, bert = browsers("anna"), browsers("bert")
    anna.get("requests")
    bert.get("requests")
    assert anna.csrf() != bert.csrf()
    assert bert.post("sign-out-everywhere", csrf=anna.csrf()).status_code == 403


def test_a_sign_in_form_needs_its_own_token(world, clinics, browsers):
    browsers("anna").close()
    stranger = Browser(world)
    answer = stranger.post("sign-in", form={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 400
    stranger.get("sign-in")
    world.now += 13 * 60 * MINUTE
    late = stranger.post("sign-in", name="anna", password=PASSWORD)
    assert "open for too long" in late.text
    assert stranger.post("sign-in", name="anna", password=PASSWORD).url.path == "/f/clinics/"
    stranger.close()


def test_other_hosts_are_not_ours(world):
    with socket.create_connection(("127.0.0.1", world.port)) as link:
        link.sendall(
            b"GET /f/clinics/sign-in HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        )
        assert b" 421 " in link.recv(200)


def test_headers_stand_on_every_answer(world, browsers):
    anna = browsers("anna")
    for path in (
        "",
        "requests",
        "nothing",
        "/static/page.css",
        "/robots.txt",
        "/nothing",
        "decisions/export",
    ):
        headers = anna.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        if not path.startswith("/static"):
            assert headers["cache-control"] == "no-store"


def test_too_large_a_form_is_refused(world, browsers):
    anna = browsers("anna")
    anna.get("policies")
    assert anna.post("policies", text="x" * FORM_BYTES).status_code == 413
    token = anna.get("policies") and anna.csrf()
    many = [("csrf", token)] + [("a", "b")] * 300
    body = "&".join(f"{name}={text}" for name, text in many)
    answer = anna.http.post(
        anna.home + "policies",
        content=body,
        headers={"origin": world.origin, "content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 400
    odd = anna.http.post(
        anna.home + "policies",
        content=b"{}",
        headers={"origin": world.origin, "content-type": "application/json"},
    )
    assert odd.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/f/",
        "/f/%00/sign-in",
        "/f/../etc/passwd",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/f/clinics/requests/99999999999999999999",
        "/f/clinics//",
        "/f/clinics/link/%0d%0aset-cookie:x=1",
    ],
)
def test_odd_addresses_are_answered_calmly(world, browsers, path):
    anna = browsers("anna")
    answer = anna.http.get(path, follow_redirects=True)
    assert answer.status_code in (200, 400, 404), answer.text
    assert "Traceback" not in answer.text
    assert "import" not in answer.text


def test_a_fault_of_ours_is_a_page_without_its_inside(world, clinics, browsers, caplog):
    anna = browsers("anna")
    with clinics.database.write() as db:
        db.execute("INSERT INTO pods VALUES ('broken', x'00', 0, x'ff')")
    answer = anna.get("pods")
    assert answer.status_code == 500
    assert "This was not done" in answer.text
    assert "Traceback" not in answer.text


# -- sessions ----------------------------------------------------------------------------------


def test_a_session_ends_when_it_is_not_used(world, browsers):
    anna = browsers("anna")
    for _ in range(3):
        world.now += 25 * MINUTE
        assert signed_in(anna)
    world.now += 31 * MINUTE
    assert not signed_in(anna)


def test_a_session_ends_after_twelve_hours(world, browsers):
    anna = browsers("anna")
    for _ in range(29):
        world.now += 25 * MINUTE
        if not signed_in(anna):
            break
    assert 11 * 60 < (world.now - NOW) / MINUTE <= 12 * 60 + 25


def test_cookies_are_kept_from_scripts_and_other_paths(world, clinics, browsers):
    stranger = browsers()
    token = clinics.officer("anna")
    stranger.get(f"link/{token}")
    answer = stranger.post(f"link/{token}", password=PASSWORD, again=PASSWORD, follow=False)
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 3
    for one in cookies:
        assert "HttpOnly" in one
        assert "Path=/f/clinics/" in one
        assert "samesite=lax" in one.lower()


def test_what_is_stored_of_a_session_is_no_key_to_it(world, clinics, browsers):
    anna = browsers("anna")
    token = anna.http.cookies["podsql-session"]
    dump = "\n".join(clinics.database._slow.iterdump())
    assert token not in dump
    assert anna.http.cookies["podsql-device"] not in dump
    assert PASSWORD not in dump
    assert "$argon2id$" in dump


def test_a_sign_in_makes_a_new_token_and_ends_the_old_one(world, browsers):
    anna = browsers("anna")
    old = anna.http.cookies["podsql-session"]
    anna.get("link/x")  # a page for strangers, with their token
    anna.post("sign-in", name="anna", password=PASSWORD)
    assert anna.http.cookies["podsql-session"] != old
    thief = Browser(world)
    thief.http.cookies.set("podsql-session", old, path="/f/clinics/")
    assert not signed_in(thief)
    thief.close()


def test_a_session_that_somebody_planted_is_not_taken_over(world, browsers, clinics):
    browsers("anna")
    victim = Browser(world)
    victim.http.cookies.set(
        "podsql-session", "planted", domain="localhost.local", path="/f/clinics/"
    )
    victim.sign_in("anna")
    values = {cookie.value for cookie in victim.http.cookies.jar if cookie.name == "podsql-session"}
    assert values - {"planted"}
    assert not clinics.database.read("SELECT 1 FROM sessions WHERE token_hash = ?", b"planted")
    victim.close()


def test_signing_out_ends_it_here_or_everywhere(world, browsers):
    anna = browsers("anna")
    other = Browser(world)
    other.sign_in("anna")
    third = Browser(world)
    third.sign_in("anna")
    other.get("account")
    other.post("sign-out")
    assert not signed_in(other)
    assert signed_in(third)
    anna.get("account")
    anna.post("sign-out-everywhere")
    assert not signed_in(third)
    assert not signed_in(anna)
    other.close()
    third.close()


def test_an_ended_officer_is_out_at_once(clinics, browsers):
    anna, bert = browsers("anna"), browsers("bert")
    clinics.orders.end_officer(CONSOLE, "bert")
    assert not signed_in(bert)
    assert signed_in(anna)


def test_giving_needs_a_fresh_proof(world, clinics, browsers):
    number = clinics.ask()
    grant_id = clinics.grant()
    anna = browsers("anna")
    world.now += 11 * MINUTE
    for action in (one for one in OFFICERS if one.proof):
        anna.get("requests")
        answer = anna.post(address(action), note="kept & <b>")
        assert answer.status_code == 403, action.path
        assert "Confirm that it is you" in answer.text
        assert "kept &amp; &lt;b&gt;" in answer.text
    assert one_request(clinics.database, number).state == "open"
    anna.get("requests")
    assert "Confirm" in anna.post(f"requests/{number}/approve", proof="wrong").text
    anna.get("requests")
    assert anna.post(f"grants/{grant_id}/revoke").status_code == 200, (
        "taking away waits for nothing"
    )
    anna.get("requests")
    assert "was approved" in anna.post(f"requests/{number}/approve", proof=PASSWORD).text
    anna.get("freeze")
    anna.post("freeze", pod="north", reason="x")
    assert "Frozen:" in anna.get("").text, "the proof holds for ten minutes"


def test_what_gives_needs_proof_in_the_table_of_actions():
    proved = {one.path for one in OFFICERS if one.proof}
    assert proved >= {
        "requests/{number:int}/approve", "grants/new", "results/{result}/release", "freeze", "freeze/thaw",
        "settings/officers", "settings/switch", "officers/{officer}", "officers/{officer}/end", "account/password",
    }  # fmt: skip


# -- passwords and links -----------------------------------------------------------------------


def test_a_link_works_once_and_for_a_day(world, clinics):
    token = clinics.officer("anna")
    browser = Browser(world)
    assert "at least 5" in browser.take_link(token, "a" * 12).text
    assert "12 to 256" in browser.take_link(token, "short").text
    assert browser.take_link(token).url.path == "/f/clinics/"
    again = Browser(world)
    assert "not valid any more" in again.take_link(token).text
    late = clinics.orders.invite(CONSOLE, "anna")
    world.now += LINK_MS
    assert "not valid any more" in again.take_link(late).text
    first, second = clinics.orders.invite(CONSOLE, "anna"), clinics.orders.invite(CONSOLE, "anna")
    assert "not valid any more" in again.take_link(first).text, "a new link ends an earlier one"
    assert again.take_link(second, "another good pass").url.path == "/f/clinics/"
    assert not signed_in(browser), "a new password ends every session"
    browser.close()
    again.close()


def test_looking_at_a_link_does_not_use_it_up(world, clinics):
    token = clinics.officer("anna")
    scanner = Browser(world)
    for _ in range(3):
        assert scanner.get(f"link/{token}").status_code == 200
    assert scanner.take_link(token).url.path == "/f/clinics/"
    scanner.close()


def test_guesses_lock_a_name_for_a_while_and_never_its_own_browser(world, clinics, browsers):
    anna = browsers("anna")
    anna.get("account")
    anna.post("sign-out")
    stranger = Browser(world)
    for _ in range(6):
        assert stranger.sign_in("anna", "a guess of mine").status_code == 401
    assert stranger.sign_in("anna").status_code == 401, "locked, even with the right one"
    assert anna.sign_in("anna").url.path == "/f/clinics/", "her own browser is let in"
    for _ in range(6):
        stranger.sign_in("anna", "a guess of mine")
    world.now += 16 * MINUTE
    assert stranger.sign_in("anna").url.path == "/f/clinics/", "no lock is longer than 15 minutes"
    stranger.close()


def test_a_stolen_browser_has_few_guesses_too(world, browsers):
    anna = browsers("anna")
    anna.get("account")
    anna.post("sign-out")
    for _ in range(12):
        anna.sign_in("anna", "a guess of mine")
    assert anna.sign_in("anna").status_code == 401


def test_an_address_that_guesses_is_slowed(world, clinics, browsers):
    browsers("anna")
    stranger = Browser(world)
    codes = [stranger.sign_in(f"name{at}", "a guess of mine").status_code for at in range(31)]
    assert codes[:30] == [401] * 30
    assert codes[30] == 429
    world.now += 11 * MINUTE
    assert stranger.sign_in("anna").url.path == "/f/clinics/"
    stranger.close()


def strip(text, *names):
    text = re.sub(r'name="csrf" value="[^"]+"', "", text)
    for name in names:
        text = text.replace(name, "NAME")
    return text


def test_an_unknown_name_and_an_unknown_federation_look_like_known_ones(world, browsers):
    browsers("anna")
    known, unknown = Browser(world), Browser(world, "nowhere")
    for path in ("", "sign-in", "requests/1", "nothing", "settings", "link/abc", "sso", "static/x"):
        left, right = known.get(path), unknown.get(path)
        assert left.status_code == right.status_code, path
        assert strip(left.text, "clinics") == strip(right.text, "nowhere"), path
        assert set(left.headers) == set(right.headers)
    answers = [
        known.sign_in("anna", "a guess of mine"),
        known.sign_in("nobody", "a guess of mine"),
        unknown.sign_in("anna", "a guess of mine"),
    ]
    assert len({one.status_code for one in answers}) == 1
    assert len({strip(one.text, "clinics", "nowhere") for one in answers}) == 1
    links = [known.take_link("x" * 43), unknown.take_link("x" * 43)]
    assert len({(one.status_code, strip(one.text, "clinics", "nowhere")) for one in links}) == 1
    known.close()
    unknown.close()


def test_an_unknown_name_takes_as_long_as_a_known_one(world, browsers):
    browsers("anna")
    stranger, spent = Browser(world), {"anna": [], "nobody": []}
    for _ in range(4):
        for name, times in spent.items():
            stranger.get("sign-in")
            begun = time.perf_counter()
            stranger.post("sign-in", name=name, password="a guess of mine")
            times.append(time.perf_counter() - begun)
    stranger.close()
    known, unknown = (min(times) for times in spent.values())
    assert 0.4 < known / unknown < 2.5, statistics.mean((known, unknown))


def test_no_secret_reaches_the_log(world, clinics, caplog):
    caplog.set_level("DEBUG")
    token = clinics.officer("anna")
    browser = Browser(world)
    browser.take_link(token)
    browser.get("policies")
    browser.post("policies", text="secret-policy", sql="SELECT secret_statement")
    browser.sign_in("anna", "a wrong pass phrase")
    text = "\n".join(one.getMessage() for one in caplog.records if one.name.startswith("podsql"))
    assert "anna signed in" in text
    for secret in (PASSWORD, token, "wrong pass", "secret", browser.http.cookies["podsql-session"]):
        assert secret not in text
    browser.close()


def test_next_leads_to_this_federation_only(world, browsers):
    browsers("anna")
    for wanted in (
        "https://evil.example/",
        "//evil.example/",
        "/f/other/",
        "/f/clinics/../x",
        "\\\\evil",
        "/f/clinics/\\evil",
    ):
        browser = Browser(world)
        browser.get("sign-in")
        answer = browser.post("sign-in", name="anna", password=PASSWORD, next=wanted, follow=False)
        assert answer.headers["location"] == "/f/clinics/", wanted
        browser.close()
    browser = Browser(world)
    browser.get("grants?q=x&state=live")
    answer = browser.post("sign-in", name="anna", password=PASSWORD, next="/f/clinics/grants?q=x")
    assert answer.url.path == "/f/clinics/grants"
    browser.close()


def test_odd_names_have_pages_of_their_own(worlds):
    world = worlds(**{"my fed ä?#&": None})
    fill(world["my fed ä?#&"])
    browser = Browser(world, "x")
    browser.home = "/f/my%20fed%20%C3%A4%3F%23%26/"
    odd = "a?b#c d&e=f"
    answer = browser.take_link(world["my fed ä?#&"].officer(odd))
    assert answer.status_code == 200
    assert 'aria-current="page"' in answer.text
    world["my fed ä?#&"].officer("bert")
    browser.get("settings")
    page = re.search(r'href="([^"]*officers/a[^"]*)"', browser.last.text)[1]
    assert odd in unescape(browser.get(page).text)
    world.now += 11 * MINUTE
    shown = browser.post(page, role="admin", key=BEN_KEY)
    again = unescape(re.search(r'action="([^"]*)" class="card narrow"', shown.text)[1])
    assert "was changed" in browser.post(again, role="admin", key=BEN_KEY, proof=PASSWORD).text
    browser.get("account")
    browser.post("sign-out")
    answer = browser.get("grants?path=1&q=x")
    assert parse_qs(answer.url.query.decode())["next"] == [browser.home + "grants?path=1&q=x"]
    browser.close()


def test_a_home_without_its_slash_is_the_same_home(browsers):
    anna = browsers("anna")
    assert anna.get("/f/clinics").url.path == "/f/clinics/"
    assert "Overview" in anna.last.text
    assert anna.get("sign-in").url.path == "/f/clinics/", "who is signed in is not asked again"


def test_a_form_from_the_same_host_in_the_clear_is_another_site(world, browsers):
    anna = browsers("anna")
    anna.get("account")
    assert anna.post("sign-out", origin=world.origin.replace("http", "https")).status_code == 403


# -- tenants -----------------------------------------------------------------------------------


def test_an_officer_of_one_federation_is_nobody_in_another(worlds):
    world = worlds(clinics=None, banks=None)
    fill(world["clinics"])
    fill(world["banks"], reason="the banks' own reason")
    anna = Browser(world, "clinics")
    anna.take_link(world["clinics"].officer("anna"))
    world["banks"].officer("bert")
    token = anna.http.cookies["podsql-session"]
    anna.get("requests")
    csrf = anna.csrf()
    intruder = Browser(world, "banks")
    intruder.http.cookies.set("podsql-session", token, path="/f/banks/")
    for path in pages(world["banks"]):
        answer = intruder.get(path, follow=False)
        assert answer.status_code == 303, path
        assert "/f/banks/sign-in" in answer.headers["location"]
        assert "banks' own" not in answer.text
    answer = intruder.post("requests/1/approve", csrf=csrf, follow=False)
    assert answer.status_code == 303
    assert len(all_grants(world["banks"].database)) == 2
    for path in pages(world["clinics"]):
        assert "banks" not in anna.get(path).text, path
    assert intruder.sign_in("anna").status_code == 401, "the name is one of clinics only"
    front = anna.http.get("/")
    assert "clinics" not in front.text
    assert "banks" not in front.text
    anna.close()
    intruder.close()


def test_cookies_of_two_federations_do_not_meet(worlds):
    world = worlds(clinics=None, banks=None)
    one = Browser(world, "clinics")
    one.take_link(world["clinics"].officer("anna"))
    other = Browser(world, "banks")
    other.http = one.http
    other.take_link(world["banks"].officer("bert"))
    assert "anna" in one.get("account").text
    assert "bert" in other.get("account").text
    assert "bert" not in one.get("account").text
    other.get("account")
    assert one.post("sign-out-everywhere", csrf=other.csrf()).status_code == 403
    other.get("account")
    other.post("sign-out")
    assert signed_in(one)
    one.close()
