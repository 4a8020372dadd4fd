"""Grants that policy services signed for this pod, as they came with offers: verified, and kept an hour.

They say whose offers a revoked grant was behind, and where ``[policy] mode = "offline"`` allows it
they decide while a service is silent. I/O thread only.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from podsql.service_messages import Grant

KEPT: Final = 16_384
Key = tuple[bytes, bytes, str, str]
"""Service, analyst, purpose, project."""


class KeptGrants:
    """The last answer of each service about each analyst, purpose and project."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[Grant, ...]] = OrderedDict()

    def keep(self, key: Key, grants: tuple[Grant, ...]) -> None:
        """``grants`` were verified for ``key``."""
        self._kept[key] = grants
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def of(self, key: Key) -> tuple[Grant, ...]:
        """What was kept; whether it is in force still is the caller's to judge."""
        return self._kept.get(key, ())

    def holders(self, grant_ids: Iterable[str]) -> dict[str, bytes]:
        """Analyst by grant id, of those that are known here."""
        wanted = frozenset(grant_ids)
        return {
            grant.grant_id: key[1]
            for key, grants in self._kept.items()
            for grant in grants
            if grant.grant_id in wanted
        }
