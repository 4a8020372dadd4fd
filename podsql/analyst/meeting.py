"""``Connection.intersect``: which pods have the table, what they let be asked, and the answer."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from podsql.analyst.federation import Bound, Federation
from podsql.analyst.intersecting import Asked, Intersection
from podsql.analyst.own_table import arrow_of, own_keys, rows_of
from podsql.errors import Error, error
from podsql.planner.offer import ColumnOffer, TableOffer
from podsql.planner.wire_types import key_kind

Mode = Literal["count", "rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What the analyst wants to know of his own ``data``. ``own_key``: the name of its key column."""

    federation: Federation
    data: Any
    table: str
    """``table``, ``schema.table`` or ``pod.schema.table``."""
    key: str
    own_key: str
    mode: Mode
    purpose: str
    project: str
    timeout: float

    def run(self) -> int | pa.Table:
        """How many of the own keys the pod has; or the own rows whose keys some pod has."""
        if self.mode not in ("count", "rows"):
            raise error("ARGUMENT", "mode is 'count' or 'rows'")
        own = arrow_of(self.data)
        deadline = time.monotonic() + self.timeout
        try:
            return self._run(own, deadline)
        except Error as fault:
            if fault.code != "STALE_OFFER":
                raise
        self.federation.forget(self.purpose, self.project)
        return self._run(own, deadline)

    def _run(self, own: pa.Table, deadline: float) -> int | pa.Table:
        bound = self.federation.bind(self.purpose, self.project, deadline=deadline)
        offers = self._offers(bound)
        if self.mode == "count" and len(offers) > 1:
            raise error(
                "NOT_EXACT",
                "a key may be in several pods, so counts of them do not add up",
                hint=f"name a pod: {min(offers)}.{self._name()}, or ask for mode='rows'",
            )
        matched: set[int] = set()
        places: list[int | None] = []
        for pod, (table, column) in sorted(offers.items()):
            kind = key_kind(column.type)
            if kind is None:
                raise error("NOT_SUPPORTED", f"{self.key!r} of pod {pod!r} is of no type for a key")
            keys, places = own_keys(own, self.own_key, kind)
            asked = Asked(pod=pod, table=table, column=column, keys=keys, tell=self.mode == "rows")
            found = Intersection(
                federation=self.federation,
                bound=bound,
                asked=asked,
                purpose=self.purpose,
                project=self.project,
                deadline=deadline,
            ).run()
            if self.mode == "count":
                return found[0]
            matched.update(found)
        return rows_of(own, places, matched)

    def _name(self) -> str:
        parts = self.table.split(".")
        return ".".join(parts[-2:]) if len(parts) > 1 else f"main.{parts[0]}"

    def _offers(self, bound: Bound) -> dict[str, tuple[TableOffer, ColumnOffer]]:
        """By pod: the table and its key. UNKNOWN_TABLE if no pod lets keys meet it."""
        parts = self.table.split(".")
        named = parts[0] if len(parts) == 3 else None
        if bound.missing and (named is None or named in bound.missing):
            names = ", ".join(repr(name) for name in sorted(bound.missing))
            raise error("PODS_MISSING", f"no answer from {names}", hint="wait, or name another pod")
        wanted = self._name().lower()
        found = {
            pod: table
            for pod, offer in bound.offers.items()
            for table in offer.tables
            if table.name.lower() == wanted and "intersect" in table.uses and named in (None, pod)
        }
        if not found:
            raise error(
                "UNKNOWN_TABLE",
                f"no pod lets your keys meet a table {self.table!r}",
                hint="its custodian may allow = ['intersect']",
            )
        return {pod: (table, self._column(table, pod)) for pod, table in found.items()}

    def _column(self, table: TableOffer, pod: str) -> ColumnOffer:
        found = next((c for c in table.columns if c.name.lower() == self.key.lower()), None)
        if found is None:
            raise error(
                "UNKNOWN_COLUMN", f"pod {pod!r} offers no column {self.key!r} of {table.name}"
            )
        return found
