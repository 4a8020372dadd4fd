"""Backup, restore and older files: no right that was taken comes back, and no number goes back."""

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_desk import ANA, BEN, CARA, CARDS, DAN, DAY, NOW, ServiceDesk

from podsql.errors import Error
from podsql.policy.service import history, people, reviews
from podsql.policy.service.asking import one_request
from podsql.policy.service.database import Database
from podsql.policy.service.granting import all_grants
from podsql.policy.service.officers import CONSOLE, Officer, by_name, officers
from podsql.policy.service.orders import Orders
from podsql.policy.service.people import Project
from podsql.policy.service.restoring import JUMP, restore, write_backup
from podsql.policy.service.schema import MIGRATIONS
from podsql.policy.service.settings import frozen, switched
from podsql.policy.service.store import Store
from podsql.policy.service.waking import Bell
from podsql.service_messages import RightsRequest

MARK = "ps1clinics"
LATER = NOW + 5 * DAY


def project(name: str, **more) -> Project:
    base = {
        "title": "", "purpose": "", "lawful_basis": "", "ethics": "", "ends": NOW + 90 * DAY
    }  # fmt: skip
    return Project(name=name, **{**base, **more})


def backed_up(desk: ServiceDesk, tmp_path: Path) -> Path:
    target = tmp_path / "backup.sqlite"
    assert write_backup(desk.database, target, MARK) == history.epoch(desk.database)
    return target


def brought_back(desk: ServiceDesk, backup: Path, **more):
    """Stop the service, restore, start it again."""
    desk.close()
    done = restore(desk.path, backup, federation=MARK, **{"now": LATER, **more})
    desk.store = Store(desk.path)
    desk.now = LATER
    desk.orders = Orders(desk.database, lambda: desk.now)
    assert history.verify(desk.database)
    assert history.epoch(desk.database) == done.epoch
    return done


def lost(desk: ServiceDesk) -> None:
    desk.close()
    for file in desk.path.parent.glob(desk.path.name + "*"):
        file.unlink()


def give(desk: ServiceDesk, keys=ANA, name="ana", **more) -> str:
    return desk.orders.grant(CONSOLE, desk.wish(keys, **more), name=name).grant_id


def test_a_backup_is_taken_while_the_service_runs_and_is_its_owners_alone(desk, tmp_path):
    give(desk)
    backup = backed_up(desk, tmp_path)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("backup.sqlite-*"))
    with pytest.raises(Error, match="exists"):
        write_backup(desk.database, backup, MARK)
    assert len(desk.in_force()) == 1


def test_what_was_taken_since_the_backup_stays_taken(desk, tmp_path):
    kept, revoked, theirs = give(desk), give(desk), give(desk, CARA, "cara")
    desk.orders.set_project(CONSOLE, project("p1"))
    desk.orders.set_project(CONSOLE, project("p2"))
    desk.orders.freeze(CONSOLE, "south", "old")
    for name, training in (("ana", None), ("cara", NOW + 50 * DAY)):
        desk.orders.describe(
            CONSOLE, CARDS[name].identity, name=name, organisation="x", contact="", trained_until=training
        )  # fmt: skip
    backup = backed_up(desk, tmp_path)

    desk.orders.revoke(CONSOLE, revoked)
    later = give(desk)
    desk.orders.off_board(CONSOLE, CARA.identity_public)
    desk.orders.describe(
        CONSOLE, ANA.identity_public, name="ana", organisation="y", contact="", trained_until=NOW + 9 * DAY
    )  # fmt: skip
    desk.orders.close_project(CONSOLE, "p1")
    desk.orders.set_project(CONSOLE, project("p2", ends=NOW + 30 * DAY))
    desk.orders.set_project(CONSOLE, project("p3"))
    desk.orders.end_officer(CONSOLE, "max")
    desk.orders.change_officer(CONSOLE, "ben", role="viewer", identity=BEN.identity_public)
    desk.orders.add_officer(CONSOLE, Officer(name="new", role="admin"))
    desk.orders.freeze(CONSOLE, "north", "breach")
    desk.orders.thaw(CONSOLE, "south")
    desk.orders.switch(CONSOLE, "two_person", True)
    before = history.epoch(desk.database)

    done = brought_back(desk, backup)
    assert desk.in_force() == [kept]
    ended = {one.grant.grant_id: one.revoked_by for one in all_grants(desk.database) if one.revoked}
    assert ended == {revoked: "console", later: "restore", theirs: "console"}
    assert (done.in_force, done.ended, done.epoch) == (1, 1, before + 1)
    assert people.person(desk.database, CARA.identity_public).ended is not None
    assert people.person(desk.database, ANA.identity_public).trained_until == NOW + 9 * DAY
    projects = {one.name: one for one in people.projects(desk.database)}
    assert [projects[name].over(LATER) for name in ("p1", "p2", "p3")] == [True, False, True]
    assert projects["p2"].ends == NOW + 30 * DAY
    staff = {one.name: one for one in officers(desk.database)}
    assert (staff["ben"].role, staff["ben"].ended) == ("viewer", None)
    assert staff["max"].ended is not None
    assert staff["new"].ended is not None
    assert frozen(desk.database) == {"south": "old", "north": "breach"}
    assert switched(desk.database, "two_person")
    # The record is whole: what was done since the backup, and then the restore.
    (last, *rest) = history.changes(desk.database)
    assert (last.act, last.object, last.actor) == ("restore", "backup.sqlite", "console")
    assert rest[0].act == "setting"
    with closing(Database(done.kept)) as copy:
        assert history.epoch(copy) == before


def test_a_store_that_is_lost_vouches_for_nothing(desk, tmp_path):
    given = give(desk)
    number = desk.ask()
    desk.orders.switch(CONSOLE, "two_person", True)
    desk.orders.approve(desk.officer("max"), number)
    before = history.epoch(desk.database)
    backup = backed_up(desk, tmp_path)
    lost(desk)
    done = brought_back(desk, backup)
    assert (done.in_force, done.ended, done.epoch) == (0, 1, before + JUMP)
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
    (grant,) = all_grants(desk.database)
    assert (grant.grant.grant_id, grant.revoked_by, grant.name) == (given, "restore", "ana")
    # Everybody is there, but whose way in may have been closed since needs a new one.
    assert by_name(desk.database, "ben").role == "approver"
    assert by_name(desk.database, "ben").identity is None
    assert one_request(desk.database, number).first_by == ""
    assert give(desk) in desk.in_force()
    assert history.epoch(desk.database) == done.epoch + 1


def test_the_custodian_may_vouch_for_the_grants_of_a_backup(desk, tmp_path):
    gone, given = give(desk), give(desk)
    desk.orders.revoke(CONSOLE, gone)
    backup = backed_up(desk, tmp_path)
    lost(desk)
    done = brought_back(desk, backup, keep_grants="disk broke an hour after the backup", epoch=500)
    assert (desk.in_force(), done.ended, done.epoch) == ([given], 0, 500)
    assert "disk broke" in history.changes(desk.database)[0].detail


def test_a_fresh_store_is_no_better_than_a_lost_one(desk, tmp_path):
    give(desk)
    old = history.epoch(desk.database)
    backup = backed_up(desk, tmp_path)
    lost(desk)
    fresh = Database(desk.path)
    orders = Orders(fresh, lambda: NOW)
    orders.freeze(CONSOLE, "north", "breach")
    number = orders.ask(desk.wish(CARA), name="cara", asked_by="cara", reason="after")
    fresh.close()
    done = brought_back(desk, backup)
    assert (done.in_force, done.epoch) == (0, old + JUMP)
    assert frozen(desk.database) == {"north": "breach"}
    assert one_request(desk.database, number).reason == "after"
    acts = [one.act for one in history.changes(desk.database, limit=3)]
    assert acts == ["restore", "ask", "freeze"]
    assert len(history.changes(desk.database)) == old + 3


def test_requests_of_two_stores_with_the_same_number_are_both_kept(desk, tmp_path):
    number = desk.ask()
    backup = backed_up(desk, tmp_path)
    lost(desk)
    fresh = Database(desk.path)
    desk.now += 1
    other = Orders(fresh, lambda: desk.now).ask(
        desk.wish(CARA), name="cara", asked_by="cara", reason="other"
    )
    fresh.close()
    assert other == number
    brought_back(desk, backup)
    assert one_request(desk.database, number).name == "cara"
    assert one_request(desk.database, number + 1).name == "ana"


def test_a_store_whose_record_was_changed_vouches_for_no_grant(desk, tmp_path):
    honest = give(desk)
    backup = backed_up(desk, tmp_path)
    revoked = give(desk)
    desk.orders.revoke(CONSOLE, revoked)
    with desk.database.write() as db:
        db.execute("UPDATE grants SET release = 'rows', until = until + 1")
        db.execute("UPDATE history SET actor = 'ben' WHERE number = 3")
    done = brought_back(desk, backup)
    assert (desk.in_force(), done.in_force) == ([], 0)
    assert "did not verify" in history.changes(desk.database)[0].detail
    assert {one.grant.grant_id for one in all_grants(desk.database)} == {honest, revoked}


def test_a_grant_that_was_widened_in_the_store_ends(desk, tmp_path):
    given = give(desk)
    backup = backed_up(desk, tmp_path)
    with desk.database.write() as db:
        db.execute("UPDATE grants SET tables = '*' WHERE grant_id = ?", (given,))
    assert brought_back(desk, backup, keep_grants="sure").in_force == 0


def test_a_damaged_store_is_moved_aside_and_an_unreadable_or_newer_one_is_not(desk, tmp_path):
    give(desk)
    backup = backed_up(desk, tmp_path)
    desk.close()
    whole = desk.path.read_bytes()
    for file in tmp_path.glob("policy.sqlite-*"):
        file.unlink()
    with closing(sqlite3.connect(desk.path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(Error, match="newer version"):
        restore(desk.path, backup, federation=MARK, now=LATER)
    desk.path.write_bytes(b"\0" * 64 + whole[64:])
    desk.store = Store(tmp_path / "elsewhere.sqlite")  # what ``brought_back`` closes
    done = brought_back(desk, backup)
    assert done.in_force == 0
    assert done.kept.read_bytes()[64:] == whole[64:]
    assert len(all_grants(desk.database)) == 1


def test_a_store_that_is_served_is_not_restored(desk, tmp_path):
    backup = backed_up(desk, tmp_path)
    before = desk.dump()
    bell = Bell(desk.path)
    with pytest.raises(Error) as caught:
        restore(desk.path, backup, federation=MARK, now=LATER)
    assert (caught.value.code, desk.dump()) == ("CONFLICT", before)
    bell.close()
    brought_back(desk, backup)
    # A service that was killed leaves its socket; nobody listens on it.
    bell = Bell(desk.path)
    os.close(bell.fileno())
    bell._socket.detach()
    brought_back(desk, backup, now=LATER + 1)


def make_file(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
    return path


def test_what_is_no_backup_of_this_service_changes_nothing(desk, tmp_path):
    give(desk)
    good = backed_up(desk, tmp_path)
    theirs = tmp_path / "theirs.sqlite"
    write_backup(desk.database, theirs, "ps1banks")
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(5000))
    cut = tmp_path / "cut"
    cut.write_bytes(good.read_bytes()[:9000])
    edited = tmp_path / "edited.sqlite"
    shutil.copyfile(good, edited)
    make_file(edited, "UPDATE history SET actor = 'x' WHERE number = 2")
    files = [
        theirs,
        noise,
        cut,
        edited,
        tmp_path / "missing",
        tmp_path,
        make_file(tmp_path / "other.sqlite", "CREATE TABLE t (x)"),
        make_file(tmp_path / "newer.sqlite", "CREATE TABLE t (x)", "PRAGMA user_version = 99"),
        make_file(tmp_path / "alike.sqlite", "CREATE TABLE t (x)", "PRAGMA user_version = 1"),
    ]
    before = desk.dump()
    desk.close()
    for file in files:
        with pytest.raises(Error) as caught:
            restore(desk.path, file, federation=MARK, now=LATER)
        assert caught.value.code == "CONFIG", file
    with pytest.raises(Error, match="ARGUMENT"):
        restore(desk.path, good, federation=MARK, now=LATER, epoch=3)
    desk.store = Store(desk.path)
    assert desk.dump() == before


def test_a_restore_that_fails_midway_did_not_happen(desk, tmp_path):
    give(desk)
    backup = backed_up(desk, tmp_path)
    before = desk.dump()
    desk.close()
    with closing(sqlite3.connect(desk.path)) as db, db:
        db.execute(
            "CREATE TRIGGER no BEFORE INSERT ON history BEGIN SELECT raise(ABORT, 'full'); END"
        )
    with pytest.raises(Error):
        restore(desk.path, backup, federation=MARK, now=LATER)
    with closing(sqlite3.connect(desk.path)) as db, db:
        db.execute("DROP TRIGGER no")
    desk.store = Store(desk.path)
    assert desk.dump() == before


def test_only_ways_in_that_both_have_are_left(desk, tmp_path):
    def passkey(name: str) -> None:
        with desk.database.write() as db:
            db.execute("INSERT INTO passkeys VALUES (?, 'root', x'00', 0, '', 0)", (name.encode(),))

    for officer in ("root", "max"):
        with desk.database.write() as db:
            db.execute("UPDATE officers SET password = 'same' WHERE name = ?", (officer,))
    passkey("both")
    backup = backed_up(desk, tmp_path)
    passkey("later")
    with desk.database.write() as db:
        db.execute("UPDATE officers SET password = 'other' WHERE name = 'max'")
        db.execute("INSERT INTO links VALUES (x'01', 'root', 9)")
        db.execute("INSERT INTO sessions VALUES (x'01', 'root', '', 0, 0, 0, '')")
    desk.orders.change_officer(CONSOLE, "vera", role="viewer", identity=CARA.identity_public)
    brought_back(desk, backup)
    words = {row["name"]: row["password"] for row in desk.database.read("SELECT * FROM officers")}
    assert (words["root"], words["max"]) == ("same", "")
    assert by_name(desk.database, "vera").identity is None
    assert by_name(desk.database, "ben").identity == BEN.identity_public
    found = desk.database.read("SELECT credential FROM passkeys")
    assert [row["credential"] for row in found] == [b"both"]
    for table in ("sessions", "links"):
        assert desk.database.read(f"SELECT * FROM {table}") == []


def test_held_results_come_back_as_they_were_decided(desk, tmp_path):
    with desk.database.write() as db:
        for ident in ("a", "b"):
            reviews.hold(
                db,
                reviews.Review(
                    id=ident, pod="north", analyst=ANA.identity_public, purpose="", project="",
                    tables=("main.visits",), release="rows", rows=1, withheld=0, size=1, columns=1,
                    query_hash=b"q", result_hash=b"h", created=NOW,
                ),
            )  # fmt: skip
    backup = backed_up(desk, tmp_path)
    desk.orders.withhold(CONSOLE, "a")
    brought_back(desk, backup)
    assert reviews.one_review(desk.database, "a").state == "refused"
    assert reviews.one_review(desk.database, "b").state == "waiting"


def first_version(path: Path, version: int = 1) -> Path:
    """A store as version 1 of its tables left it, with grants of ana and cara, one revoked."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in filter(str.strip, MIGRATIONS[0].split(";")):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
        for name, keys in (("ana", ANA), ("cara", CARA)):
            db.execute("INSERT INTO people VALUES (?, ?)", (keys.identity_public, name))
            db.execute(
                "INSERT INTO grants VALUES (?, ?, '*', 'main.visits', '*', '*', 'rows', ?, ?, ?, ?)",
                (f"g-{name}", keys.identity_public, NOW, NOW + 90 * DAY, NOW, None if name == "ana" else NOW),
            )  # fmt: skip
    return path


def test_a_store_of_the_first_version_opens_and_keeps_its_grants(tmp_path):
    path = first_version(tmp_path / "policy.sqlite")
    desk = ServiceDesk(path)
    assert desk.in_force() == ["g-ana"]
    (line,) = desk.send(CARDS["ana"], RightsRequest()).lines
    assert (line.id, line.state, line.note) == ("g-ana", "in force", "")
    desk.orders.revoke(desk.officer("ben"), "g-ana")
    desk.close()
    with closing(Database(path)) as again:
        assert again.read("PRAGMA user_version")[0][0] == len(MIGRATIONS)
        assert [one.revoked_by for one in all_grants(again)] == ["ben", ""]


def test_a_newer_store_is_refused_and_stays_as_it_is(tmp_path):
    path = first_version(tmp_path / "policy.sqlite", version=len(MIGRATIONS) + 1)
    with pytest.raises(Error, match="newer version"):
        Store(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("SELECT count(*) FROM grants").fetchone() == (2,)


def test_a_backup_of_the_first_version_is_restored(desk, tmp_path):
    backup = first_version(tmp_path / "old.sqlite")
    before = backup.read_bytes()
    assert brought_back(desk, backup, keep_grants="moved here").in_force == 1
    assert desk.in_force() == ["g-ana"]
    assert backup.read_bytes() == before


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "grant",
                "revoke",
                "ask",
                "approve",
                "refuse",
                "off-board",
                "freeze",
                "thaw",
                "officer",
            ]
        ),
        st.sampled_from(["ana", "cara", "dan"]),
        st.integers(0, 3),
    ),
    max_size=7,
)


def live(desk: ServiceDesk, steps) -> None:
    keys = {"ana": ANA, "cara": CARA, "dan": DAN}
    for act, who, which in steps:
        desk.now += 1
        try:
            match act:
                case "grant":
                    give(desk, keys[who], who)
                case "revoke":
                    found = desk.in_force()
                    desk.orders.revoke(CONSOLE, found[which % len(found)] if found else "none")
                case "ask":
                    desk.ask(keys[who], who)
                case "approve":
                    desk.orders.approve(CONSOLE, which)
                case "refuse":
                    desk.orders.refuse(CONSOLE, which)
                case "off-board":
                    desk.orders.off_board(CONSOLE, keys[who].identity_public)
                case "freeze":
                    desk.orders.freeze(CONSOLE, who, "x")
                case "thaw":
                    desk.orders.thaw(CONSOLE, who)
                case _:
                    desk.orders.end_officer(CONSOLE, ("ben", "max", "vera", "root")[which])
        except Error:
            pass  # refused, and nothing happened


def standing(desk: ServiceDesk) -> tuple[set[str], set[bytes], set[str], set[str]]:
    return (
        set(desk.in_force()),
        {one.identity for one in people.people(desk.database) if one.ended is not None},
        set(frozen(desk.database)),
        {one.name for one in officers(desk.database) if one.ended is None},
    )


@settings(max_examples=25, deadline=None)
@given(before=STEPS, after=STEPS, gone=st.booleans(), keep=st.booleans())
def test_whatever_happened_nothing_that_was_taken_comes_back(before, after, gone, keep):
    with tempfile.TemporaryDirectory() as home:
        desk = ServiceDesk(Path(home) / "policy.sqlite")
        live(desk, before)
        backup = backed_up(desk, Path(home))
        then = standing(desk)
        live(desk, after)
        now, number = standing(desk), history.epoch(desk.database)
        if gone:
            lost(desk)
        reason = "sure" if keep else ""
        done = brought_back(desk, backup, keep_grants=reason)
        grants, ended, stopped, staff = standing(desk)
        assert done.epoch > number
        if gone:
            assert grants == (then[0] if keep else set())
            assert (ended, stopped, staff) == then[1:]
        else:
            assert grants == then[0] & now[0]
            assert ended == then[1] | now[1]
            assert stopped == then[2] | now[2]
            assert staff == then[3] & now[3]
        desk.close()
