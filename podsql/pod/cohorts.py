"""Sets of pods that a pod sums a table with: the sum over one, less that over another, tells of the difference.

Two sets over the same data may be gone on with after each other, never be opened both. A sum is opened
once a quorum has signed its list, and tells something only if every pod of the job brought its
figures. So a pod that signed keeps to that set; before, it may go on with a smaller one, of a quorum
of each that went before, and signs none of these any more. Then the figures of an honest pod are in
opened sums of one set at most (docs/decisions/0023).
Rule to keep: what was brought and signed is on the ledger before it leaves.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from podsql.errors import Error, error

MOST: Final = 64
"""Sets of one table over the same data; they are compared one by one."""
_SIGNED: Final = b"signed"


class Cohort(msgspec.Struct, frozen=True, array_like=True):
    """The pods of a job of secure sums."""

    pods: tuple[str, ...]
    quorum: int
    """So many of them open a sum."""
    apart: tuple[str, ...] = ()
    """Those whose custodians let the same be summed without them, as each signed with its key; none where
    this pod's does not."""


class Answers(Protocol):
    """The part of the ledger that keeps what left, once and for all."""

    def answer(self, fingerprint: bytes) -> bytes | None:
        """What is kept."""
        ...

    def keep_answer(self, fingerprint: bytes, body: bytes) -> None:
        """Keep it, unless there is one by now."""
        ...


class Cohorts:
    """Of all tables of one pod. Methods wait for the disk; from any thread."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._lock = threading.Lock()

    def bring(self, scopes: Sequence[bytes], cohort: Cohort, *, at_once: bool = False) -> None:
        """Figures of ``scopes`` (project, data and table) may go under the masks of ``cohort``; or DENIED.

        ``at_once``: it holds as if it were signed by now."""
        with self._lock:
            # What is denied leaves no mark, or it would decide for the statements that follow.
            places = {scope: self._place(scope, cohort) for scope in scopes}
            for scope, place in places.items():
                self._keep(_mark(scope, place), msgspec.msgpack.encode(cohort))
                if at_once:
                    self._keep(_mark(scope, place, _SIGNED), _SIGNED)

    def sign(self, scopes: Sequence[bytes], cohort: Cohort) -> None:
        """The sum over ``cohort`` may be opened; DENIED once figures were brought to its successor."""
        with self._lock:
            places = {scope: self._unfollowed(scope, cohort) for scope in scopes}
            for scope, place in places.items():
                self._keep(_mark(scope, place, _SIGNED), _SIGNED)

    def _place(self, scope: bytes, cohort: Cohort) -> int:
        """Where ``cohort`` stands among the sets, or is to stand; DENIED."""
        known = self._known(scope)
        for place, other in enumerate(known):
            if other.pods == cohort.pods or _free(other, cohort):
                continue
            if self._signed(scope, place) or not _succeeds(cohort, other):
                raise _other_pods()
        found = next((at for at, one in enumerate(known) if one.pods == cohort.pods), len(known))
        if found == MOST:
            raise _other_pods()
        return found

    def _unfollowed(self, scope: bytes, cohort: Cohort) -> int:
        """Where ``cohort`` stands; DENIED where others that it is not free of came after it."""
        known = self._known(scope)
        place = [one.pods for one in known].index(cohort.pods)
        if not all(_free(known[place], later) for later in known[place + 1 :]):
            raise _other_pods()
        return place

    def _keep(self, mark: bytes, body: bytes) -> None:
        # A round of a set that is known does not wait for the disk.
        if self._answers.answer(mark) is None:
            self._answers.keep_answer(mark, body)

    def _known(self, scope: bytes) -> list[Cohort]:
        """The sets that figures were brought to, in that order."""
        found: list[Cohort] = []
        while (body := self._answers.answer(_mark(scope, len(found)))) is not None:
            found.append(msgspec.msgpack.decode(body, type=Cohort))
        return found

    def _signed(self, scope: bytes, place: int) -> bool:
        return self._answers.answer(_mark(scope, place, _SIGNED)) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one request's figures are of, and whom they are summed with."""

    cohorts: Cohorts
    scopes: Sequence[bytes]
    cohort: Cohort
    at_once: bool = False
    """These stay its pods from the first figures on, whatever becomes of the sum."""

    def bring(self) -> None:
        """Before they are masked."""
        self.cohorts.bring(self.scopes, self.cohort, at_once=self.at_once)

    def sign(self) -> None:
        """Before their sum is opened."""
        self.cohorts.sign(self.scopes, self.cohort)


def scope_of(project: str, data_version: str, table: str) -> bytes:
    """One project, one table, one state of its data."""
    parts = (project, data_version, table)
    return blake2b(msgspec.msgpack.encode(parts), digest_size=32, person=b"ps-sum-cohort").digest()


def _free(one: Cohort, two: Cohort) -> bool:
    """Both may be opened: the custodians of this pod and of all that are in one of them alone let them."""
    differing = set(one.pods) ^ set(two.pods)
    return bool(one.apart and two.apart) and differing <= {*one.apart, *two.apart}


def _succeeds(cohort: Cohort, earlier: Cohort) -> bool:
    """The pods that ``earlier`` has more, with those in league, are too few to open it."""
    return set(cohort.pods) < set(earlier.pods) and len(cohort.pods) >= earlier.quorum


def _mark(scope: bytes, place: int, kind: bytes = b"") -> bytes:
    return blake2b(
        scope + place.to_bytes(2) + kind, digest_size=32, person=b"ps-sum-cohort"
    ).digest()


def _other_pods() -> Error:
    return error(
        "DENIED",
        "figures of these tables were summed with other pods before",
        hint="ask the same pods, wait for new data, or ask the custodians for [sums] least",
    )
