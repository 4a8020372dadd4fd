"""What the pod believes of its policy services, kept in ``services.json`` beside the audit.

Any thread. Rule to keep: a rise is on the disk before anything is answered on its strength (DISK_FULL
if it cannot be), so that no restart, of the pod or of a service, takes it back. Only a custodian's
``forget`` does.
"""

import threading
from pathlib import Path

import msgspec

from podsql.errors import error
from podsql.policy.revocations import Belief, believe, reached
from podsql.relay.keys import fingerprint_key, replace_file
from podsql.service_messages import Revocations

FILE = "services.json"


class Beliefs:
    """By a service's identity key; one for each that is pinned."""

    def __init__(self, path: Path, fingerprints: tuple[str, ...]) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept = _read(path)
        self._now = {fingerprint_key(mark): self._kept.get(mark, Belief()) for mark in fingerprints}
        self._marks = {fingerprint_key(mark): mark for mark in fingerprints}
        self.heard: dict[bytes, int] = {}
        """When each last spoke (ms since the epoch), in this process."""

    def __contains__(self, service: bytes) -> bool:
        return service in self._now

    def of(self, service: bytes) -> Belief:
        """What is believed of ``service`` now."""
        return self._now[service]

    @property
    def frozen(self) -> bool:
        """Whether any service has stopped this pod."""
        return any(belief.frozen for belief in self._now.values())

    def ended(self, person: bytes) -> bool:
        """Whether any service has ended this person, or this modeller."""
        return any(person in belief.people for belief in self._now.values())

    def reached(self, service: bytes, epoch: int, now: int) -> None:
        """A service spoke of its epoch; Unavailable if it went back."""
        self._move(service, reached(self.of(service), epoch), now)

    def listed(self, service: bytes, found: Revocations, now: int) -> None:
        """A service sent a list; Unavailable if it went back."""
        self._move(service, believe(self.of(service), found, now), now)

    def forget(self, service: bytes) -> None:
        """Believe a service anew, from nothing: the custodian says that it was set up again."""
        self._put(service, Belief())
        self.heard.pop(service, None)

    def _move(self, service: bytes, belief: Belief, now: int) -> None:
        self.heard[service] = now
        self._put(service, belief)

    def _put(self, service: bytes, belief: Belief) -> None:
        mark, lasting = self._marks[service], belief.lasting
        with self._lock:
            self._now[service] = belief
            if self._kept.get(mark, Belief()) != lasting:
                kept = {**self._kept, mark: lasting}
                try:
                    replace_file(self._path, msgspec.json.encode(kept), mode=0o600)
                except OSError:
                    raise error("DISK_FULL", f"{self._path.name!r} cannot be written") from None
                self._kept = kept


def _read(path: Path) -> dict[str, Belief]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Belief])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError):
        # Without it a service could go back unnoticed, so the pod does not start.
        raise error(
            "CONFIG",
            f"{path.name!r} is damaged",
            hint="restore it, or remove it to believe the policy services anew",
        ) from None
