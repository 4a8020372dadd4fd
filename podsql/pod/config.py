"""``pod.toml``: what a custodian writes to run a pod. Read once, strictly; paths are relative to the file.

[pod]
federation = "federation.toml"        # membership written by `podsql join`
state = "state"                       # snapshots, ledger of request ids, audit: back this up

[policy]
file = "policy.toml"                  # or: preset = "standard"
services = ["ps1…"]                   # fingerprints of policy services that must agree
mode = "online"                       # or "offline": signed grants decide while a service is silent
witness = "/other/disk/witness"       # shows that the privacy ledger was restored from a backup
hold_days = 7                         # how long a result waits for a service's review

[tables."clinic.visits"]
path = "visits.parquet"
privacy_unit = "patient_id"
opt_out = "opted_out.txt"             # one patient_id a line: their rows are never served
local_keys = ["visit_id"]             # "order_no as order": keys of one kind, whatever the column is called
columns = { age = "INTEGER" }         # frozen types; absent: as the file has them

[views."clinic.adults"]
sql = "SELECT * FROM clinic.visits WHERE age >= 18"
privacy_unit = "patient_id"

[sums]                                # secure sums; all of it may be left out
peers = ["north", "east"]             # sums with these pods only; absent: with every pod of the federation
least = 3                             # goes on with so many pods when others are lost; absent: with all
colluders = 1                         # so many pods may be in league with the analyst
required = false                      # true: models are trained under masks or not at all

[local_tables]                        # where predictions are written that stay here; absent: nowhere
path = "scores"                       # a folder of its own, for nothing else
rows = 10_000_000                     # of one table
tables = 20                           # of one person
days = 90                             # how long a table is kept
"""

import difflib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tomli

from podsql.errors import Error, error
from podsql.policy.held import HOLD_DAYS

CONFIG_BYTES = 64 * 1024
"""A larger file is refused before it is parsed."""


class PodSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[pod]``."""

    federation: str = "federation.toml"
    state: str = "state"
    isolation: Literal["process", "thread"] = "process"


class PolicySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[policy]``: one file or preset, and the services that must agree with it."""

    file: str | None = None
    preset: str | None = None
    services: tuple[str, ...] = ()
    mode: Literal["online", "offline"] = "online"
    hold_days: Annotated[float, msgspec.Meta(gt=0, le=366)] = HOLD_DAYS
    witness: str | None = None
    """A small file on another disk that shows a restored ledger; absent: beside ``pod.toml``."""


class TableSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[tables."schema.name"]``."""

    path: str
    format: str | None = None
    kind: Literal["federated", "reference"] = "federated"
    mode: Literal["snapshot", "in_place"] = "snapshot"
    privacy_unit: str | None = None
    opt_out: str | None = None
    """File of privacy units, one a line, whose rows are left out; a change is noticed at once."""
    local_keys: tuple[str, ...] = ()
    columns: dict[str, str] = {}
    null_values: dict[str, str] = {}
    """Column -> the text or number that stands for NULL in the source (``-9``)."""
    source_table: str | None = None
    """Table inside a DuckDB file."""


class ViewSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[views."schema.name"]``: a dataset of its own, computed when the snapshot is built."""

    sql: str
    kind: Literal["federated", "reference"] = "federated"
    privacy_unit: str | None = None
    local_keys: tuple[str, ...] = ()


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]`` of one statement at this pod, and of the pod."""

    seconds: float = 60.0
    memory_mb: int = 2048
    threads: int = 2
    workers: int = 4
    rows: int = 1_000_000_000
    result_mb: int = 65536
    spool_mb: int = 8192


class SumsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[sums]``: with whom the pod adds figures under masks."""

    peers: tuple[str, ...] | None = None
    least: Annotated[int, msgspec.Meta(ge=3)] | None = None
    """A sum over other pods tells what those had that are in one of both only. So without this line the
    pod sums a table always with the same; with it, with so many at least, if theirs have it as well."""
    colluders: Annotated[int, msgspec.Meta(ge=1)] = 1
    required: bool = False
    """Rounds of models leave under masks or not at all."""


class LocalTablesSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[local_tables]``: predictions that the custodian keeps, one Parquet file a table.

    No limit counts bytes: how well values compress would tell of them.
    """

    path: str
    rows: Annotated[int, msgspec.Meta(ge=1)] = 10_000_000
    tables: Annotated[int, msgspec.Meta(ge=1)] = 20
    days: Annotated[float, msgspec.Meta(gt=0, le=3660)] = 90.0


class PodConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    pod: PodSection = PodSection()
    policy: PolicySection = PolicySection()
    tables: dict[str, TableSection] = {}
    views: dict[str, ViewSection] = {}
    limits: LimitsSection = LimitsSection()
    sums: SumsSection = SumsSection()
    local_tables: LocalTablesSection | None = None


def load_pod_config(path: Path) -> PodConfig:
    """Read ``pod.toml``; CONFIG names the key and the nearest known one."""
    try:
        data = path.read_bytes()
    except OSError:
        raise error(
            "CONFIG",
            f"cannot read {path.name!r}",
            hint="podsql join … --table name=path writes one",
        ) from None
    return parse_pod_config(data, path.name)


def parse_pod_config(data: bytes, name: str = "pod.toml") -> PodConfig:
    """Parse the bytes of a ``pod.toml``."""
    if len(data) > CONFIG_BYTES:
        raise error("CONFIG", f"{name!r} is larger than {CONFIG_BYTES} bytes")
    try:
        tree = tomli.loads(data.decode())
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise error("CONFIG", f"{name!r} is not valid TOML") from None
    try:
        config = msgspec.convert(tree, PodConfig)
    except msgspec.ValidationError as fault:
        raise error(
            "CONFIG", f"{name!r}: {str(fault).lower()}", hint=_nearest(str(fault))
        ) from None
    _check(config, name)
    return config


def _nearest(fault: str) -> str:
    known = [
        *(
            f
            for kind in (
                PodConfig,
                PodSection,
                PolicySection,
                TableSection,
                ViewSection,
                LimitsSection,
                SumsSection,
                LocalTablesSection,
            )
            for f in kind.__struct_fields__
        )
    ]
    words = fault.replace("`", "'").split("'")
    wrong = words[1] if len(words) > 1 else ""
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _check(config: PodConfig, name: str) -> None:
    if config.policy.file and config.policy.preset:
        raise _wrong(name, "policy has both a file and a preset", "keep one of them")
    if not config.tables:
        raise _wrong(name, "no tables", 'add [tables."main.visits"] with path = "…"')
    both = set(map(qualified, config.tables)) & set(map(qualified, config.views))
    if both:
        raise _wrong(name, f"{sorted(both)[0]!r} is both a table and a view", "rename one")
    for table, section in config.tables.items():
        if section.opt_out is None:
            continue
        if section.privacy_unit is None:
            raise _wrong(name, f"{table!r} has an opt-out list but no unit", "set privacy_unit")
        if section.mode == "in_place":
            text = f"{table!r} has an opt-out list but is served in place"
            raise _wrong(name, text, 'use mode = "snapshot"')


def _wrong(name: str, text: str, hint: str) -> Error:
    return error("CONFIG", f"{name!r}: {text}", hint=hint)


def qualified(name: str) -> str:
    """``schema.name`` of a table name, ``main`` by default; CONFIG if it is not a plain name."""
    parts = name.split(".")
    if len(parts) > 2 or not all(p.isidentifier() and p.isascii() for p in parts):
        raise error("CONFIG", f"table name {name!r} is not schema.name")
    return name if len(parts) == 2 else f"main.{name}"
