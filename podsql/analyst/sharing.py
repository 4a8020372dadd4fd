"""One session of a member in a process, however many connections are open.

A key has one place at the relay, so a second endpoint of the same key would take it from the first.
"""

import threading
from dataclasses import dataclass
from typing import Final

from podsql.analyst.federation import Federation
from podsql.membership import Membership

_LOCK: Final = threading.Lock()


@dataclass(slots=True)
class _Shared:
    federation: Federation
    users: int


_SHARED: Final[dict[tuple[bytes, str], _Shared]] = {}


def borrow(membership: Membership) -> Federation:
    """The open session of ``membership``; give it back with ``give_back``."""
    with _LOCK:
        known = _SHARED.get(_key(membership))
        if known is None:
            federation = Federation(membership)
            federation.open()
            known = _SHARED[_key(membership)] = _Shared(federation, 0)
        known.users += 1
        return known.federation


def give_back(federation: Federation) -> None:
    """One connection fewer uses it; the last one closes it."""
    with _LOCK:
        known = _SHARED.get(_key(federation.membership))
        if known is None or known.federation is not federation:
            return
        known.users -= 1
        if known.users:
            return
        del _SHARED[_key(federation.membership)]
    federation.close()


def _key(membership: Membership) -> tuple[bytes, str]:
    return membership.keys.curve, membership.relay.endpoint
