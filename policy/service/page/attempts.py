"""How often one address may try to sign in: failures in the last ten minutes, kept in memory."""

import threading
from collections import OrderedDict
from ipaddress import ip_address
from typing import Final

WINDOW_MS: Final = 10 * 60_000
PER_ADDRESS: Final = 30
KEPT: Final = 10_000


class Attempts:
    """Failures by address (of IPv6, by its /64, which is one customer's)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, list[int]] = OrderedDict()

    def take(self, address: str, now: int) -> bool:
        """Whether ``address`` may try now; counted before the outcome, so that no flood runs ahead."""
        with self._lock:
            block = _block(address)
            recent = self._recent(block, now)
            if len(recent) >= PER_ADDRESS:
                return False
            self._failed[block] = [*recent, now]
            self._failed.move_to_end(block)
            if len(self._failed) > KEPT:
                self._failed.popitem(last=False)
            return True

    def succeeded(self, address: str) -> None:
        """The last one was none to count."""
        with self._lock:
            times = self._failed.get(_block(address))
            if times:
                times.pop()

    def _recent(self, block: str, now: int) -> list[int]:
        return [time for time in self._failed.get(block, ()) if now - time < WINDOW_MS]


def _block(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    return found.exploded[:19] if found.version == 6 else str(found)
