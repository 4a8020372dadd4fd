"""Row 4: what this installation is made of, as CycloneDX 1.6: every distribution Python can import.

Written here because it is a page of JSON: the library for it would be a dependency larger than the
thing. Dependencies are those that installed metadata name; markers of other platforms are not judged.
"""

import uuid
from typing import Any, Final

import msgspec

from podsql.times import iso

_NAMESPACE: Final = uuid.UUID("6c1d5c0e-6d0e-5d3b-9a6e-0d6f7f6a2b11")


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution. Names are normalised (PEP 503)."""

    name: str
    version: str
    licence: str
    summary: str
    requires: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def cyclonedx(components: tuple[Component, ...], *, root: str, now: int) -> dict[str, Any]:
    """The document; ``root`` is the component that it is about. Its serial number is of its content."""
    known = {one.name: one for one in components}
    content = "\n".join(sorted(one.purl for one in components))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}",
        "version": 1,
        "metadata": {
            "timestamp": iso(now),
            "tools": {"components": [{"type": "application", "name": "podsql audit infosec"}]},
            "component": _component(known[root], "application"),
        },
        "components": [
            _component(one, "library")
            for one in sorted(components, key=lambda c: c.name)
            if one.name != root
        ],
        "dependencies": [
            {
                "ref": one.purl,
                "dependsOn": sorted(
                    known[name].purl for name in set(one.requires) if name in known
                ),
            }
            for one in sorted(components, key=lambda c: c.name)
        ],
    }


def _component(one: Component, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": kind,
        "bom-ref": one.purl,
        "name": one.name,
        "version": one.version,
        "purl": one.purl,
    }
    if one.summary:
        found["description"] = one.summary
    if one.licence:
        found["licenses"] = [{"license": {"name": one.licence}}]
    return found
