"""This installation, looked at from inside: versions, distributions, where podsql came from.

The one reader of the Python environment here. Rule to keep: it says what it saw, and that a missing
signature is missing.
"""

import importlib.metadata
import json
import os
import platform
import re
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from podsql.governance.sbom import Component

UNIT_PLACES: Final = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
UNIT: Final = "podsql-pod.service"


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    version: str
    python: str
    platform: str
    editable: bool
    origin: str
    """Where podsql was installed from, as pip recorded it."""
    files: int
    files_changed: int
    """Of the files that the wheel's record lists: how many differ or are gone."""
    signature: str
    root: bool
    """Whether this process runs as root."""
    unit: bool
    """Whether the service unit is installed."""
    components: tuple[Component, ...]
    sandbox_held: tuple[str, ...] = ()
    sandbox_missing: tuple[tuple[str, str], ...] = ()
    sandbox_tried: bool = False


def look() -> Installation:
    """Look at this environment; the sandbox is tried by whoever can start a process."""
    mine = importlib.metadata.distribution("podsql")
    files, changed = _record(mine)
    return Installation(
        version=mine.version,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        editable=_direct(mine).get("dir_info", {}).get("editable", False),
        origin=_origin(mine),
        files=files,
        files_changed=changed,
        signature="none: releases of podsql are not signed yet, so only their hashes can be compared",
        root=sys.platform != "win32" and os.geteuid() == 0,
        unit=any((Path(place) / UNIT).exists() for place in UNIT_PLACES),
        components=_components(),
    )


def _components() -> tuple[Component, ...]:
    found: dict[str, Component] = {}
    for one in importlib.metadata.distributions():
        name = _normal(one.name or "")
        if name and name not in found:  # the first on the path is the one that is imported
            found[name] = Component(
                name=name,
                version=one.version,
                licence=_licence(one),
                summary=_said(one, "Summary"),
                requires=tuple(
                    _normal(re.split(r"[^\w.-]", text, maxsplit=1)[0])
                    for text in one.requires or ()
                    if "extra ==" not in text
                ),
            )
    return tuple(found[name] for name in sorted(found))


def _licence(one: importlib.metadata.Distribution) -> str:
    said = _said(one, "License-Expression") or _said(one, "License")
    if said and len(said) < 80 and "\n" not in said:
        return said
    classes = [c for c in one.metadata.get_all("Classifier") or () if c.startswith("License ::")]
    return classes[0].rpartition(" :: ")[2] if classes else ""


def _said(one: importlib.metadata.Distribution, key: str) -> str:
    found = one.metadata.get_all(key) or [""]
    return str(found[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _direct(mine: importlib.metadata.Distribution) -> dict[str, Any]:
    """Pip's record of a direct installation (PEP 610); empty without one."""
    try:
        found = json.loads(mine.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _origin(mine: importlib.metadata.Distribution) -> str:
    said = _direct(mine)
    if said.get("dir_info", {}).get("editable"):
        return "a working copy (editable): its files may change at any time"
    if "archive_info" in said:
        hashes = said["archive_info"].get("hashes") or {}
        return "a file" + "".join(f", {kind} {value}" for kind, value in hashes.items())
    return "a directory" if said else "a package index, or an unknown place"


def _record(mine: importlib.metadata.Distribution) -> tuple[int, int]:
    listed = [file for file in mine.files or () if file.hash is not None]
    changed = 0
    for file in listed:
        assert file.hash is not None
        try:
            data = Path(str(file.locate())).read_bytes()
        except OSError:
            changed += 1
            continue
        found = urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
        changed += file.hash.mode == "sha256" and found != file.hash.value
    return len(listed), changed
