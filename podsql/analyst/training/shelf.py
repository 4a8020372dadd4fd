"""Where an analyst's models are: one JSON file each, beside the membership, or in memory.

Rule to keep: a model on the shelf is whole and never changes; a new one takes the name only once it
is finished.
"""

import os
import re
import threading
from pathlib import Path
from typing import Final

import msgspec

from podsql.analyst.training.tensors import SUFFIX, read_tensors, write_tensors
from podsql.engine.training.fitted import Fitted
from podsql.errors import Error, error
from podsql.planner.syntax import nearest

MODEL_BYTES: Final = 64 << 20
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the design: its name, of which select item it is, and for which level."""

    name: str
    of: str
    indicator: bool = False
    level: str | None = None


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model with what it was trained on, and when (ms since the epoch)."""

    name: str
    fitted: Fitted
    select: str
    features: tuple[Column, ...]
    targets: tuple[Column, ...]
    references: tuple[Column, ...]
    """First levels of categories, which have no column."""
    pods: tuple[str, ...]
    data_versions: dict[str, str]
    federation: str
    purpose: str
    project: str
    trained: int
    held_back: int = 0
    """Tenths of the people whose rows it has not seen."""


class Shelf:
    """Thread-safe. ``place`` None: the models end with the process."""

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._kept: dict[str, Kept] = {}
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """All models, in order."""
        with self._lock:
            found = set(self._kept)
        if self._place is not None and self._place.is_dir():
            found |= {path.stem for path in self._place.glob("*.json")}
        return tuple(sorted(found))

    def get(self, name: str) -> Kept:
        """The model; UNKNOWN_MODEL with the nearest name."""
        key = checked_name(name)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        if self._place is not None and (self._place / f"{key}.json").is_file():
            found = read_model(self._place / f"{key}.json")
            with self._lock:
                self._kept[key] = found
            return found
        raise self.unknown(name)

    def put(self, kept: Kept) -> None:
        """Keep a finished model under its name, in place of an earlier one."""
        key = checked_name(kept.name)
        if self._place is not None:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_model(kept, self._place / f"{key}.json")
        with self._lock:
            self._kept[key] = kept

    def drop(self, name: str) -> bool:
        """Whether there was such a model."""
        key = checked_name(name)
        with self._lock:
            known = self._kept.pop(key, None) is not None
        if self._place is not None and (self._place / f"{key}.json").is_file():
            (self._place / f"{key}.json").unlink()
            known = True
        return known

    def unknown(self, name: str) -> Error:
        """There is no such model."""
        return error(
            "UNKNOWN_MODEL", f"no model {name!r}", hint=nearest(name.lower(), self.names())
        )


def checked_name(name: str) -> str:
    """The name as it is kept; STATEMENT if it is none."""
    if _NAME.fullmatch(name) is None:
        raise error(
            "STATEMENT",
            "a model's name is of letters, digits and _, at most 63",
            hint="TRAIN MODEL readmission USING …",
        )
    return name.lower()


def write_model(kept: Kept, path: Path) -> None:
    """The whole file, or the one that was there: JSON, or by the name's ending safetensors."""
    if path.suffix == SUFFIX:
        data = write_tensors(msgspec.to_builtins(kept))
    else:
        data = msgspec.json.format(msgspec.json.encode(kept), indent=1)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise error("FILE", f"cannot write {path.name!r}: {fault.strerror}") from None


def read_model(path: Path) -> Kept:
    """A model file (by the name's ending safetensors, else JSON); FILE if it cannot be read, DATA if it is none."""
    try:
        if path.stat().st_size > MODEL_BYTES:
            raise error("DATA", f"{path.name!r} is larger than {MODEL_BYTES} bytes")
        data = path.read_bytes()
    except OSError as fault:
        raise error("FILE", f"cannot read {path.name!r}: {fault.strerror}") from None
    try:
        if path.suffix == SUFFIX:
            return msgspec.convert(read_tensors(data), Kept)
        return msgspec.json.decode(data, type=Kept)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise error("DATA", f"{path.name!r} is not a model of podsql") from None
