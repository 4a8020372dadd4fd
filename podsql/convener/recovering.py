"""Join again after the loss or theft of keys: new identity, same name, same directory.

Rule to keep: nothing is deleted; the former membership is moved aside and put back if the join
fails.
"""

from pathlib import Path
from typing import Final

from podsql.convener.joining import Joined, WayOut, join
from podsql.errors import Error, error
from podsql.relay.invite import invite_from_text

FILES: Final = ("federation.toml", "keys.json", "keys.next.json", "manifest.bin")


def rejoin(
    text: str,
    directory: Path,
    *,
    way: WayOut,
    now: int,
    passphrase: str | None = None,
    timeout: float = 20.0,
) -> tuple[Joined, Path]:
    """Redeem a replacing invite in place of a former membership; also where that one is kept."""
    invite_from_text(text)  # before anything is moved
    kept = directory / f"former-{now}"
    if not any((directory / name).exists() for name in FILES):
        raise error("CONFIG", "no former membership here", hint="podsql join INVITE")
    kept.mkdir(mode=0o700)
    _move(directory, kept)
    try:
        return join(text, directory, way=way, now=now, passphrase=passphrase, timeout=timeout), kept
    except Error:
        # The new keys may have reached the manifest; they stay beside the old ones.
        _move(directory, directory / f"unfinished-{now}")
        _move(kept, directory)
        kept.rmdir()
        raise


def _move(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    for name in FILES:
        path = source / name
        if path.exists():
            path.rename(target / name)
