"""Where a relay's directory holds what: the operator writes ``relay.toml``, the relay the rest.

relay.toml   where it listens, which federations it hosts      relay.key     its CURVE key
manifests/   the newest manifest of each federation            disputes.bin  keys that two list
status/      counters of each federation                       status.json   of the process
"""

from pathlib import Path
from typing import Final

FILE: Final = "relay.toml"
KEY: Final = "relay.key"
DISPUTES: Final = "disputes.bin"
STATUS: Final = "status.json"


def manifest_path(home: Path, federation: str) -> Path:
    """The newest manifest of a federation."""
    return home / "manifests" / f"{federation}.bin"


def status_path(home: Path, federation: str) -> Path:
    """The counters of a federation."""
    return home / "status" / f"{federation}.json"
