"""Row 18: the assurance statement: which adversarial cases this version's tests cover, and how a run
of them ended.

The list is data that comes with the product: cases, the tests that stand for them, and the outcome
of one run before release. Rule to keep: the statement says that this installation ran nothing, and
that a passed test shows no more than the test does.
"""

from importlib import resources
from typing import Literal

import msgspec
import tomli

from podsql.errors import error
from podsql.governance.pages import Grid, Items, Page, Pairs

State = Literal["held", "failed", "not run", "later"]


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case of the adversarial list, as `assurance.toml` has it."""

    number: int
    attack: str
    expected: str
    tests: tuple[str, ...] = ()
    """``path::name``; every parameter of a test counts."""
    later: str = ""
    """Why no test stands for it yet."""
    left: str = ""
    """What the tests do not show."""


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the tests, as `assurance_run.json` has it."""

    version: str
    day: str
    python: str
    platform: str
    libraries: dict[str, str]
    outcomes: dict[str, str]
    """Test to ``passed``, ``failed`` or ``skipped``."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A case and how it stands."""

    number: int
    attack: str
    expected: str
    state: State
    tests: dict[str, str]
    note: str


class Assurance(msgspec.Struct, frozen=True, kw_only=True):
    """The statement."""

    version: str
    run_version: str
    run_day: str
    run_on: str
    libraries: dict[str, str]
    same_version: bool
    counts: dict[str, int]
    cases: tuple[Held, ...]
    words: tuple[str, ...]


_WORDS = (
    "The tests were run by the makers of podsql before release. This installation ran none of them, and nobody independent has.",
    "A case that held means: the named tests, which try the attack, ended as expected. It does not mean that no other way exists.",
    "The tests are in the source distribution: make assurance runs these, make test all.",
    "Which layers of the sandbox hold depends on the host: podsql audit infosec tries them here.",
)


def cases() -> tuple[Case, ...]:
    """The list that comes with this version."""
    data = (resources.files("podsql.governance") / "assurance.toml").read_text(encoding="utf-8")
    try:
        return msgspec.convert(tomli.loads(data)["cases"], tuple[Case, ...])
    except (msgspec.ValidationError, ValueError, KeyError):
        raise error("INTERNAL", "the packaged list of cases is damaged") from None


def last_run() -> Run | None:
    """The run that comes with this version, if there is one."""
    place = resources.files("podsql.governance") / "assurance_run.json"
    try:
        return msgspec.json.decode(place.read_bytes(), type=Run)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        raise error("INTERNAL", "the packaged run of the tests is damaged") from None


def assurance(version: str, listed: tuple[Case, ...], run: Run | None) -> Assurance:
    """The statement for ``version``. A run of another version holds for nothing here."""
    same = run is not None and run.version == version
    outcomes = run.outcomes if run is not None and same else {}
    held = tuple(_held(case, outcomes) for case in listed)
    counts = {
        state: sum(one.state == state for one in held)
        for state in ("held", "failed", "not run", "later")
    }
    return Assurance(
        version=version,
        run_version=run.version if run else "",
        run_day=run.day if run else "",
        run_on=f"Python {run.python}, {run.platform}" if run else "",
        libraries=run.libraries if run else {},
        same_version=same,
        counts=counts,
        cases=held,
        words=_WORDS,
    )


def _held(case: Case, outcomes: dict[str, str]) -> Held:
    found = {test: outcomes.get(test, "not run") for test in case.tests}
    state: State
    if case.later:
        state = "later"
    elif not found or "not run" in found.values() or "skipped" in found.values():
        state = "not run"
    else:
        state = "held" if set(found.values()) == {"passed"} else "failed"
    if "failed" in found.values():
        state = "failed"
    return Held(
        number=case.number,
        attack=case.attack,
        expected=case.expected,
        state=state,
        tests=found,
        note=case.later or case.left,
    )


def page(found: Assurance) -> Page:
    """For people."""
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    run = f"{found.run_day}, {found.run_on}" if found.run_day else "none comes with this version"
    if found.run_day and not found.same_version:
        run = (
            f"of version {found.run_version}, which is not this one, so it counts for nothing here"
        )
    rows = tuple(
        (
            str(one.number),
            one.attack,
            one.expected,
            one.state,
            ", ".join(f"{test} ({outcome})" for test, outcome in one.tests.items()) or "none",
            one.note or "nothing to add",
        )
        for one in found.cases
    )
    return Page(
        f"Assurance statement for podsql {found.version}",
        (
            Pairs(
                {
                    "run": run,
                    "with": ", ".join(
                        f"{name} {version}" for name, version in found.libraries.items()
                    )
                    or "unknown",
                    f"{len(found.cases)} cases": counts,
                }
            ),
            Items(found.words),
            Grid(("case", "attack", "expected", "state", "tests", "what is left"), rows),
        ),
    )
