"""The federation's tables as one analyst may use them: the pods' offers, with drift settled.

Rule to keep: one declared type per column. A pod that deviates is recorded and its fragments cast;
a difference that no type can hold without loss is an error that names the pods.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from podsql.errors import error
from podsql.planner.fragment import Disclosure
from podsql.planner.local_keys import key_column, key_kind
from podsql.planner.offer import ColumnOffer, Offer, TableOffer
from podsql.planner.widening import widen
from podsql.planner.wire_types import INTEGERS, known_type


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogColumn:
    """``deviations``: (pod, its own type) where it differs; an empty type says it has no such."""

    name: str
    type: str
    nullable: bool = True
    deviations: tuple[tuple[str, str], ...] = ()
    bins: tuple[float, float, float] | None = None
    """Low, high and width of the bins that every pod offers alike."""
    groupable: bool = True
    """Every pod lets values of it stand for groups."""
    values: tuple[str, ...] = ()
    """The texts it may hold, where every pod declares them."""
    listed: tuple[str, ...] = ()
    """What it may hold, texts or whole numbers, where all pods declare the same."""

    @property
    def missing(self) -> frozenset[str]:
        """Pods whose table has no such column: it reads as NULL there."""
        return frozenset(pod for pod, own in self.deviations if not own)

    @property
    def cast(self) -> bool:
        """True if some pod has it under another type."""
        return any(own for _, own in self.deviations)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogTable:
    """A federated or reference table. ``name`` is ``schema.table``; ``pods`` offer it."""

    name: str
    kind: str
    columns: tuple[CatalogColumn, ...]
    pods: tuple[str, ...]
    local_keys: Mapping[str, str] = field(default_factory=dict)
    """Lower-case name -> kind: declared by every pod that offers the table."""
    privacy_unit: str | None = None
    releases: tuple[str, ...] = ()
    """The pods' release rules, in the order of ``pods``."""
    disclosures: frozenset[Disclosure] = frozenset()
    """What every pod lets leave."""
    psi_count: bool = False
    """Every pod lets its keys be counted together with those of other pods."""
    min_units: int = 0
    """The largest of the pods' minimum groups."""

    def column(self, name: str) -> CatalogColumn | None:
        """The column of that name, whatever its case."""
        wanted = name.lower()
        return next((c for c in self.columns if c.name.lower() == wanted), None)

    @property
    def partitioned(self) -> bool:
        """True if each pod holds rows of its own."""
        return self.kind == "federated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """``tables`` by ``schema.table``; ``version`` changes whenever any offer does."""

    version: str
    tables: Mapping[str, CatalogTable]
    pods: tuple[str, ...]


def build_catalog(offers: Mapping[str, Offer], *uses: str) -> Catalog:
    """Settle the offers (by pod name) of tables for one of ``uses`` (``select``) into one catalog.

    AMBIGUOUS_SCHEMA if pods differ beyond repair, REFERENCE_MISMATCH if a reference table does.
    """
    pods = tuple(sorted(offers))
    wanted = frozenset(uses or ("select",))
    found: dict[str, dict[str, TableOffer]] = {}
    for pod in pods:
        for table in offers[pod].tables:
            if not wanted.isdisjoint(table.uses):
                found.setdefault(table.name, {})[pod] = table
    tables = {name: _settle(name, found[name]) for name in sorted(found)}
    digest = blake2b(digest_size=16)
    for pod in pods:
        digest.update(f"{len(pod)}:{pod}{len(offers[pod].version)}:{offers[pod].version}".encode())
    return Catalog(version=digest.hexdigest(), tables=tables, pods=pods)


def _settle(name: str, offers: Mapping[str, TableOffer]) -> CatalogTable:
    kinds = sorted({table.kind for table in offers.values()})
    if len(kinds) > 1:
        raise error(
            "AMBIGUOUS_SCHEMA",
            f"table {name!r} is federated in {_names(offers, 'federated')} "
            f"and a reference table in {_names(offers, 'reference')}",
            hint="the custodians must agree on one kind",
        )
    if kinds == ["reference"]:
        _require_same_content(name, offers)
    pods = tuple(sorted(offers))
    keys = [{(key_column(k).lower(), key_kind(k)) for k in offers[pod].local_keys} for pod in pods]
    units = {offers[pod].privacy_unit for pod in pods}
    return CatalogTable(
        name=name,
        kind=kinds[0],
        columns=tuple(_columns(name, offers)),
        pods=pods,
        local_keys=dict(sorted(set.intersection(*keys))),
        privacy_unit=units.pop() if len(units) == 1 else None,
        releases=tuple(offers[pod].release for pod in pods),
        disclosures=frozenset.intersection(*(frozenset(offers[p].disclosures) for p in pods)),
        psi_count=all(offers[pod].psi_count for pod in pods),
        min_units=max(offers[pod].min_units for pod in pods),
    )


def _names(offers: Mapping[str, TableOffer], kind: str) -> str:
    return ", ".join(repr(pod) for pod in sorted(offers) if offers[pod].kind == kind)


def _require_same_content(name: str, offers: Mapping[str, TableOffer]) -> None:
    by_hash: dict[object, list[str]] = {}
    for pod in sorted(offers):
        table = offers[pod]
        shape = tuple(sorted((c.name.lower(), known_type(c.type)) for c in table.columns))
        by_hash.setdefault((table.content_hash, shape), []).append(pod)
    if len(by_hash) > 1:
        groups = " and ".join(", ".join(map(repr, group)) for group in by_hash.values())
        raise error(
            "REFERENCE_MISMATCH",
            f"reference table {name!r} differs between {groups}",
            hint="a reference table must be the same in every pod; refresh it where it is old",
        )


def _columns(name: str, offers: Mapping[str, TableOffer]) -> Iterator[CatalogColumn]:
    """In the order of first appearance, pods taken by name (as UNION ALL BY NAME does)."""
    own: dict[str, dict[str, ColumnOffer]] = {}
    for pod in sorted(offers):
        for column in offers[pod].columns:
            own.setdefault(column.name.lower(), {})[pod] = column
    for by_pod in own.values():
        first = next(iter(by_pod.values()))
        types = [known_type(c.type) or c.type for c in by_pod.values()]
        settled = widen(types)
        if settled is None:
            listed = ", ".join(
                f"{c.type.split('(')[0]} in {pod!r}" for pod, c in sorted(by_pod.items())
            )
            raise error(
                "AMBIGUOUS_SCHEMA",
                f"column {first.name!r} of {name!r} has types that no type holds: {listed}",
                hint="the custodians must declare one type for it",
            )
        missing = [pod for pod in sorted(offers) if pod not in by_pod]
        strict = [pod for pod, c in sorted(by_pod.items()) if not c.nullable]
        if missing and strict:
            raise error(
                "AMBIGUOUS_SCHEMA",
                f"column {first.name!r} of {name!r} is missing in {missing[0]!r} "
                f"and never null in {strict[0]!r}",
                hint="declare it nullable, or add it",
            )
        deviations = dict.fromkeys(missing, "")
        for (pod, _), own_type in zip(by_pod.items(), types, strict=True):
            if own_type != settled:
                deviations[pod] = own_type
        yield CatalogColumn(
            name=first.name,
            type="INTEGER" if settled == "NULL" else settled,
            nullable=bool(missing) or any(c.nullable for c in by_pod.values()),
            deviations=tuple(sorted(deviations.items())),
            groupable=all(not c.roles or "dimension" in c.roles for c in by_pod.values()),
            bins=first.bins if {c.bins for c in by_pod.values()} == {first.bins} else None,
            values=() if settled in INTEGERS else _values(by_pod.values()),
            listed=_listed(by_pod.values()) if not missing else (),
        )


def _listed(offered: Iterable[ColumnOffer]) -> tuple[str, ...]:
    lists = {frozenset(column.values) for column in offered}
    return tuple(sorted(lists.pop())) if len(lists) == 1 else ()


def _values(offered: Iterable[ColumnOffer]) -> tuple[str, ...]:
    listed = [column.values for column in offered]
    return tuple(dict.fromkeys(one for values in listed for one in values)) if all(listed) else ()
