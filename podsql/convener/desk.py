"""The convener's directory: where each file lies, and its membership files.

    federation.toml    membership of the convener itself (public)      manifest.bin   the manifest
    federation.key     the federation key, 0600      convener.json     keys of `podsql federation …`
    registrar.toml     membership of the registrar   registrar.json    keys of the registrar
    relay/             all that a relay's process gets: no secret of the federation lies in it

Rule to keep: ``manifest.bin`` is the truth, written under the lock only; what the relay served to
either peer is kept apart (``*-seen.bin``), so that a fetch never overwrites an edit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podsql.errors import error
from podsql.membership import (
    FederationSection,
    MembershipFile,
    MeSection,
    RelaySection,
    read_membership_file,
)

CONVENER: Final = "convener"
REGISTRAR: Final = "registrar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Paths of one federation's directory."""

    home: Path

    @property
    def membership(self) -> Path:
        """Membership file of the convener."""
        return self.home / "federation.toml"

    @property
    def registrar(self) -> Path:
        """Membership file of the registrar."""
        return self.home / "registrar.toml"

    @property
    def federation_key(self) -> Path:
        """The federation key."""
        return self.home / "federation.key"

    @property
    def manifest(self) -> Path:
        """The newest manifest signed here."""
        return self.home / "manifest.bin"

    @property
    def lock(self) -> Path:
        """Held while a manifest is edited."""
        return self.home / "lock"

    @property
    def relay(self) -> Path:
        """Directory of the relay's process."""
        return self.home / "relay"

    @property
    def relay_file(self) -> Path:
        """The relay's configuration; absent when somebody else runs the relay."""
        return self.relay / "relay.toml"

    def file(self) -> MembershipFile:
        """The public description of the federation."""
        return read_membership_file(self.membership)


def open_desk(home: Path) -> Desk:
    """The directory of a founded federation; CONFIG if there is none."""
    desk = Desk(home=home)
    if not desk.federation_key.exists() or not desk.membership.exists():
        raise error(
            "CONFIG",
            f"no federation in {str(home)!r}",
            hint="podsql federation init NAME --relay tcp://HOST:PORT founds one; --dir names it",
        )
    return desk


def peer_file(name: str, fingerprint: str, relay: RelaySection, *, peer: str) -> MembershipFile:
    """Membership of one of the two convener peers."""
    return MembershipFile(
        federation=FederationSection(name=name, fingerprint=fingerprint),
        relay=relay,
        me=MeSection(name=peer, role="convener", keys=f"{peer}.json", manifest=f"{peer}-seen.bin"),
    )
