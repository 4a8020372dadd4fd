"""The page in Chromium: the whole path, passkeys, accessibility, keyboard, and without JavaScript."""

import os
import shutil
import time
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import expect, sync_playwright
from worlds import DAY, NOW, PASSWORD, World, fill, pages

from podsql.policy.service.granting import all_grants
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.page.page_file import Oidc, PageFile

CHROMIUM = os.environ.get("PODSQL_CHROMIUM") or shutil.which("chromium")
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
WIDE = 1280
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE_RUN = """async rules => (await axe.run({runOnly: rules})).violations
  .map(one => [one.id, one.nodes.map(node => node.target.join(' ')).slice(0, 3)])"""
WATCH_FOCUS = """whole => {
  window.whole = whole; window.reached = new Set(); window.unseen = new Set();
  const all = [...(whole ? document : document.getElementById('main')).querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
    .filter(one => one.checkVisibility());
  document.addEventListener('focusin', event => {
    const style = getComputedStyle(event.target);
    if (!all.includes(event.target)) return;
    window.reached.add(event.target);
    if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2)
      window.unseen.add(event.target.outerHTML.slice(0, 80));
  });
  return all.length;
}"""

if CHROMIUM is None and hasattr(os, "geteuid") and os.geteuid() != 0 and not os.environ.get("CI"):
    pytest.skip("no chromium here, and only root could install it", allow_module_level=True)


@pytest.fixture(scope="module")
def chromium():
    assert CHROMIUM is not None, "chromium is missing: make chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One filled world for tests that only look, and the cookies of its administrator."""
    with World(tmp_path_factory.mktemp("page"), {"clinics": None}) as world:
        fill(world["clinics"])
        yield world, world["clinics"].officer("anna")


@pytest.fixture
def context(chromium):
    """Makes windows, and watches what goes wrong in them."""
    made, wrong = [], []

    def make(**more):
        more = {"reduced_motion": "reduce", **more}
        found = chromium.new_context(**more)
        found.set_default_timeout(20_000)
        made.append(found)
        found.on("weberror", lambda fault: wrong.append(str(fault.error)))
        found.on(
            "console",
            lambda line: wrong.append(line.text) if "Content Security" in line.text else None,
        )
        return found

    yield make
    for found in made:
        found.close()
    assert not wrong


def enter(page, world, token):
    page.goto(f"{world.origin}/f/clinics/link/{token}")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def sign_in(page, world):
    page.goto(f"{world.origin}/f/clinics/")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_from_a_request_to_a_revoked_grant(world, clinics, context, scripts):
    clinics.report()
    clinics.ask(until=NOW + 30 * DAY)
    page = context(java_script_enabled=scripts).new_page()
    enter(page, world, clinics.officer("anna"))
    page.get_by_role("link", name="Request 1 of ana").click()
    expect(page.get_by_text("new: nothing like it was given")).to_be_visible()
    page.get_by_label("Note").fill("as agreed")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_contain_text("was approved")
    (given,) = all_grants(clinics.database)
    page.get_by_role("link", name="Grants", exact=True).click()
    page.get_by_role("link", name=given.grant.grant_id).click()
    page.get_by_role("button", name="Revoke this grant").click()
    expect(page.get_by_role("status")).to_contain_text("was revoked")
    assert not all_grants(clinics.database)[0].in_force(world.now)


def test_a_stale_proof_is_asked_for_and_nothing_typed_is_lost(world, clinics, context):
    clinics.ask()
    page = context().new_page()
    enter(page, world, clinics.officer("anna"))
    world.now += 11 * 60_000
    page.goto(f"{world.origin}/f/clinics/requests/1")
    page.get_by_label("Note").fill("first line\nsecond line")
    page.get_by_role("button", name="Approve").click()
    page.get_by_label("Password of anna").fill("something else")
    page.get_by_role("button", name="Confirm and go on").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    assert not all_grants(clinics.database)
    page.get_by_label("Password of anna").fill(PASSWORD)
    page.get_by_role("button", name="Confirm and go on").click()
    expect(page.get_by_role("status")).to_contain_text("was approved")
    page.goto(f"{world.origin}/f/clinics/requests/1")
    assert "first line\nsecond line" in page.locator("blockquote").last.inner_text()


def test_a_passkey_signs_in_and_proves(world, clinics, context):
    clinics.ask()
    window = context()
    page = window.new_page()
    tools = window.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    device = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    enter(page, world, clinics.officer("anna"))
    page.get_by_role("link", name="anna").click()
    page.get_by_label("Name of a new passkey").fill("test device")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status")).to_contain_text("was registered")
    expect(page.get_by_text("test device since")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    world.now += 11 * 60_000
    page.goto(f"{world.origin}/f/clinics/requests/1")
    page.get_by_label("Note").fill("by passkey")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Confirm with a passkey").click()
    expect(page.get_by_role("status")).to_contain_text("was approved")
    page.get_by_role("link", name="anna").click()
    page.get_by_role("button", name="Remove test device").click()
    expect(page.get_by_role("status")).to_contain_text("was removed")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("Name or password is wrong")


def inside(page, shared):
    """Sign in to the shared world, by the link where nobody did before."""
    world, token = shared
    if world["clinics"].database.read("SELECT 1 FROM links"):
        enter(page, world, token)
    else:
        sign_in(page, world)
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("width", [WIDE, 390])
def test_every_page_is_accessible_and_fits(shared, context, width):
    world, token = shared
    # axe is no script of ours, so it may pass the page's own rules about scripts.
    window = context(viewport={"width": width, "height": 800}, bypass_csp=True)
    window.add_init_script(AXE)
    page = window.new_page()
    found = {}

    def look(name):
        faults = []
        page.emulate_media(color_scheme="light")
        faults += page.evaluate(AXE_RUN, {"type": "tag", "values": RULES})
        if width == WIDE:  # other tokens, the same page
            page.emulate_media(color_scheme="dark")
            faults += page.evaluate(AXE_RUN, {"type": "rule", "values": ["color-contrast"]})
        across = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if faults or across > 0:
            found[name] = (faults, across)

    page.goto(f"{world.origin}/f/clinics/link/{token}")
    look("link")
    inside(page, shared)
    for path in pages(world["clinics"]):
        page.goto(f"{world.origin}/f/clinics/{path}")
        look(path)
    page.goto(f"{world.origin}/f/clinics/nothing")
    look("missing")
    page.goto(f"{world.origin}/f/clinics/projects/new")
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("alert")).to_be_focused()
    look("errors")
    world["clinics"].orders.freeze(CONSOLE, "north", "a drill")
    page.goto(f"{world.origin}/f/clinics/freeze")
    look("frozen")
    world["clinics"].orders.thaw(CONSOLE, "north")
    world.now += 11 * 60_000
    page.goto(f"{world.origin}/f/clinics/freeze")
    page.get_by_label("Reason").fill("a drill")
    page.get_by_role("button", name="Freeze", exact=True).click()
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    look("prove")
    page.get_by_role("button", name="Sign out", exact=True).click()
    look("sign-in")
    page.get_by_label("Name").fill("nobody")
    page.get_by_label("Password").fill("nothing")
    page.get_by_role("button", name="Sign in", exact=True).click()
    look("refused")
    assert not found


@pytest.mark.timeout(900)
def test_everything_is_reached_by_keyboard(shared, context):
    world, _ = shared
    page = context(viewport={"width": 1280, "height": 800}).new_page()
    inside(page, shared)
    missed = {}
    for path in pages(world["clinics"]):
        page.goto(f"{world.origin}/f/clinics/{path}")
        # The frame is the same everywhere: it is walked once.
        wanted = page.evaluate(WATCH_FOCUS, path == "")
        page.evaluate(
            "() => (window.whole ? document.activeElement.blur() : document.getElementById('main').focus())"
        )
        for _ in range(wanted + 8):  # a date field has several stops
            page.keyboard.press("Tab")
        seen, unseen = page.evaluate("[window.reached.size, [...window.unseen]]")
        if seen < wanted or unseen:
            missed[path] = (seen, wanted, unseen)
    assert not missed


def test_single_sign_on_leads_to_the_provider_and_back(worlds, issuer, context):
    oidc = Oidc(issuer=issuer, client_id="podsql", client_secret="a secret")
    world = worlds(clinics=PageFile(oidc=oidc))
    world.now = time.time_ns() // 1_000_000
    world["clinics"].officer("anna", oidc=f"{issuer} subject-7")
    page = context().new_page()
    page.goto(f"{world.origin}/f/clinics/grants")
    page.get_by_role("link", name="Single sign-on").click()
    page.get_by_role("textbox").first.fill("subject-7")
    page.get_by_role("button").first.click()
    expect(page.get_by_role("heading", name="Grants")).to_be_visible()
    world.now += 11 * 60_000
    page.goto(f"{world.origin}/f/clinics/freeze")
    page.get_by_label("Reason").fill("a drill")
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.get_by_role("link", name="Confirm by single sign-on").click()
    expect(page.get_by_role("textbox").first).to_be_visible()


def test_the_skip_link_shows_when_it_is_focused(shared, context):
    world, _ = shared
    page = context().new_page()
    page.goto(f"{world.origin}/f/clinics/sign-in")
    link = page.get_by_role("link", name="Skip to content")
    expect(link).not_to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_the_editor_answers_while_it_is_written(world, clinics, context):
    fill(clinics)
    page = context().new_page()
    enter(page, world, clinics.officer("anna"))
    page.goto(f"{world.origin}/f/clinics/policies")
    page.get_by_label("Statement").fill("SELECT sex, count(*) FROM visits GROUP BY sex")
    expect(page.get_by_role("heading", name="stage")).to_be_visible()
    page.get_by_label("policy.toml").fill("version = 2")
    expect(page.locator("#findings")).to_contain_text("policy.toml")
    expect(page.locator("#findings .notice.bad")).to_be_visible()


def test_lists_filter_while_typing(world, clinics, context):
    fill(clinics)
    page = context().new_page()
    enter(page, world, clinics.officer("anna"))
    page.goto(f"{world.origin}/f/clinics/people")
    expect(page.locator("tbody tr:visible")).to_have_count(2)
    page.get_by_label("Find").press_sequentially("ben")
    expect(page.locator("tbody tr:visible")).to_have_count(1)
