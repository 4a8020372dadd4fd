"""Invite, request, approve, query, revoke, refused: real processes, with an officer in Chromium."""

import json
import subprocess
import sys

import pytest
from playwright.sync_api import expect
from test_browser import chromium, context  # noqa: F401 - fixtures
from worlds import PASSWORD

import podsql
from podsql.demo.stage import Stage, free_port
from podsql.errors import Error

SQL = "SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY sex"
ANSWER = [("f", 200), ("m", 200)]


def command(*arguments: object) -> str:
    """What ``podsql ARGUMENTS`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "podsql", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    home = tmp_path_factory.mktemp("path")
    pods = {}
    for start, name in ((0, "north"), (200, "south")):
        lines = [f"{start + n},{'mf'[n % 2]}" for n in range(200)]
        (home / f"{name}.csv").write_text("\n".join(["id,sex", *lines]) + "\n")
        pods[name] = {"visits": {"path": str(home / f"{name}.csv"), "privacy_unit": "id"}}
    made = Stage(home=home, pods=pods, granted=())
    made.build()
    yield made
    made.close()


def refused(connection) -> str:
    with pytest.raises(Error) as caught:
        connection.execute(SQL)
    return caught.value.code


def test_invite_request_approve_query_revoke_refused(stage, context):  # noqa: F811
    invite = command("invite", "eve", "--role", "analyst", "--dir", stage.home / "convener")
    eve = stage.home / "eve"
    command("join", invite.strip(), "--dir", eve)
    link = json.loads(
        command(
            "policy", "officer", "anna", "--role", "admin", "--link", "--json",
            "--federation", stage.access,
        )
    )["link"]  # fmt: skip
    origin = f"http://127.0.0.1:{free_port()}"
    stage.run(
        ["policy", "page", "--federation", str(stage.access), "--listen", origin.split("//")[1]],
        ready=1,
    )
    with podsql.connect(eve, purpose="sepsis") as connection:
        before = refused(connection)
        connection.execute("REQUEST ACCESS ON visits WITH (purpose = 'sepsis', reason = 'thesis')")

        page = context().new_page()
        page.goto(origin + "/" + link.split("/", 3)[3])
        page.get_by_label("New password").fill(PASSWORD)
        page.get_by_label("The same again").fill(PASSWORD)
        page.get_by_role("button", name="Set the password").click()
        page.get_by_role("link", name="Request 1 of eve").click()
        expect(page.get_by_text("thesis")).to_be_visible()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("was approved")

        assert connection.execute(SQL).fetchall() == ANSWER

        page.get_by_role("link", name="Decisions", exact=True).click()
        expect(page.get_by_role("main")).to_contain_text("eve")
        assert "SELECT" not in page.content()
        page.get_by_role("link", name="Grants", exact=True).click()
        page.locator("main table a").first.click()
        page.get_by_role("button", name="Revoke this grant").click()
        expect(page.get_by_role("status")).to_contain_text("was revoked")

        assert refused(connection) in ("DENIED", before)
        page.get_by_role("link", name="History", exact=True).click()
        for act in ("ask", "approve", "revoke"):
            expect(page.get_by_role("main")).to_contain_text(act)


def test_the_freeze_switch_stops_a_pod_at_its_next_request(stage, context):  # noqa: F811
    """And a thaw lets it go on: the kill switch that needs nobody at the pod."""
    command("grant", "ana", "--table", "visits", "--federation", stage.access)
    with podsql.connect(stage.analyst) as connection:
        assert connection.execute(SQL).fetchall() == ANSWER
        command(
            "policy", "freeze", "north", "--reason", "an incident", "--federation", stage.access
        )
        assert refused(connection) in ("PAUSED", "DENIED", "PODS_MISSING")
        command("policy", "thaw", "north", "--federation", stage.access)
        assert connection.execute(SQL).fetchall() == ANSWER
