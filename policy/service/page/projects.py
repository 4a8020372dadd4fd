"""Projects: why, on what lawful basis, with which ethics reference, until when."""

from starlette.responses import Response

from podsql.errors import error
from podsql.policy.service import granting, people, settings
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.people import Project


def state_of(one: Project, now: int) -> str:
    """A word for how a project stands."""
    if one.closed is not None:
        return "closed"
    return "ended" if one.over(now) else "runs"


def show_all(visit: Visit) -> Response:
    """The list."""
    return visit.page(
        "projects.html",
        projects=people.projects(visit.database),
        state_of=state_of,
        required=settings.switched(visit.database, "projects_required"),
    )


def show_new(visit: Visit, status: int = 200) -> Response:
    """The form of a new one."""
    visit.officer.require("admin")
    return visit.page("project.html", status, one=None, state="", grants=[])


def show(visit: Visit, status: int = 200) -> Response:
    """One project and its grants."""
    one = _project(visit)
    grants = [
        each
        for each in granting.all_grants(visit.database)
        if each.grant.project == one.name and each.in_force(visit.now)
    ]
    return visit.page(
        "project.html", status, one=one, state=state_of(one, visit.now), grants=grants
    )


def register(visit: Visit) -> Response:
    """Register a project."""
    name = visit.form.text("name", "The name", most=64)
    if any(one.name == name for one in people.projects(visit.database)):
        visit.form.problems["name"] = "A project of this name is registered already"
    return _write(visit, name) or show_new(visit, 400)


def change(visit: Visit) -> Response:
    """Write its entry anew."""
    return _write(visit, _project(visit).name) or show(visit, 400)


def close(visit: Visit) -> Response:
    """End a project now."""
    one = _project(visit)
    visit.orders.close_project(visit.officer, one.name)
    return visit.go("projects", f"Project {one.name} was closed: nothing is answered under it any more.")  # fmt: skip


def _write(visit: Visit, name: str) -> Response | None:
    form = visit.form
    title = form.text("title", "The title")
    purpose = form.text("purpose", "The purpose")
    basis = form.text("lawful_basis", "The lawful basis")
    ethics = form.text("ethics", "The ethics reference", needed=False)
    ends = form.day("ends", "The last day", needed=True)
    if "*" in name or "/" in name:
        form.problems["name"] = "The name may hold neither * nor /"
    if form.problems or ends is None:
        return None
    visit.orders.set_project(
        visit.officer,
        Project(
            name=name, title=title, purpose=purpose, lawful_basis=basis, ethics=ethics, ends=ends
        ),
    )
    return visit.go("projects", f"Project {name} was written.")


def _project(visit: Visit) -> Project:
    name = str(visit.ask.args["project"])
    found = next((one for one in people.projects(visit.database) if one.name == name), None)
    if found is None:
        raise error("ARGUMENT", "no such project is registered")
    return found
