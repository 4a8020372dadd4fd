"""Orders at the policy service: who may, two people, nobody for themselves, races, the record."""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_desk import ANA, BEN, CARA, DAY, NOW, ServiceDesk

from podsql.errors import Error
from podsql.policy.service import history, people, reviews
from podsql.policy.service.asking import OPEN_PER_PERSON, one_request, requests
from podsql.policy.service.database import Database
from podsql.policy.service.granting import all_grants
from podsql.policy.service.officers import CONSOLE, Officer, by_identity, by_name
from podsql.policy.service.orders import Orders
from podsql.policy.service.people import Project
from podsql.policy.service.settings import frozen, switched

STUDY = Project(
    name="p1",
    title="Study",
    purpose="cohort",
    lawful_basis="consent",
    ethics="17/26",
    ends=NOW + DAY,
)


def code_of(call, *arguments, **named) -> str:
    with pytest.raises(Error) as caught:
        call(*arguments, **named)
    return caught.value.code


def hold(desk: ServiceDesk, ident: str = "r1") -> None:
    with desk.database.write() as db:
        people.know(db, ANA.identity_public, "ana")
        reviews.hold(
            db,
            reviews.Review(
                id=ident, pod="north", analyst=ANA.identity_public, purpose="", project="",
                tables=("main.visits",), release="rows", rows=3, withheld=0, size=9, columns=1,
                query_hash=b"q", result_hash=b"h", created=NOW,
            ),
        )  # fmt: skip


def describe(orders: Orders, actor: Officer) -> None:
    orders.describe(
        actor, ANA.identity_public, name="ana", organisation="x", contact="", trained_until=None
    )


ACTS = {
    "grant": ("approver", lambda d, a: d.orders.grant(a, d.wish(), name="ana")),
    "revoke": ("approver", lambda d, a: d.orders.revoke(a, d.given)),
    "approve": ("approver", lambda d, a: d.orders.approve(a, d.asked)),
    "refuse": ("approver", lambda d, a: d.orders.refuse(a, d.asked)),
    "off-board": ("approver", lambda d, a: d.orders.off_board(a, ANA.identity_public)),
    "describe": ("admin", lambda d, a: describe(d.orders, a)),
    "project": ("admin", lambda d, a: d.orders.set_project(a, STUDY)),
    "close project": ("approver", lambda d, a: d.orders.close_project(a, "p0")),
    "freeze": ("approver", lambda d, a: d.orders.freeze(a, "north", "leak")),
    "thaw": ("admin", lambda d, a: d.orders.thaw(a, "south")),
    "setting": ("admin", lambda d, a: d.orders.switch(a, "projects_required", True)),
    "release": ("approver", lambda d, a: d.orders.release(a, "r1")),
    "withhold": ("approver", lambda d, a: d.orders.withhold(a, "r1")),
    "officer": ("admin", lambda d, a: d.orders.add_officer(a, Officer(name="x", role="admin"))),
    "change": (
        "admin",
        lambda d, a: d.orders.change_officer(a, "vera", role="admin", identity=None),
    ),
    "end officer": ("admin", lambda d, a: d.orders.end_officer(a, "vera")),
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_needs_its_role_and_a_refused_one_changes_nothing(desk, act):
    desk.given = desk.orders.grant(CONSOLE, desk.wish(), name="ana").grant_id
    desk.asked = desk.ask()
    desk.orders.set_project(CONSOLE, Project(**{**asdict(STUDY), "name": "p0"}))
    desk.orders.freeze(CONSOLE, "south", "leak")
    hold(desk)
    needed, run = ACTS[act]
    names = {"viewer": "vera", "approver": "max", "admin": "root"}
    before = desk.dump()
    for role in ("viewer", "approver"):
        if role == needed:
            break
        assert code_of(run, desk, desk.officer(names[role])) == "DENIED"
        assert desk.dump() == before
    acts = history.epoch(desk.database)
    run(desk, desk.officer(names[needed]))
    assert history.epoch(desk.database) == acts + 1
    (line, *_) = history.changes(desk.database)
    assert line.actor == names[needed]
    assert history.verify(desk.database) == acts + 1


def test_an_officer_who_has_ended_may_nothing(desk):
    max_ = desk.officer("max")
    desk.orders.end_officer(CONSOLE, "max")
    assert by_name(desk.database, "max") is None
    ended = Officer(name=max_.name, role=max_.role, ended=NOW)
    assert code_of(desk.orders.grant, ended, desk.wish(), name="ana") == "DENIED"


def test_two_people_are_needed_where_it_is_switched_on_and_only_to_give(desk):
    given = desk.orders.grant(desk.officer("max"), desk.wish(), name="ana").grant_id
    desk.orders.switch(CONSOLE, "two_person", True)
    first = desk.orders.grant(desk.officer("max"), desk.wish(), name="ana")
    assert (first.grant_id, desk.in_force()) == ("", [given])
    assert code_of(desk.orders.approve, desk.officer("max"), first.request) == "CONFLICT"
    desk.orders.revoke(desk.officer("max"), given)  # taking away waits for nobody
    assert desk.in_force() == []
    second = desk.orders.approve(desk.officer("ben"), first.request)
    assert desk.in_force() == [second.grant_id]
    assert one_request(desk.database, first.request).decided_by == "ben"


def test_two_people_release_a_held_result_and_one_withholds_it(desk):
    desk.orders.switch(CONSOLE, "two_person", True)
    hold(desk)
    assert desk.orders.release(desk.officer("max"), "r1") is False
    assert code_of(desk.orders.release, desk.officer("max"), "r1") == "CONFLICT"
    assert desk.orders.release(desk.officer("root"), "r1") is True
    assert code_of(desk.orders.withhold, desk.officer("ben"), "r1") == "CONFLICT"
    hold(desk, "r2")
    desk.orders.withhold(desk.officer("max"), "r2", note_text="too small")
    found = reviews.one_review(desk.database, "r2")
    assert (found.state, found.decided_by, found.note) == ("refused", "max", "too small")
    assert code_of(desk.orders.release, desk.officer("ben"), "r2") == "CONFLICT"
    assert code_of(desk.orders.release, desk.officer("ben"), "r9") == "ARGUMENT"


def test_nobody_decides_on_what_they_ask_for_themselves(desk):
    own = desk.ask(BEN, "ben")
    ben = desk.officer("ben")
    assert code_of(desk.orders.approve, ben, own) == "DENIED"
    assert code_of(desk.orders.grant, ben, desk.wish(BEN), name="ben") == "DENIED"
    assert desk.in_force() == []
    desk.orders.refuse(ben, own)  # giving up is nobody's harm
    assert one_request(desk.database, own).state == "refused"


def test_a_request_is_decided_once(desk):
    number = desk.ask()
    desk.orders.approve(desk.officer("max"), number)
    for call in (desk.orders.approve, desk.orders.refuse):
        assert code_of(call, desk.officer("ben"), number) == "CONFLICT"
    assert code_of(desk.orders.withdraw, ANA.identity_public, number) == "CONFLICT"
    assert code_of(desk.orders.withdraw, CARA.identity_public, number) == "ARGUMENT"
    assert code_of(desk.orders.approve, desk.officer("ben"), 99) == "ARGUMENT"
    assert len(desk.in_force()) == 1


def test_a_request_whose_end_has_passed_is_not_approved(desk):
    number = desk.ask(until=NOW + DAY)
    desk.now = NOW + 2 * DAY
    before = desk.dump()
    assert code_of(desk.orders.approve, desk.officer("max"), number) == "ARGUMENT"
    assert desk.dump() == before


def test_a_person_has_so_many_open_requests_at_most(desk):
    numbers = [desk.ask() for _ in range(OPEN_PER_PERSON)]
    assert code_of(desk.ask) == "QUOTA"
    desk.ask(CARA, "cara")
    desk.orders.withdraw(ANA.identity_public, numbers[0])
    desk.ask()
    assert code_of(
        desk.orders.ask, desk.wish(CARA), name="cara", asked_by="cara", reason="x" * 2001
    ) == "ARGUMENT"  # fmt: skip


def test_off_boarding_ends_grants_and_requests_and_the_key_stays_out(desk):
    kept = desk.orders.grant(CONSOLE, desk.wish(CARA), name="cara").grant_id
    for _ in range(3):
        desk.orders.grant(CONSOLE, desk.wish(), name="ana")
    waiting, other = desk.ask(), desk.ask(CARA, "cara")
    assert desk.orders.off_board(desk.officer("max"), ANA.identity_public) == 3
    assert desk.in_force() == [kept]
    assert one_request(desk.database, waiting).state == "refused"
    assert one_request(desk.database, other).state == "open"
    for call in (
        lambda: desk.ask(),
        lambda: desk.orders.grant(CONSOLE, desk.wish(), name="ana"),
        lambda: desk.orders.off_board(CONSOLE, ANA.identity_public),
    ):
        assert code_of(call) == "ARGUMENT"
    assert code_of(desk.orders.approve, desk.officer("max"), waiting) == "ARGUMENT"


def test_one_administrator_stays_and_a_key_is_one_officers(desk):
    assert code_of(desk.orders.end_officer, CONSOLE, "root") == "CONFLICT"
    assert code_of(
        desk.orders.change_officer, CONSOLE, "root", role="viewer", identity=None
    ) == "CONFLICT"  # fmt: skip
    assert by_name(desk.database, "root").role == "admin"
    twin = Officer(name="twin", role="approver", identity=BEN.identity_public)
    assert code_of(desk.orders.add_officer, CONSOLE, twin) == "CONFLICT"
    assert code_of(
        desk.orders.change_officer, CONSOLE, "max", role="approver", identity=BEN.identity_public
    ) == "CONFLICT"  # fmt: skip
    desk.orders.end_officer(CONSOLE, "ben")
    assert by_identity(desk.database, BEN.identity_public) is None
    desk.orders.add_officer(CONSOLE, twin)
    assert by_identity(desk.database, BEN.identity_public).name == "twin"
    for name in ("max", "ben", "console", " ", "x" * 65, "a\nb"):
        bad = Officer(name=name, role="viewer")
        assert code_of(desk.orders.add_officer, CONSOLE, bad) in ("CONFLICT", "ARGUMENT")


def test_a_store_without_administrators_can_still_change_officers(tmp_path):
    database = Database(tmp_path / "x.sqlite")
    orders = Orders(database, lambda: NOW)
    orders.add_officer(CONSOLE, Officer(name="ben", role="approver"))
    orders.change_officer(CONSOLE, "ben", role="viewer", identity=None)
    orders.end_officer(CONSOLE, "ben")
    database.close()


def test_freezes_and_settings_are_by_name_and_say_why(desk):
    root = desk.officer("root")
    assert code_of(desk.orders.freeze, root, "north", "  ") == "ARGUMENT"
    desk.orders.freeze(root, "*", "breach")
    assert frozen(desk.database) == {"*": "breach"}
    assert code_of(desk.orders.thaw, root, "north") == "ARGUMENT"
    desk.orders.thaw(root, "*")
    assert frozen(desk.database) == {}
    assert code_of(desk.orders.switch, root, "frozen:*", False) == "ARGUMENT"
    desk.orders.switch(root, "two_person", True)
    desk.orders.switch(root, "two_person", False)
    assert not switched(desk.database, "two_person")


def test_projects_are_registered_closed_and_opened_again(desk):
    root = desk.officer("root")
    assert code_of(desk.orders.close_project, root, "p1") == "ARGUMENT"
    desk.orders.set_project(root, STUDY)
    desk.orders.close_project(root, "p1")
    assert people.projects(desk.database)[0].over(NOW)
    desk.orders.set_project(root, STUDY)
    assert not people.projects(desk.database)[0].over(NOW)
    assert people.projects(desk.database)[0].over(NOW + DAY)
    assert code_of(desk.orders.set_project, root, Project(**{**asdict(STUDY), "name": "p*"})) == (
        "ARGUMENT"
    )


def test_of_two_approvers_at_once_one_gives_the_grant(desk):
    numbers = [desk.ask(name="ana") for _ in range(15)]
    both = [Database(desk.path), Database(desk.path)]
    barrier, codes = Barrier(2), set()

    def approve(database: Database, name: str) -> list[int]:
        orders, officer = Orders(database, lambda: NOW), by_name(database, name)
        done = []
        for number in numbers:
            barrier.wait(30)
            try:
                orders.approve(officer, number)
            except Error as fault:
                codes.add(fault.code)
            else:
                done.append(number)
        return done

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(approve, both, ("ben", "max"))
    assert (sorted(first + second), codes) == (numbers, {"CONFLICT"})
    assert len(desk.in_force()) == len(numbers)
    assert history.verify(desk.database) == history.epoch(desk.database)
    for one in both:
        one.close()


def test_of_two_first_approvals_at_once_one_counts_and_the_other_is_the_second(desk):
    desk.orders.switch(CONSOLE, "two_person", True)
    number = desk.ask()
    barrier = Barrier(2)

    def approve(name: str) -> str:
        database = Database(desk.path)
        barrier.wait(30)
        try:
            return Orders(database, lambda: NOW).approve(by_name(database, name), number).grant_id
        finally:
            database.close()

    with ThreadPoolExecutor(2) as pool:
        given = list(pool.map(approve, ("ben", "max")))
    assert sorted(map(bool, given)) == [False, True]
    assert desk.in_force() == [one for one in given if one]


APPROVER = """
import sys
from pathlib import Path
from podsql.errors import Error
from podsql.policy.service.database import Database
from podsql.policy.service.officers import by_name
from podsql.policy.service.orders import Orders
database = Database(Path(sys.argv[1]))
orders, officer = Orders(database, lambda: int(sys.argv[2])), by_name(database, sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(1, 21):
    try:
        orders.approve(officer, number)
    except Error as fault:
        assert fault.code == "CONFLICT", fault
    else:
        print(number)
"""


def test_of_two_approving_processes_each_request_is_approved_by_one(desk):
    for _ in range(20):
        desk.ask()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", APPROVER, str(desk.path), str(NOW), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("ben", "max")
    ]
    for one in both:
        assert one.stdout.readline() == "ready\n"
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=120)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted(int(line) for text in said for line in text.split()) == list(range(1, 21))
    assert len(all_grants(desk.database)) == 20


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "grant", "revoke", "approve", "refuse", "withdraw", "off-board", "two", "one"]
        ),
        st.sampled_from(["ben", "max", "vera"]),
        st.sampled_from(["ana", "ben", "cara"]),
        st.integers(1, 4),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_whatever_is_ordered_what_is_refused_changes_nothing(steps):
    keys = {"ana": ANA, "ben": BEN, "cara": CARA}
    with tempfile.TemporaryDirectory() as home:
        desk = ServiceDesk(Path(home) / "policy.sqlite")
        for act, by, whom, which in steps:
            officer, before = desk.officer(by), desk.dump()
            closed = {one.number: one for one in requests(desk.database) if one.state != "open"}
            try:
                match act:
                    case "ask":
                        desk.ask(keys[whom], whom)
                    case "grant":
                        desk.orders.grant(officer, desk.wish(keys[whom]), name=whom)
                    case "revoke":
                        ids = [one.grant.grant_id for one in all_grants(desk.database)]
                        desk.orders.revoke(officer, ids[which % len(ids)] if ids else "none")
                    case "approve":
                        desk.orders.approve(officer, which)
                    case "refuse":
                        desk.orders.refuse(officer, which)
                    case "withdraw":
                        desk.orders.withdraw(keys[whom].identity_public, which)
                    case "off-board":
                        desk.orders.off_board(officer, keys[whom].identity_public)
                    case _:
                        desk.orders.switch(CONSOLE, "two_person", act == "two")
            except Error:
                assert desk.dump() == before
            for number, one in closed.items():
                assert one_request(desk.database, number) == one
        out = {one.identity for one in people.people(desk.database) if one.ended is not None}
        for one in all_grants(desk.database):
            assert one.revoked is not None or one.grant.analyst not in out
            assert one.given_by != "vera"
            assert (one.given_by, one.name) != ("ben", "ben")
        assert history.verify(desk.database) == history.epoch(desk.database)
        desk.close()
