"""``podsql policy test``: what a policy would say of a statement, for its author. Reads no row.

The schema comes from a file of its own or from ``pod.toml`` (whose sources are then read for their
types). Planner and gate are the real ones; services, budgets and history have no part in it.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import tomli

from podsql.errors import Error, error
from podsql.planner.catalog import build_catalog
from podsql.planner.fragment import Field
from podsql.planner.offer import Offer
from podsql.planner.planning import plan
from podsql.planner.wire_types import known_type
from podsql.pod.config import load_pod_config, qualified
from podsql.pod.datasets import Place, freeze, pod_tables
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.gate import Gate
from podsql.policy.ledger.cost import epsilon_of
from podsql.policy.person import Person, require_person
from podsql.policy.rights import PodTable

POD = "pod"


class SchemaTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[tables."schema.name"]`` of a schema file: column names and DuckDB types."""

    columns: dict[str, str]
    kind: Literal["federated", "reference"] = "federated"
    privacy_unit: str | None = None
    local_keys: tuple[str, ...] = ()


class SchemaFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    tables: dict[str, SchemaTable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What would happen to a statement at a pod with this policy. One per part that is sent."""

    part: str
    allow: bool
    rule: str
    """The gate's reason of a denial, or the planner's code and words."""
    release: str = ""
    leaves: tuple[str, ...] = ()
    """Columns that would leave, with their types."""
    min_units: int = 0
    epsilon: float | None = None
    sql: str = ""
    """What the pod would run; a last column ``_ok`` says which groups may be shown."""


def read_schema(path: Path) -> dict[str, PodTable]:
    """Tables of a schema file, or of a ``pod.toml``; CONFIG says what is wrong."""
    try:
        data = path.read_bytes()
        tree = tomli.loads(data.decode())
    except (OSError, ValueError, RecursionError):
        raise error("CONFIG", f"cannot read {path.name!r} as TOML") from None
    if {"pod", "policy", "limits", "views"} & tree.keys() or _has_paths(tree):
        config = load_pod_config(path)
        place = Place.of(config, path)
        with tempfile.TemporaryDirectory(prefix="podsql-schema-") as folder:
            return pod_tables(config, freeze(config, place, Path(folder)))
    try:
        schema = msgspec.convert(tree, SchemaFile)
    except msgspec.ValidationError as fault:
        raise error(
            "CONFIG",
            f"{path.name!r}: {str(fault).lower()}",
            hint='write [tables."main.visits".columns] with name = "TYPE", or name a pod.toml',
        ) from None
    return {
        qualified(name): _table(qualified(name), table) for name, table in schema.tables.items()
    }


def try_policy(
    policy: Policy,
    tables: Mapping[str, PodTable],
    sql: str,
    *,
    person: str = "",
    purpose: str = "",
    project: str = "",
) -> list[Trial]:
    """Put ``sql`` to planner and gate as ``person`` (default: the first whom the policy names)."""
    gate = Gate(pod=POD, tables=tables, policy=policy, data_version="none")
    asking = _person(policy, person)
    now = time.time_ns() // 1_000_000
    offered = gate.offer_tables(asking, purpose, project, now)
    if not offered:
        why = _refusal(gate, asking, purpose, project, now)
        return [Trial(part="offer", allow=False, rule=why)]
    offer = Offer(pod=POD, version="none", tables=offered, issued=now, expires=now + 1)
    try:
        found = plan(sql, build_catalog({POD: offer}))
    except Error as fault:
        return [Trial(part="planner", allow=False, rule=f"{fault.code}: {fault.message}")]
    trials = []
    for stage in found.stages:
        leaves = tuple(f"{field.name} {field.type}" for field in stage.fields)
        try:
            verdict = gate.check(
                stage.fragment, person=asking, purpose=purpose, project=project, now=now
            )
        except Denial as denial:
            trials.append(Trial(part=stage.name, allow=False, rule=denial.reason, leaves=leaves))
            continue
        price = None
        if verdict.noise is not None and policy.dp is not None:
            price = epsilon_of(verdict.noise.cost, policy.dp.delta)
        trials.append(
            Trial(
                part=stage.name,
                allow=True,
                rule="",
                release=verdict.release,
                leaves=leaves,
                min_units=verdict.min_units,
                epsilon=price,
                sql=verdict.sql,
            )
        )
    return trials


def _refusal(gate: Gate, person: Person, purpose: str, project: str, now: int) -> str:
    """Why nothing is offered."""
    try:
        require_person(gate.policy, person, purpose=purpose, project=project, now=now)
    except Denial as denial:
        return denial.reason
    return "DENIED_TABLE"


def _person(policy: Policy, name: str) -> Person:
    known = {} if policy.people == "*" else policy.people
    chosen = name or next(iter(known), "anybody")
    key = known.get(chosen, "*")
    role = "analyst" if "analyst" in policy.roles else policy.roles[0] if policy.roles else ""
    return Person(
        name=chosen, identity=b"\0" * 32, fingerprint="" if key == "*" else key, role=role
    )


def _table(name: str, table: SchemaTable) -> PodTable:
    return PodTable(
        name=name,
        kind=table.kind,
        columns=tuple(Field(name=c, type=_type(c, kind)) for c, kind in table.columns.items()),
        privacy_unit=table.privacy_unit,
        local_keys=table.local_keys,
        content_hash="none",
    )


def _type(column: str, kind: str) -> str:
    known = known_type(kind)
    if known is None:
        raise error("CONFIG", f"column {column!r} has no known type", hint="write a DuckDB type")
    return known


def _has_paths(tree: Mapping[str, object]) -> bool:
    tables = tree.get("tables")
    return isinstance(tables, dict) and any(
        isinstance(table, dict) and "path" in table for table in tables.values()
    )
