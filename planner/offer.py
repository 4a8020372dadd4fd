"""What a pod offers one analyst for one purpose: the catalog data of the planner.

An offer is computed per analyst and purpose, signed by the pod (context ``podsql/offer/1``) and
cached by ``version``. Without a grant it is empty, as of a pod without tables.
"""

from typing import Literal as OneOf

import msgspec

from podsql.planner.fragment import Disclosure


class ColumnOffer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A column the analyst may use: DuckDB type and the roles policy gives it."""

    name: str
    type: str
    nullable: bool = True
    roles: tuple[str, ...] = ()
    """Of ``entity_key, join_key, dimension, filter, measure``; empty: every role."""
    bins: tuple[float, float, float] | None = None
    """Low and high bound and width of its public bins, where binned quantiles are offered."""
    values: tuple[str, ...] = ()
    """What it may hold, where the policy declares it: texts, or whole numbers as such."""


class TableOffer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A table the analyst may use, as this pod has it. ``name`` is ``schema.table``."""

    name: str
    kind: OneOf["federated", "reference"]
    columns: tuple[ColumnOffer, ...]
    local_keys: tuple[str, ...] = ()
    privacy_unit: str | None = None
    release: OneOf["sdc_local", "sdc_merged", "dp", "rows"] = "sdc_local"
    disclosures: tuple[Disclosure, ...] = ("additive", "moments")
    """Classes of partials that the policy lets leave the pod."""
    content_hash: str = ""
    """Of a reference table: equal in every pod, or the catalog is refused."""
    data_version: str = ""
    policy_hash: str = ""
    min_units: int = 0
    """Cells with fewer privacy units are withheld (0: none are)."""
    psi_count: bool = False
    """Its keys may be counted together with those of other pods, by private set intersection."""
    uses: tuple[str, ...] = ("select",)
    """What it may be used for: ``select`` (statements), ``train`` (models), ``predict``
    (predictions that stay there), ``intersect`` (private intersection with the analyst's own keys)."""


class Offer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything ``pod`` offers; ``version`` is a hash of the rest, named in every request."""

    pod: str
    version: str
    tables: tuple[TableOffer, ...]
    issued: int
    """Milliseconds since the epoch."""
    expires: int
