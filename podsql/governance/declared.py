"""``governance.toml``: what people agreed and no machine can know. Optional, beside ``pod.toml``.

Rule to keep: it describes and never permits. No right, date or name in it changes what a pod answers;
only lists and reports show it.
"""

import difflib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import tomli

from podsql.errors import error
from podsql.governance.duo import Duo

NAME: Final = "governance.toml"
FILE_BYTES: Final = 256 * 1024

Years = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: unknown keys are refused."""


class Project(Part, frozen=True, kw_only=True):
    """``[projects.NAME]``; the name is the one that statements give (``--project``)."""

    title: str = ""
    purpose: str = ""
    public_benefit: str = ""
    lawful_basis: str = ""
    funder: str = ""
    ethics: str = ""
    duo: tuple[Duo, ...] = ()
    """GA4GH data use codes."""
    people: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    starts: date | None = None
    ends: date | None = None

    def expired(self, now: int) -> bool:
        """Whether its last day is over at ``now`` (ms), in UTC."""
        return self.ends is not None and self.ends < day_of(now)


class Person(Part, frozen=True, kw_only=True):
    """``[people.NAME]``; the name is the one of the federation's manifest."""

    full_name: str = ""
    organisation: str = ""
    accreditation: str = ""
    trained_until: date | None = None
    terms_signed: date | None = None


class Party(Part, frozen=True, kw_only=True):
    """``[[parties]]``: who signs the agreement, and as what."""

    name: str
    role: Literal["controller", "joint controller", "processor", "recipient", "sponsor"]
    address: str = ""
    contact: str = ""


class Contacts(Part, frozen=True, kw_only=True):
    """``[contacts]``: whom to call for what."""

    data_protection_officer: str = ""
    breach: str = ""
    information_security: str = ""
    data_access: str = ""
    public: str = ""


class Retention(Part, frozen=True, kw_only=True):
    """``[retention]``."""

    audit_years: Years | None = None
    """Absent: 7."""
    results: str = ""
    """What was agreed for answers that analysts keep."""


class Data(Part, frozen=True, kw_only=True):
    """``[data."schema.table"]``."""

    description: str = ""
    source: str = ""
    sensitivity: str = ""
    controller: str = ""


class Public(Part, frozen=True, kw_only=True):
    """``[public]``: the register page."""

    title: str = ""
    text: str = ""
    link: str = ""


class Declared(Part, frozen=True, kw_only=True):
    """The whole file."""

    projects: dict[str, Project] = {}
    people: dict[str, Person] = {}
    parties: tuple[Party, ...] = ()
    contacts: Contacts = Contacts()
    retention: Retention = Retention()
    data: dict[str, Data] = {}
    public: Public = Public()


_PARTS: Final = (Declared, Project, Person, Party, Contacts, Retention, Data, Public)


def load_declared(path: Path) -> Declared:
    """Read the file; empty if there is none; CONFIG names the key and the nearest known one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Declared()
    except OSError:
        raise error("CONFIG", f"cannot read {path.name!r}") from None
    return parse_declared(data, path.name)


def parse_declared(data: bytes, name: str = NAME) -> Declared:
    """Parse the bytes of a ``governance.toml``."""
    if len(data) > FILE_BYTES:
        raise error("CONFIG", f"{name!r} is larger than {FILE_BYTES} bytes")
    try:
        tree = tomli.loads(data.decode())
    except (ValueError, RecursionError):
        raise error("CONFIG", f"{name!r} is not valid TOML") from None
    try:
        found = msgspec.convert(tree, Declared)
    except msgspec.ValidationError as fault:
        text = str(fault)
        raise error(
            "CONFIG", f"{name!r}: {text[:1].lower()}{text[1:]}", hint=_nearest(text)
        ) from None
    for project, clause in found.projects.items():
        if clause.starts is not None and clause.ends is not None and clause.ends < clause.starts:
            raise error("CONFIG", f"{name!r}: project {project!r} ends before it starts")
    return found


def day_of(now: int) -> date:
    """The day of a time (ms), in UTC."""
    return datetime.fromtimestamp(now / 1000, UTC).date()


def _nearest(fault: str) -> str:
    words = fault.split("`")
    wrong = words[1] if len(words) > 1 else ""
    close = difflib.get_close_matches(wrong, [f for p in _PARTS for f in p.__struct_fields__], n=1)
    return f"did you mean {close[0]!r}?" if close else "podsql audit init writes a template"


TEMPLATE: Final = """\
# What people agreed about this pod, for `podsql audit …`. Every key is optional.
# Nothing here gives or takes a right: pods enforce policy.toml, and only that.

# [projects.asthma]                     # the name that statements give: --project asthma
# title = "Asthma admissions by region"
# purpose = "Find out where admissions could be avoided"
# public_benefit = "Better planning of respiratory care"
# lawful_basis = "UK GDPR Art. 6(1)(e) and 9(2)(j)"
# funder = "A public funder, grant 123"
# ethics = "REC 26/XX/0001"
# duo = ["HMB", "NCU", "IRB", "TS"]     # GA4GH data use codes
# people = ["ana"]                      # names of the federation
# tables = ["main.visits"]
# starts = 2026-01-01
# ends = 2027-12-31                     # the last day; afterwards lists show the project as expired

# [people.ana]
# full_name = "Dr Ana Example"
# organisation = "University of Example"
# accreditation = "Accredited researcher 1234"
# trained_until = 2027-06-30
# terms_signed = 2026-01-15

# [[parties]]
# name = "Example Hospital"
# role = "controller"                   # or: joint controller, processor, recipient, sponsor
# address = "1 Example Street"
# contact = "ig@example.org"

# [contacts]
# data_protection_officer = "dpo@example.org"
# breach = "breach@example.org, +44 …"
# information_security = "infosec@example.org"
# data_access = "access@example.org"
# public = "info@example.org"

# [retention]
# audit_years = 7                       # at least 1
# results = "Answers are kept until the project ends"

# [data."main.visits"]
# description = "One row a visit"
# source = "The hospital's patient administration system"
# sensitivity = "health data (special category)"
# controller = "Example Hospital"

# [public]
# title = "Research with our data"
# text = "Which questions were asked of our data, and why."
# link = "https://example.org/data"
"""
"""What ``podsql audit init`` writes."""


def write_template(path: Path) -> None:
    """Write the template; CONFIG if there is a file."""
    if path.exists():
        raise error("CONFIG", f"{str(path)!r} exists", hint="edit it, or remove it first")
    path.write_text(TEMPLATE, encoding="utf-8")
    load_declared(path)
