"""What the page serves: one tenant a federation, each with a store of its own.

Rule to keep: a request is given exactly one tenant, and nothing here looks from one into another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from podsql.errors import error
from podsql.policy.document import Policy
from podsql.policy.rights import PodTable
from podsql.policy.service.database import Database
from podsql.policy.service.page.attempts import Attempts
from podsql.policy.service.page.page_file import PageFile
from podsql.policy.service.page.sealed import Seal
from podsql.relay.cards import Card

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


class Trial(Protocol):
    """What a dry run says of one part of a statement."""

    @property
    def part(self) -> str:
        """Name of the part."""

    @property
    def allow(self) -> bool:
        """Whether the pod would answer."""

    @property
    def rule(self) -> str:
        """Why not."""

    @property
    def release(self) -> str:
        """How it leaves."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """Columns that would leave."""

    @property
    def min_units(self) -> int:
        """Smallest group shown."""

    @property
    def epsilon(self) -> float | None:
        """What it would cost."""

    @property
    def sql(self) -> str:
        """What the pod would run."""


TryPolicy = Callable[[Policy, Mapping[str, PodTable], str, str], Sequence[Trial]]
"""Policy, tables, statement and who asks to what the gate would say. Reads no row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One federation at this page."""

    name: str
    database: Database
    members: Callable[[], tuple[Card, ...]]
    """Whom the manifest lists, as the serving process last saw it."""
    file: PageFile = field(default_factory=PageFile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The whole page. ``origins``: addresses by which browsers reach it, the first for passkeys.

    ``proxied``: a proxy in front ends TLS, and its last X-Forwarded-For is who asks.
    """

    tenants: Mapping[str, Tenant]
    origins: tuple[str, ...]
    clock: Callable[[], int]
    try_policy: TryPolicy
    proxied: bool = False
    seal: Seal = field(default_factory=Seal)
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def secure(self) -> bool:
        """Whether browsers speak TLS."""
        return self.origins[0].startswith("https://")

    @property
    def hosts(self) -> frozenset[str]:
        """Values of ``Host`` that are ours."""
        return frozenset(urlsplit(origin).netloc for origin in self.origins)

    @property
    def host(self) -> str:
        """The name that passkeys are bound to."""
        return urlsplit(self.origins[0]).hostname or ""

    @property
    def single_sign_on(self) -> bool:
        """Whether any tenant has it: then every sign-in page offers it, known or not."""
        return any(tenant.file.oidc is not None for tenant in self.tenants.values())


def home(federation: str) -> str:
    """Where a federation's pages begin, known or not."""
    return f"/f/{quote(federation, safe='')}/"


def by_name(tenants: Sequence[Tenant]) -> dict[str, Tenant]:
    """Tenants by name; CONFIG if two have the same, or one has none that an address can hold."""
    found: dict[str, Tenant] = {}
    for tenant in tenants:
        if not tenant.name.strip() or "/" in tenant.name or tenant.name in (".", ".."):
            raise error("CONFIG", f"a federation named {tenant.name!r} has no address here")
        if tenant.name in found:
            raise error(
                "CONFIG",
                f"two federations are named {tenant.name!r}",
                hint="serve them by two processes, each with a port of its own",
            )
        found[tenant.name] = tenant
    return found
