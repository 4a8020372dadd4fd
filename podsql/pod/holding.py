"""What a pod serves at one moment: a snapshot of its data and the gate that judges over it.

Replaced as a whole by a refresh; statements already running finish on the one they began with.
"""

from dataclasses import dataclass
from pathlib import Path

from podsql.engine.job import Dataset
from podsql.pod.opting_out import Watch
from podsql.policy.gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Data and policy of one version."""

    gate: Gate
    database: Path
    datasets: tuple[Dataset, ...]
    data_version: str
    opted_out: Watch
    """The opt-out lists that the snapshot was built without."""
