"""What a form sent, read field by field; what is wrong is kept by field, for the page to say.

Rule to keep: a value is used only after it was asked for here with its limit.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

from podsql.errors import error

FORM_BYTES: Final = 256 * 1024
FIELDS: Final = 200
LINE: Final = 256


class Form:
    """The fields of one request, and ``problems`` by field."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)
        self.problems: dict[str, str] = {}

    @classmethod
    def read(cls, body: bytes) -> "Form":
        """Read ``application/x-www-form-urlencoded``; ARGUMENT if it is none."""
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS, errors="strict"
            )
        except ValueError:
            raise error("ARGUMENT", "the form could not be read") from None
        return cls([(name, text.replace("\r\n", "\n")) for name, text in pairs])

    def sent(self, *besides: str) -> list[tuple[str, str]]:
        """Every field but some, to be sent again."""
        return [(name, text) for name, text in self._pairs if name not in besides]

    def raw(self, name: str) -> str:
        """As it came; empty if absent."""
        return next((text for key, text in self._pairs if key == name), "")

    def has(self, name: str) -> bool:
        """Whether a box is ticked."""
        return any(key == name for key, _ in self._pairs)

    def text(self, name: str, label: str, *, most: int = LINE, needed: bool = True) -> str:
        """One line."""
        found = self.raw(name).strip()
        if needed and not found:
            self.problems[name] = f"{label} is missing"
        elif len(found) > most:
            self.problems[name] = f"{label} has more than {most} characters"
        elif not found.isprintable():
            self.problems[name] = f"{label} has characters that cannot be shown"
        return found

    def note(self, name: str, label: str, *, most: int = 2000, needed: bool = False) -> str:
        """Several lines."""
        found = self.raw(name).strip()
        if needed and not found:
            self.problems[name] = f"{label} is missing"
        elif len(found) > most:
            self.problems[name] = f"{label} has more than {most} characters"
        return found

    def words(self, name: str, label: str) -> tuple[str, ...]:
        """Names, separated by commas or lines."""
        found = tuple(filter(None, map(str.strip, self.raw(name).replace(",", "\n").split("\n"))))
        if not found:
            self.problems[name] = f"{label}: name at least one"
        elif any(len(one) > LINE or not one.isprintable() for one in found) or len(found) > 100:
            self.problems[name] = f"{label}: a name is too long, or there are too many"
        return found

    def choice(self, name: str, label: str, among: Mapping[str, object] | Sequence[str]) -> str:
        """One of a list."""
        found = self.raw(name)
        if found not in among:
            self.problems[name] = f"{label}: choose one of the list"
        return found

    def day(self, name: str, label: str, *, needed: bool = False) -> int | None:
        """A day; the end of it in ms since the epoch, in UTC."""
        found = self.raw(name).strip()
        if not found:
            if needed:
                self.problems[name] = f"{label} is missing"
            return None
        try:
            day = date.fromisoformat(found)
            end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        except (ValueError, OverflowError):
            self.problems[name] = f"{label}: write a day as 2030-12-31"
            return None
        return int(end.timestamp() * 1000)
