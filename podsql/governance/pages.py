"""A page for people: a title and parts in order. What it looks like is a renderer's business."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """A section begins."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences; ``none`` stands where there are none."""

    items: tuple[str, ...]
    none: str = "none"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Named values; an empty value reads as *not stated*."""

    pairs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; ``none`` stands where it has no row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    none: str = "none"


@dataclass(frozen=True, slots=True)
class Code:
    """A text as it is: a statement, a picture's source."""

    text: str
    language: str = ""


Part = Heading | Text | Items | Pairs | Grid | Code
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Page:
    """One artefact."""

    title: str
    parts: tuple[Part, ...]
