"""Asking in an analyst's place: what a modeller puts around each question to a pod.

Rule to keep: the order goes as its analyst signed it, with every question anew; a pod keeps none.
"""

from dataclasses import dataclass

from podsql.job_messages import Delegated, Delegation
from podsql.message import Signed
from podsql.messages import encode


@dataclass(frozen=True, slots=True)
class Behalf:
    """``order`` is what ``document`` says."""

    document: Signed
    order: Delegation

    def worded(self, body: bytes) -> bytes:
        """``body`` as it is asked under the order."""
        return encode(Delegated(delegation=self.document, message=body))
