"""What a request asks beside what the person already has, table by table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from podsql.policy.document import Release
from podsql.policy.grants import covers
from podsql.policy.service.asking import Asked
from podsql.policy.service.granting import Granted
from podsql.policy.service.people import Project, Registered
from podsql.policy.service.pods import Reported

WIDTH: Final[tuple[Release, ...]] = ("dp", "sdc_merged", "sdc_local", "rows")
"""From what gives away least to most."""

Change = Literal["new", "wider", "other", "longer", "same"]
WORDS: Final[dict[Change, str]] = {
    "new": "new: nothing like it was given",
    "wider": "wider: gives away more than now",
    "other": "another purpose or project than now",
    "longer": "longer: the same, to a later day",
    "same": "no change: given already",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One table of a request. ``had``: grants in force that cover it at the same pod."""

    table: str
    change: Change
    had: tuple[Granted, ...]
    offered: tuple[str, ...]
    """Pods that report such a table."""

    @property
    def words(self) -> str:
        """The change for people."""
        return WORDS[self.change]


def compare(
    asked: Asked, grants: Sequence[Granted], pods: Sequence[Reported], now: int
) -> list[Line]:
    """A line for each table of ``asked``; ``grants``: the person's."""
    wish = asked.wish
    live = [one for one in grants if one.in_force(now) and one.grant.pod in ("*", wish.pod)]
    found = []
    for table in wish.tables:
        had = tuple(one for one in live if covers(one.grant, table))
        offered = tuple(
            pod.name
            for pod in pods
            if wish.pod in ("*", pod.name)
            and any(covers(wish, card.name) for card in pod.report.tables)
            and ("*" in table or any(card.name == table for card in pod.report.tables))
        )
        found.append(Line(table=table, change=_change(asked, had), had=had, offered=offered))
    return found


def _change(asked: Asked, had: Sequence[Granted]) -> Change:
    wish = asked.wish
    if not had:
        return "new"
    here = [
        one
        for one in had
        if one.grant.purpose in ("*", wish.purpose) and one.grant.project in ("*", wish.project)
    ]
    if not here:
        return "other"
    widest = max(WIDTH.index(one.grant.release) for one in here)
    if WIDTH.index(wish.release) > widest:
        return "wider"
    if all(one.grant.until < wish.until for one in here):
        return "longer"
    return "same"


def doubts(
    asked: Asked, person: Registered | None, projects: Sequence[Project], now: int, required: bool
) -> list[str]:
    """What stands against a request, in plain words."""
    found = []
    if person is not None and person.ended is not None:
        found.append("This person was off-boarded.")
    if person is not None and person.trained_until is not None:
        if person.trained_until <= now:
            found.append("The training of this person has expired: nothing will be answered.")
        elif person.trained_until < asked.wish.until:
            found.append("The training of this person expires before this grant would end.")
    known = {one.name: one for one in projects}
    project = known.get(asked.wish.project)
    if project is None and asked.wish.project != "*" and known:
        words = ": nothing will be answered" if required else ""
        found.append(f"The project is not registered{words}.")
    if project is not None:
        if project.over(now):
            found.append("The project has ended: nothing will be answered.")
        elif project.ends < asked.wish.until:
            found.append("The project ends before this grant would: it then answers no more.")
        if asked.wish.purpose not in ("*", project.purpose):
            found.append("The purpose is not the one the project is registered for.")
    if asked.wish.release == "rows":
        found.append("Rows of named columns would leave, one by one.")
    return found
