"""``modeller.toml``: for whom a modeller works, and how much. Beside its ``federation.toml``.

    [modeller]
    analysts = ["ana", "ben"]   # names in the manifest, or fingerprints; nobody else is served
    jobs = 2                    # trained at the same time
    jobs_per_analyst = 1        # of these
    queue = 20                  # jobs of one analyst that have not ended
    keep_days = 30              # so long an ended job and its model are kept

Rule to keep: who is not named here is refused before anything of a message is looked at.
"""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import tomli

from podsql.errors import error
from podsql.relay.cards import Card

FILE: Final = "modeller.toml"
CONFIG_BYTES: Final = 64 * 1024
"""A larger file is refused before it is parsed."""
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[modeller]``."""

    analysts: tuple[str, ...]
    jobs: Count = 2
    jobs_per_analyst: Count = 1
    queue: Count = 20
    keep_days: Annotated[float, msgspec.Meta(gt=0, le=366)] = 30.0

    def serves(self, card: Card) -> bool:
        """Whether jobs of this member are taken."""
        named = card.name in self.analysts or card.fingerprint in self.analysts
        return card.role == "analyst" and named


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    modeller: Section


def load_config(home: Path) -> Section:
    """Read ``modeller.toml`` in ``home`` strictly; CONFIG says what is wrong."""
    path = home / FILE
    hint = "podsql modeller init --analyst NAME writes one"
    try:
        data = path.read_bytes()
    except OSError:
        raise error("CONFIG", f"cannot read {FILE!r}", hint=hint) from None
    if len(data) > CONFIG_BYTES:
        raise error("CONFIG", f"{FILE!r} is larger than {CONFIG_BYTES} bytes")
    try:
        return msgspec.convert(tomli.loads(data.decode()), _File).modeller
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise error("CONFIG", f"{FILE!r} is not valid TOML", hint=hint) from None
    except msgspec.ValidationError as fault:
        raise error("CONFIG", f"{FILE!r}: {str(fault).lower()}", hint=hint) from None
