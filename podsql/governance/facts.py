"""Everything the artefacts are made of, as plain data: read from a pod's files, or given by a test.

Rule to keep: nothing here reads a file, a clock or the network. Times are ms since the epoch.
"""

from dataclasses import dataclass, field
from typing import Literal

from podsql.governance.declared import Declared
from podsql.policy.audit import Entry
from podsql.policy.document import Policy
from podsql.policy.service.granting import Granted


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOutList:
    """A list of units whose rows are never served: how many, never which."""

    file: str
    units: int | None
    """None: the list cannot be read, so the pod answers nothing over it."""
    changed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table or view of ``pod.toml``."""

    name: str
    kind: Literal["federated", "reference"]
    source: str
    """The file's name, or ``view``."""
    mode: Literal["snapshot", "in_place", "view"]
    privacy_unit: str | None
    local_keys: tuple[str, ...]
    types: dict[str, str]
    refreshed: int | None
    """When the source file was last changed."""
    opt_out: OptOutList | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A card of the manifest."""

    name: str
    role: str
    fingerprint: str
    created: int
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where the pod connects to, and by which trust."""

    federation: str
    federation_fingerprint: str
    relay: str
    way: str
    """``direct``, or the kind of proxy; never its password."""
    private_ca: bool
    manifest_version: int | None
    issued: int | None
    expires: int | None
    fingerprint: str | None
    """The pod's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A secret of this pod, from outside: never its content."""

    name: str
    use: str
    made: int | None
    sealed: str
    """How it rests on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What the ledger says of one request."""

    request_id: str
    epsilon: float
    delta: float
    noise: tuple[float, ...]
    """Standard deviation of each figure's noise, in its own units; empty if it is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One scope of the ledger."""

    scope: str
    epsilon: float
    cap: float | None
    releases: int
    resets: tuple[tuple[int, str], ...]
    """When the custodian started it again, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The audit log."""

    entries: tuple[Entry, ...]
    removed: int = 0
    pruned_before: int | None = None
    head: str = "0" * 64
    fault: str = ""
    """Why the chain does not verify; empty if it does."""

    @property
    def count(self) -> int:
        """Lines that were ever written."""
        return self.removed + len(self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A pod at one moment."""

    now: int
    pod: str
    policy: Policy
    policy_hash: str
    services: int
    """Policy services that must agree, as ``pod.toml`` lists them."""
    tables: tuple[Table, ...]
    members: tuple[Member, ...]
    network: Network | None
    keys: tuple[Key, ...]
    declared: Declared
    log: Log
    payments: dict[str, Payment]
    budgets: tuple[Budget, ...]
    policies: dict[str, Policy] = field(default_factory=dict)
    """Documents that were served before, by digest."""
    grants: tuple[Granted, ...] = ()
    """Of a policy service, where its file was given."""
    isolation: str = "process"
    witness_apart: bool | None = None
    """Whether the ledger's witness lies on another disk than the state; None: no witness yet."""

    def policy_of(self, digest: str) -> Policy | None:
        """The document of a digest, if it is known here."""
        return self.policy if digest == self.policy_hash else self.policies.get(digest)

    def member(self, fingerprint: str) -> Member | None:
        """The card of a key, revoked ones included."""
        return next((one for one in self.members if one.fingerprint == fingerprint), None)
