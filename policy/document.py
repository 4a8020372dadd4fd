"""The policy document: what a custodian writes in TOML, read once and strictly.

Rule to keep: a clause is typed here or the file is refused. What this version knows but does not
enforce is listed by ``enforcement.unenforced``; a pod refuses to start on it.
"""

import difflib
import math
import re
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import tomli

from podsql.errors import Error, error

POLICY_BYTES: Final = 64 * 1024
"""A larger file is refused before it is parsed."""
KEY_DOTS: Final = 16
"""More dots in one key are refused: TOML readers are slow on them."""
PRESETS: Final = ("open", "standard", "strict", "dp")

Release = Literal["sdc_local", "sdc_merged", "dp", "rows"]
Use = Literal["select", "train", "networks", "predict", "intersect", "template"]
JoinKind = Literal["co_located", "reference", "psi_count"]
Role = Literal["entity_key", "join_key", "dimension", "filter", "measure"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every clause: unknown keys are refused."""


class Valid(Clause, frozen=True, kw_only=True):
    """``[valid]``: both days belong to it, in UTC."""

    from_: date | None = msgspec.field(name="from", default=None)
    until: date | None = None


class ColumnClause(Clause, frozen=True, kw_only=True):
    """One column. ``roles`` absent: every role, and no rule about roles applies."""

    roles: tuple[Role, ...] | None = None
    aggregates: tuple[str, ...] | None = None
    bounds: tuple[float, float] | None = None
    bin: float | str | None = None
    """Width of the public bins in which quantiles leave; words (``"day"``) are for a later version."""
    values: tuple[str | float, ...] | None = None
    max_distinct: Positive | None = None
    magnitude: bool = False


class TableClause(Clause, frozen=True, kw_only=True):
    """One table. A column that is not listed (nor covered by ``"*"``) does not exist."""

    columns: dict[str, ColumnClause] = {}
    allow: tuple[Use, ...] | None = None
    release: Release | None = None
    rows: tuple[str, ...] = ()
    """Columns that may leave row by row when the release is ``rows``; ``*``: all listed ones."""
    privacy_unit: str | None = None
    public: bool | None = None
    """No privacy unit to protect. Absent: true of reference tables, false of federated ones."""


class Joins(Clause, frozen=True, kw_only=True):
    """Which joins of granted tables are allowed. ``pairs`` are ``["a.x", "b.y"]``."""

    kinds: tuple[JoinKind, ...] = ("co_located", "reference")
    """Where the tables are: both in this pod, one public, or (``psi_count``) in several pods, whose
    shared keys are counted and no more. A key that is counted so joins itself: its pair is
    ``["a.x", "a.x"]``."""
    psi_keys: Positive = 1_000_000
    """Different keys that this pod, or another one, may bring to one comparison of keys."""

    condition: Literal["JOIN_NOT_REQUIRED", "JOIN_REQUIRED"] = "JOIN_NOT_REQUIRED"
    pairs: tuple[tuple[str, str], ...] | None = None
    types: tuple[Literal["inner", "left", "right", "full", "semi", "anti", "cross"], ...] = (
        "inner",
        "left",
        "semi",
        "anti",
    )


class Functions(Clause, frozen=True, kw_only=True):
    """Narrower lists than the built-in ones; a name outside the built-in list is never allowed."""

    scalar: Literal["safe-v1"] | tuple[str, ...] = "safe-v1"
    aggregates: tuple[str, ...] | None = None
    factors: Annotated[int, msgspec.Meta(ge=1, le=3)] = 2
    """Measures that one figure may multiply with each other; three must be different ones."""


class Filters(Clause, frozen=True, kw_only=True):
    """Columns that may meet a literal, or another column, in a comparison."""

    literal: tuple[str, ...] | None = None
    column: tuple[str, ...] | None = None
    max_predicates: Positive | None = None


class Caps(Clause, frozen=True, kw_only=True):
    """Answered cells."""

    per_day: Positive
    total: Positive


class Output(Clause, frozen=True, kw_only=True):
    """Rules on what leaves."""

    min_units: Positive = 10
    zero_cells: Literal["hide", "show"] = "hide"
    round_base: Count = 0
    p_percent: Share = 0
    nk: tuple[Positive, Share] | None = None
    min_dof: Count = 0
    extremes: Literal["deny", "allow"] = "deny"
    quantile: Literal["deny", "binned", "exact"] = "deny"
    group_levels: Count = 0
    overlap_guard: Count = 0
    caps: Caps | None = None
    complement: bool = False
    """Also withhold an aggregate that leaves out 1..min_units-1 units of its group."""
    max_rows: Count = 0


class Intersect(Clause, frozen=True, kw_only=True):
    """``[intersect]``: an analyst's own keys meet those of a table that allows ``intersect``."""

    answer: Literal["count", "rows"] = "count"
    """``rows``: the analyst is also told which of his own keys the table has."""
    max_candidates: Positive = 10_000
    """Keys of one question."""
    candidates_per_day: Positive = 20_000
    """Of one project (or person, where ``projects`` is ``*``)."""


class Networks(Clause, frozen=True, kw_only=True):
    """``[networks]``: networks that are trained here by local steps, where ``allow`` has ``networks``."""

    min_units: Positive = 100
    """Privacy units behind each round here; never fewer than ``output.min_units``."""
    rounds: Positive = 1000
    """Of one project over one design and one state of the data."""
    weights: Positive = 10_000
    """Of one network."""


class Dp(Clause, frozen=True, kw_only=True):
    """``[dp]``: noise and a durable budget, counted per dataset (this document)."""

    epsilon_per_query: Annotated[float, msgspec.Meta(gt=0)]
    epsilon_budget: Annotated[float, msgspec.Meta(gt=0)]
    """For each combination of ``per``; never refilled by itself."""
    epsilon_total: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """For everybody together; absent: no such cap, so colluding analysts compose."""
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    """Of each budget."""
    per: tuple[Literal["purpose", "analyst", "project"], ...] = ("purpose", "analyst")
    period: Literal["forever", "year", "month"] = "forever"
    """A new period starts new budgets. ``forever`` is the only one that bounds a person's risk."""
    max_groups_contributed: Positive = 1
    max_rows_contributed: Positive = 1
    """Rows of one unit that count in one group; the rest are cut."""
    noise: Literal["opendp", "python"] = "opendp"


class PolicyLimits(Clause, frozen=True, kw_only=True):
    """Per statement. ``seconds`` and ``memory_mb`` narrow the pod's own limits."""

    seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    memory_mb: Positive | None = None
    rows_scanned: Positive | None = None
    queries_per_day: Positive | None = None
    sql_bytes: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 65536
    depth: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64


class Policy(Clause, frozen=True, kw_only=True):
    """The whole document. Nothing granted means nothing answered."""

    version: Literal[1]
    name: str
    text: str = ""
    """What it means, in plain words."""
    valid: Valid = Valid()
    people: Literal["*"] | dict[str, str] = {}
    """Name -> fingerprint, or ``*`` for whatever key the manifest lists under that name."""
    orgs: tuple[str, ...] = ()
    roles: tuple[Literal["analyst", "modeller"], ...] = ("analyst",)
    purposes: tuple[str, ...] = ("*",)
    projects: tuple[str, ...] = ("*",)
    services: tuple[str, ...] = ()
    """Fingerprints of policy services that must agree with every request."""
    allow: tuple[Use, ...] = ("select",)
    release: Release = "sdc_local"
    tables: dict[str, TableClause] = {}
    joins: Joins = Joins()
    functions: Functions = Functions()
    filters: Filters = Filters()
    output: Output = Output()
    intersect: Intersect = Intersect()
    networks: Networks = Networks()
    dp: Dp | None = None
    limits: PolicyLimits = PolicyLimits()

    def in_force(self, now: int) -> bool:
        """Whether ``now`` (ms since the epoch) lies in the days of ``valid``."""
        start = self.valid.from_
        end = self.valid.until
        if start is not None and now < _milliseconds(start):
            return False
        return end is None or now < _milliseconds(end + timedelta(days=1))


CLAUSES: Final = (
    Policy,
    Valid,
    ColumnClause,
    TableClause,
    Joins,
    Functions,
    Filters,
    Caps,
    Output,
    Intersect,
    Networks,
    Dp,
    PolicyLimits,
)


def load_policy(path: Path) -> Policy:
    """Read a policy file; POLICY_FILE names the key and the nearest known one."""
    try:
        if path.stat().st_size > POLICY_BYTES:
            raise _wrong(path.name, f"larger than {POLICY_BYTES} bytes")
        data = path.read_bytes()
    except OSError:
        raise _wrong(path.name, "cannot be read", hint="podsql policy init writes one") from None
    return parse_policy(data, path.name)


def load_preset(name: str) -> Policy:
    """Read one of the presets ``open``, ``standard``, ``strict``, ``dp``."""
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(PRESETS)}"
        raise error("POLICY_FILE", f"unknown preset {name!r}", hint=hint)
    return parse_policy(preset_bytes(name), f"{name}.toml")


def preset_bytes(name: str) -> bytes:
    """The preset's file, for ``podsql policy init``."""
    return (resources.files("podsql.policy") / "presets" / f"{name}.toml").read_bytes()


def parse_policy(data: bytes, name: str = "policy.toml") -> Policy:
    """Parse the bytes of a policy file."""
    if len(data) > POLICY_BYTES:
        raise _wrong(name, f"larger than {POLICY_BYTES} bytes")
    _refuse_long_keys(data, name)
    try:
        tree = tomli.loads(data.decode())
    except (ValueError, RecursionError) as fault:
        where = re.search(r"line \d+", str(fault))
        raise _wrong(name, f"not valid TOML{' at ' + where[0] if where else ''}") from None
    _refuse_odd_numbers(tree, name)
    try:
        policy = msgspec.convert(tree, Policy)
    except msgspec.ValidationError as fault:
        text = str(fault)
        raise _wrong(name, text[:1].lower() + text[1:], hint=_nearest(text)) from None
    _check(policy, name)
    return policy


def policy_hash(policy: Policy) -> str:
    """BLAKE2b-256 (hex) of the document's canonical bytes: comments and order do not count."""
    return canonical_hash(canonical_bytes(policy))


def canonical_bytes(policy: Policy) -> bytes:
    """The document as it is hashed; read again, it is the same document."""
    return msgspec.json.encode(policy, order="deterministic")


def canonical_hash(canonical: bytes) -> str:
    """The digest of such bytes. Of these alone: ``0`` read as a number is written again as ``0.0``."""
    return blake2b(canonical, digest_size=32, person=b"ps-policy").hexdigest()


def _check(policy: Policy, name: str) -> None:
    fingerprints = [*policy.services]
    if policy.people != "*":
        fingerprints += [key for key in policy.people.values() if key != "*"]
    for text in fingerprints:
        if re.fullmatch(r"ps1[a-z2-7]{16,100}", text) is None:
            raise _wrong(name, "a fingerprint is not of the form ps1…", hint="podsql key show")
    start, end = policy.valid.from_, policy.valid.until
    if start is not None and end is not None and end < start:
        raise _wrong(name, "valid.until is before valid.from")
    if policy.dp is not None and policy.dp.epsilon_per_query > policy.dp.epsilon_budget:
        raise _wrong(name, "dp.epsilon_per_query is more than dp.epsilon_budget")
    for table, clause in policy.tables.items():
        folded = [column.lower() for column in clause.columns]
        if len(set(folded)) != len(folded):
            raise _wrong(name, f"table {table!r} lists a column twice")
        for column, rules in clause.columns.items():
            if isinstance(rules.bin, float) and not rules.bin > 0:
                raise _wrong(name, f"bin of {table}.{column} is not more than 0")
            if rules.bounds is not None and not rules.bounds[0] < rules.bounds[1]:
                raise _wrong(name, f"bounds of {table}.{column} are not [low, high]")
        for column in clause.rows:
            if column != "*" and column.lower() not in folded and "*" not in folded:
                raise _wrong(name, f"rows of {table!r} names {column!r}, which is not listed")
    if len({table.lower() for table in policy.tables}) != len(policy.tables):
        raise _wrong(name, "a table is listed twice")


def _refuse_long_keys(data: bytes, name: str) -> None:
    for line in data.splitlines():
        run = 0
        for piece in line.split(b"."):
            bare = re.fullmatch(rb"[\w\-\s\"'\[\{=]*", piece) is not None
            run = run + 1 if bare else 0
            if run > KEY_DOTS:
                raise _wrong(name, f"a key has more than {KEY_DOTS} parts")


def _refuse_odd_numbers(tree: object, name: str) -> None:
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, float) and not math.isfinite(value):
            raise _wrong(name, "a number is infinite or not a number")


def _nearest(fault: str) -> str:
    words = fault.split("`")
    known = [name for clause in CLAUSES for name in clause.__struct_encode_fields__]
    close = difflib.get_close_matches(words[1], known, n=1) if len(words) > 1 else []
    return f"did you mean {close[0]!r}?" if close else ""


def _milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _wrong(name: str, text: str, *, hint: str = "") -> Error:
    return error("POLICY_FILE", f"{name!r}: {text}", hint=hint)
