"""``pod.toml`` and ``policy.toml`` from the options of ``podsql join`` and ``podsql pod init``.

Rule to keep: what is written is read back by the pod's own strict readers before it is announced,
and a file that exists is never overwritten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from podsql.cli.options import named
from podsql.errors import error
from podsql.membership import toml_text

PRESET: Final = "standard"
EVERYBODY: Final = 'people = "*"'
"""The line of a preset that ``--allow`` narrows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodChoice:
    """What a custodian chose on the command line; tables by name."""

    tables: dict[str, str]
    references: frozenset[str]
    units: dict[str, str]
    local_keys: dict[str, list[str]]
    allow: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        tables: list[str] | None,
        references: list[str] | None,
        units: list[str] | None,
        local_keys: list[str] | None,
        allow: list[str] | None,
    ) -> Self:
        """Read the options; ARGUMENT for a table named twice."""
        federated = _single(named(tables or [], "--table"), "--table")
        shared = _single(named(references or [], "--reference"), "--reference")
        both = sorted(federated.keys() & shared.keys())
        if both:
            raise error("ARGUMENT", f"{both[0]!r} is both --table and --reference")
        return cls(
            tables={**federated, **shared},
            references=frozenset(shared),
            units=_single(named(units or [], "--privacy-unit"), "--privacy-unit"),
            local_keys=named(local_keys or [], "--local-key"),
            allow=tuple(allow or ()),
        )


def check_choice(choice: PodChoice, *, serving: bool) -> None:
    """ARGUMENT for what can be seen to be wrong before anything is written."""
    from podsql.pod.config import qualified
    from podsql.relay.keys import parse_fingerprint

    for name, path in choice.tables.items():
        qualified(name)
        if not Path(path).expanduser().exists():
            raise error("ARGUMENT", f"table {name!r}: no file {path!r}")
    for name in sorted(choice.units.keys() | choice.local_keys.keys()):
        if name not in choice.tables:
            raise error("ARGUMENT", f"{name!r} is not a --table")
    for mark in choice.allow:
        if mark != "*" and parse_fingerprint(mark) != mark:
            raise error("ARGUMENT", "a fingerprint is lower-case", hint=parse_fingerprint(mark))
    if serving and not choice.tables:
        raise error("ARGUMENT", "--serve needs a table", hint="--table visits=visits.csv")


def write_pod(choice: PodChoice, directory: Path, preset: str = PRESET) -> Path:
    """Write both files beside ``federation.toml``; the path of ``pod.toml``."""
    from podsql.pod.config import load_pod_config
    from podsql.policy.document import load_policy

    pod, policy = directory / "pod.toml", directory / "policy.toml"
    for path in (pod, policy):
        if path.exists():
            raise error("CONFIG", f"{str(path)!r} exists", hint="edit it, or remove it first")
    policy.write_text(policy_file(choice, preset, _names(directory)), encoding="utf-8")
    pod.write_text(pod_file(choice), encoding="utf-8")
    load_policy(policy)
    load_pod_config(pod)
    return pod


def pod_file(choice: PodChoice) -> str:
    """The text of ``pod.toml``."""
    from podsql.pod.config import qualified

    sections: dict[str, dict[str, Any]] = {
        "pod": {"federation": "federation.toml", "state": "state"},
        "policy": {"file": "policy.toml"},
    }
    for name, path in choice.tables.items():
        sections[f'tables."{qualified(name)}"'] = {
            "path": str(Path(path).expanduser().resolve()),
            "kind": "reference" if name in choice.references else None,
            "privacy_unit": choice.units.get(name),
            "local_keys": choice.local_keys.get(name),
        }
    return toml_text(sections)


def policy_file(choice: PodChoice, preset: str, names: Mapping[str, str]) -> str:
    """The text of ``policy.toml``: the preset's own file, with its ``people`` line rewritten.

    ``names`` maps fingerprints to the names that the manifest gives them.
    """
    from podsql.policy.document import preset_bytes

    text = preset_bytes(preset).decode()
    if "*" in choice.allow:
        return text
    people = {names.get(mark, f"person-{at}"): mark for at, mark in enumerate(choice.allow, 1)}
    listed = ", ".join(f'"{name}" = "{mark}"' for name, mark in people.items())
    lines = text.splitlines()
    lines[lines.index(EVERYBODY)] = f"people = {{ {listed} }}" if listed else "people = {}"
    return "\n".join(lines) + "\n"


def _names(directory: Path) -> dict[str, str]:
    """Fingerprint to name, of the members in the manifest of ``directory``."""
    from podsql.membership import read_membership_file
    from podsql.relay.manifest import ManifestStore

    file = read_membership_file(directory / "federation.toml")
    store = ManifestStore(directory / file.me.manifest, file.federation.fingerprint)
    members = store.current.members() if store.current else ()
    return {card.fingerprint: card.name for card in members}


def _single(found: dict[str, list[str]], what: str) -> dict[str, str]:
    for name, values in found.items():
        if len(values) > 1:
            raise error("ARGUMENT", f"{what} names {name!r} twice")
    return {name: values[0] for name, values in found.items()}
