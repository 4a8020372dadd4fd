"""What officers and analysts order at the policy service: one place for who may, and the record.

Rule to keep: an order checks the actor's role, changes the file and writes its line of history in one
transaction. Taking away never waits for a second person; giving does, where ``two_person`` is on.
"""

from collections.abc import Callable
from dataclasses import dataclass

from podsql.errors import error
from podsql.policy.service import asking, granting, people, reviews, settings
from podsql.policy.service import officers as staff
from podsql.policy.service.database import Database
from podsql.policy.service.granting import Granted
from podsql.policy.service.history import note
from podsql.policy.service.officers import CONSOLE, Officer, Role
from podsql.policy.service.people import Project
from podsql.service_messages import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What came of a grant or an approval: a grant, or a request that waits for another person."""

    grant_id: str = ""
    request: int = 0


class Orders:
    """Acts on one federation's file. ``clock``: ms since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    # -- rights --------------------------------------------------------------------------------

    def grant(
        self, actor: Officer, grant: Grant, *, name: str, review: bool = False, reason: str = ""
    ) -> Given:
        """Grant; with ``two_person`` this is a request that ``actor`` approved first."""
        actor.require("approver")
        _not_own(actor, grant.analyst)
        now = self._clock()
        two = settings.switched(self._database, "two_person") and actor is not CONSOLE
        with self._database.write() as db:
            people.know(db, grant.analyst, name)
            if two:
                number = asking.ask(
                    db, grant, review=review, reason=reason, asked_by=actor.name, now=now
                )
                asking.approved_once(db, number, actor=actor.name)
                note(db, time=now, actor=actor.name, act="propose", object=f"request {number}", detail=words(grant, name))  # fmt: skip
                return Given(request=number)
            granting.insert(db, grant, now=now, actor=actor.name, review=review)
            note(db, time=now, actor=actor.name, act="grant", object=grant.grant_id, detail=words(grant, name))  # fmt: skip
        return Given(grant_id=grant.grant_id)

    def revoke(self, actor: Officer, grant_id: str) -> Granted:
        """End a grant; what it was."""
        actor.require("approver")
        now = self._clock()
        found = granting.one_grant(self._database, grant_id)
        with self._database.write() as db:
            granting.end(db, grant_id, now=now, actor=actor.name)
            note(db, time=now, actor=actor.name, act="revoke", object=grant_id, detail=words(found.grant, found.name))  # fmt: skip
        return found

    def ask(
        self, wish: Grant, *, name: str, asked_by: str, reason: str, review: bool = False
    ) -> int:
        """Ask for access; the request's number."""
        now = self._clock()
        with self._database.write() as db:
            people.know(db, wish.analyst, name)
            number = asking.ask(db, wish, review=review, reason=reason, asked_by=asked_by, now=now)
            note(db, time=now, actor=asked_by, act="ask", object=f"request {number}", detail=words(wish, name))  # fmt: skip
        return number

    def approve(self, actor: Officer, number: int, *, note_text: str = "") -> Given:
        """Approve a request; with ``two_person`` the second approval gives the grant."""
        actor.require("approver")
        now = self._clock()
        two = settings.switched(self._database, "two_person")
        with self._database.write() as db:
            asked = asking.one_request(self._database, number)
            _not_own(actor, asked.wish.analyst)
            if asked.first_by == actor.name:
                raise error("CONFLICT", "another person must approve this request too")
            if two and not asked.first_by:
                _require_open(asked)
                asking.approved_once(db, number, actor=actor.name)
                note(db, time=now, actor=actor.name, act="approve first", object=f"request {number}")  # fmt: skip
                return Given(request=number)
            wish = asked.wish
            grant = granting.make_grant(
                analyst=wish.analyst,
                now=now,
                pod=wish.pod,
                tables=wish.tables,
                purpose=wish.purpose,
                project=wish.project,
                release=wish.release,
                until=wish.until,
            )
            people.know(db, grant.analyst, asked.name)
            asking.close(
                db, number, "approved", actor=actor.name, now=now, note=note_text, grant_id=grant.grant_id
            )  # fmt: skip
            granting.insert(db, grant, now=now, actor=actor.name, review=asked.review)
            note(db, time=now, actor=actor.name, act="approve", object=f"request {number}", detail=f"grant {grant.grant_id}: {words(grant, asked.name)}")  # fmt: skip
        return Given(grant_id=grant.grant_id, request=number)

    def refuse(self, actor: Officer, number: int, *, note_text: str = "") -> None:
        """Refuse a request."""
        actor.require("approver")
        self._close(number, "refused", actor.name, note_text)

    def withdraw(self, analyst: bytes, number: int) -> None:
        """The person who asked takes it back."""
        asked = asking.one_request(self._database, number)
        if asked.wish.analyst != analyst:
            raise error("ARGUMENT", f"no request {number}")
        self._close(number, "withdrawn", asked.name, "")

    def _close(self, number: int, state: asking.State, actor: str, text: str) -> None:
        now = self._clock()
        with self._database.write() as db:
            asking.close(db, number, state, actor=actor, now=now, note=text)
            note(db, time=now, actor=actor, act=state, object=f"request {number}", detail=text)

    # -- people and projects -------------------------------------------------------------------

    def off_board(self, actor: Officer, identity: bytes) -> int:
        """End a person with everything given to them; how many grants ended."""
        actor.require("approver")
        now = self._clock()
        with self._database.write() as db:
            ended = people.end(db, identity, actor=actor.name, now=now)
            found = people.person(self._database, identity)
            assert found is not None
            note(db, time=now, actor=actor.name, act="off-board", object=found.name, detail=f"{ended} grants ended")  # fmt: skip
        return ended

    def describe(
        self,
        actor: Officer,
        identity: bytes,
        *,
        name: str,
        organisation: str,
        contact: str,
        trained_until: int | None,
    ) -> None:
        """Write what is known of a person."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            people.know(db, identity, name)
            people.describe(
                db,
                identity,
                organisation=organisation,
                contact=contact,
                trained_until=trained_until,
            )
            note(db, time=now, actor=actor.name, act="person", object=name, detail=organisation)

    def set_project(self, actor: Officer, project: Project) -> None:
        """Register a project or change its entry."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            people.set_project(db, project, now)
            note(db, time=now, actor=actor.name, act="project", object=project.name, detail=project.title)  # fmt: skip

    def close_project(self, actor: Officer, name: str) -> None:
        """End a project now."""
        actor.require("approver")
        now = self._clock()
        with self._database.write() as db:
            people.close_project(db, name, now)
            note(db, time=now, actor=actor.name, act="close project", object=name)

    # -- the whole federation ------------------------------------------------------------------

    def freeze(self, actor: Officer, pod: str, reason: str) -> None:
        """Stop every answer of a pod (``*``: of all), from the next request on."""
        actor.require("approver")
        if not reason.strip():
            raise error("ARGUMENT", "a freeze needs a reason", hint="it goes into the record")
        now = self._clock()
        with self._database.write() as db:
            settings.freeze(db, pod, reason)
            note(db, time=now, actor=actor.name, act="freeze", object=pod, detail=reason)

    def thaw(self, actor: Officer, pod: str) -> None:
        """Let it answer again."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            if not settings.thaw(db, pod):
                raise error("ARGUMENT", f"{pod!r} is not frozen")
            note(db, time=now, actor=actor.name, act="thaw", object=pod)

    def switch(self, actor: Officer, name: str, on: bool) -> None:
        """Turn one of ``settings.SWITCHES``."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            settings.switch(db, name, on)
            note(db, time=now, actor=actor.name, act="setting", object=name, detail="on" if on else "off")  # fmt: skip

    # -- results that wait ---------------------------------------------------------------------

    def release(self, actor: Officer, ident: str, *, note_text: str = "") -> bool:
        """Release a held result; False if another person must do so too."""
        actor.require("approver")
        now = self._clock()
        two = settings.switched(self._database, "two_person")
        with self._database.write() as db:
            found = reviews.one_review(self._database, ident)
            if found is None:
                raise error("ARGUMENT", f"no held result {ident!r}")
            _not_own(actor, found.analyst)
            if found.first_by == actor.name:
                raise error("CONFLICT", "another person must release this result too")
            if two and not found.first_by and found.state == "waiting":
                reviews.seen_once(db, ident, actor=actor.name)
                note(db, time=now, actor=actor.name, act="release first", object=ident)
                return False
            reviews.close(db, ident, "released", actor=actor.name, now=now, note=note_text)
            note(db, time=now, actor=actor.name, act="release", object=ident, detail=note_text)
        return True

    def withhold(self, actor: Officer, ident: str, *, note_text: str = "") -> None:
        """Refuse to release a held result."""
        actor.require("approver")
        now = self._clock()
        with self._database.write() as db:
            reviews.close(db, ident, "refused", actor=actor.name, now=now, note=note_text)
            note(db, time=now, actor=actor.name, act="withhold", object=ident, detail=note_text)

    # -- officers ------------------------------------------------------------------------------

    def add_officer(self, actor: Officer, officer: Officer) -> None:
        """Make somebody an officer; ``accounts.new_link`` lets them in the first time."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            staff.add(db, officer, now)
            note(db, time=now, actor=actor.name, act="officer", object=officer.name, detail=officer.role)  # fmt: skip

    def change_officer(
        self, actor: Officer, name: str, *, role: Role, identity: bytes | None, oidc: str = ""
    ) -> None:
        """Another role, federation key or sign-on for an officer."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            staff.change(db, name, role=role, identity=identity, oidc=oidc)
            note(db, time=now, actor=actor.name, act="officer", object=name, detail=role)

    def end_officer(self, actor: Officer, name: str) -> None:
        """End an officer and all their sessions."""
        actor.require("admin")
        now = self._clock()
        with self._database.write() as db:
            staff.end(db, name, now)
            note(db, time=now, actor=actor.name, act="end officer", object=name)


def words(grant: Grant, name: str) -> str:
    """A grant in one line, for the record."""
    tables = ", ".join(grant.tables)
    return f"{name}: {grant.release} of {tables} at {grant.pod} for {grant.purpose}/{grant.project}"


def _require_open(asked: asking.Asked) -> None:
    if asked.state != "open":
        raise error("CONFLICT", f"request {asked.number} is not open any more")


def _not_own(actor: Officer, analyst: bytes) -> None:
    """Nobody decides on what they ask for themselves."""
    if actor.identity is not None and actor.identity == analyst:
        raise error("DENIED", "another person must decide on what you ask for yourself")
