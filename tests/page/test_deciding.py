"""Requests and grants by hand: what is asked, given, refused, revoked, and who may."""

from worlds import ANA, BEN, DAY, NOW

from podsql.policy.service.asking import one_request
from podsql.policy.service.granting import all_grants
from podsql.policy.service.history import changes, verify


def test_a_request_is_approved_and_its_grant_revoked(clinics, browsers):
    clinics.report()
    number = clinics.ask(until=NOW + 30 * DAY)
    ana = browsers("anna")
    assert "Request 1" in ana.get("requests").text
    shown = ana.get(f"requests/{number}").text
    assert "new: nothing like it was given" in shown
    assert "a study of sepsis" in shown
    done = ana.post(f"requests/{number}/approve", note="fine")
    assert "was approved" in done.text
    (given,) = all_grants(clinics.database)
    assert given.given_by == "anna"
    assert given.in_force(NOW)
    ana.get(f"grants/{given.grant.grant_id}")
    assert "was revoked" in ana.post(f"grants/{given.grant.grant_id}/revoke").text
    assert not all_grants(clinics.database)[0].in_force(NOW)
    assert [one.act for one in changes(clinics.database)][:2] == ["revoke", "approve"]
    assert verify(clinics.database)


def test_a_refusal_says_why(clinics, browsers):
    number = clinics.ask()
    anna = browsers("anna")
    anna.get(f"requests/{number}")
    assert 'href="#f-note"' in anna.post(f"requests/{number}/refuse", note=" ").text
    anna.post(f"requests/{number}/refuse", note="no lawful basis")
    asked = one_request(clinics.database, number)
    assert (asked.state, asked.note) == ("refused", "no lawful basis")


def test_two_people_approve_where_two_are_asked_for(clinics, browsers):
    from podsql.policy.service.officers import CONSOLE

    clinics.orders.switch(CONSOLE, "two_person", True)
    number = clinics.ask()
    anna, bert = browsers("anna"), browsers("bert", "approver")
    anna.get(f"requests/{number}")
    assert "Another person must approve" in anna.post(f"requests/{number}/approve").text
    assert not all_grants(clinics.database)
    assert ">Approve<" not in anna.get(f"requests/{number}").text
    assert anna.post(f"requests/{number}/approve").status_code == 409
    bert.get(f"requests/{number}")
    assert "was approved" in bert.post(f"requests/{number}/approve").text
    assert len(all_grants(clinics.database)) == 1


def test_nobody_approves_an_own_request(clinics, browsers):
    number = clinics.ask()
    anna = browsers("anna", identity=ANA.identity_public)
    shown = anna.get(f"requests/{number}").text
    assert "your own request" in shown
    assert anna.post(f"requests/{number}/approve").status_code == 403
    assert not all_grants(clinics.database)


def test_a_viewer_reads_and_changes_nothing(clinics, browsers):
    number, grant_id = clinics.ask(), clinics.grant(BEN, "ben")
    vera = browsers("vera", "viewer")
    shown = vera.get(f"requests/{number}")
    assert shown.status_code == 200
    assert "needs the role approver" in shown.text
    for path in (
        f"requests/{number}/approve",
        f"requests/{number}/refuse",
        f"grants/{grant_id}/revoke",
    ):
        vera.get("requests")
        assert vera.post(path, note="x").status_code == 403, path
    assert vera.get("grants/new").status_code == 403
    assert one_request(clinics.database, number).state == "open"


def test_the_difference_to_what_somebody_has_is_said(clinics, browsers):
    clinics.grant(until=NOW + DAY)
    same = clinics.ask(until=NOW + DAY)
    longer = clinics.ask(until=NOW + 2 * DAY)
    wider = clinics.ask(release="rows", until=NOW + DAY)
    other = clinics.ask(purpose="billing", until=NOW + DAY)
    anna = browsers("anna")
    for number, words in (
        (same, "no change"),
        (longer, "longer:"),
        (wider, "wider:"),
        (other, "another purpose"),
    ):
        assert words in anna.get(f"requests/{number}").text, words


def test_a_new_grant_by_hand(clinics, browsers):
    clinics.report()
    anna = browsers("anna")
    anna.get("grants/new")
    wrong = anna.post(
        "grants/new", person=BEN.identity_public.hex(), tables=" ", release="all", until="soon"
    )
    assert wrong.status_code == 400
    for field in ("tables", "release", "until"):
        assert f'href="#f-{field}"' in wrong.text
    fields = {
        "person": BEN.identity_public.hex(),
        "tables": "visits\nmain.labs",
        "release": "sdc_local",
    }
    done = anna.post("grants/new", **fields, until="2030-01-31", purpose="cohort", review="on")
    assert "The grant is in force" in done.text
    (given,) = all_grants(clinics.database)
    assert (given.name, given.review, given.grant.pod) == ("ben", True, "*")
    assert given.grant.tables == ("main.visits", "main.labs")
    assert "2030-01-31" in done.text
    assert given.grant.grant_id in anna.get("grants?q=BEN").text
    assert given.grant.grant_id not in anna.get("grants?q=nobody").text
