"""Which lines of the log a report is about."""

from dataclasses import dataclass

from podsql.policy.audit import Entry
from podsql.times import iso

ASKED = ("query", "explain")
"""Events that somebody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Empty: everything. Times are ms, ``until`` excluded; a person is a name or a fingerprint."""

    since: int | None = None
    until: int | None = None
    person: str = ""
    project: str = ""
    table: str = ""

    def of(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """The entries it holds of, in order."""
        return tuple(entry for entry in entries if self.holds(entry))

    def holds(self, entry: Entry) -> bool:
        """Whether ``entry`` belongs to it."""
        if self.since is not None and entry.time < self.since:
            return False
        if self.until is not None and entry.time >= self.until:
            return False
        if self.person and self.person not in (entry.analyst, entry.fingerprint):
            return False
        if self.project and self.project != entry.project:
            return False
        return not self.table or qualified(self.table) in map(str.lower, entry.tables)

    def in_words(self) -> str:
        """``table main.visits, since …``, for a heading."""
        said = [
            f"{what} {value}"
            for what, value in (
                ("person", self.person),
                ("project", self.project),
                ("table", self.table),
                ("since", iso(self.since) if self.since is not None else ""),
                ("before", iso(self.until) if self.until is not None else ""),
            )
            if value
        ]
        return ", ".join(said) or "everything in the log"


def qualified(table: str) -> str:
    """``main.visits`` of ``visits``, in small letters."""
    return (table if "." in table else f"main.{table}").lower()


def answered(entry: Entry) -> bool:
    """Whether something left because of it."""
    return entry.event == "query" and entry.decision == "allow"
