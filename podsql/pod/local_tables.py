"""Predictions that stay at the pod: one Parquet file a table, and a card of it beside, both mode 0600.

The card stands in the file too, so that a table is there, with its card, once one rename is done; the
JSON beside it is for people and lists. Rule to keep: one person is told of another's table that its name is taken
and no more, and what an analyst is told depends on names and numbers of tables alone, never on the size of one.
"""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from podsql.errors import Error, error
from podsql.policy.local_tables import NAME
from podsql.relay.keys import replace_file

if TYPE_CHECKING:
    import pyarrow.parquet as pq

DAY_MS: Final = 24 * 3600 * 1000
CARD: Final = b"podsql"
"""Name of the card among a Parquet file's own notes."""
DRAFT: Final = re.compile(rf"\.({NAME.pattern})\.[0-9a-f]{{16}}\.new")


class TableCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who had a table written, when and of what. Hashes and keys are hexadecimal."""

    table: str
    analyst: str
    fingerprint: str
    statement: str
    statement_id: str
    statement_hash: str
    model: str
    purpose: str
    project: str
    tables: tuple[str, ...]
    """What it was made from."""
    columns: tuple[str, ...]
    data_version: str
    policy_hash: str
    created: int
    """ms since the epoch."""
    rows: int = 0
    bytes: int = 0


class Draft:
    """A table while it is written. ``close`` drops it, unless it was kept."""

    def __init__(self, folder: Path, card: TableCard) -> None:
        self.card = card
        self.rows = 0
        self.path: Path | None = folder / f".{card.table}.{os.urandom(8).hex()}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "wb")
        except OSError:
            raise _full() from None
        self._writer: pq.ParquetWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """More rows; DISK_FULL if they cannot be written."""
        try:
            self._open(batch.schema).write_batch(batch)
        except (OSError, pa.ArrowException):
            raise _full() from None
        self.rows += batch.num_rows

    def finish(self, schema: pa.Schema) -> TableCard:
        """The table is whole and on the disk; ``schema`` is needed where it has no rows."""
        try:
            self._open(schema).close()
            self._file.flush()
            os.fsync(self._file.fileno())
            size = os.fstat(self._file.fileno()).st_size
        except (OSError, pa.ArrowException):
            raise _full() from None
        self._file.close()
        return msgspec.structs.replace(self.card, rows=self.rows, bytes=size)

    def close(self) -> None:
        """Drop the rows."""
        if self._writer is not None:
            self._writer.is_open = False  # else it would end the file that goes
        try:
            self._file.close()
        except OSError:
            pass  # what was still to be written goes with the rest
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def _open(self, schema: pa.Schema) -> "pq.ParquetWriter":
        if self._writer is None:
            import pyarrow.parquet as pq  # loaded where a table is written, in no other pod

            noted = schema.with_metadata({CARD: msgspec.json.encode(self.card)})
            self._writer = pq.ParquetWriter(self._file, noted, compression="zstd")
        return self._writer


class LocalTables:
    """The folder. Thread-safe; one running pod writes there."""

    def __init__(self, folder: Path, *, most_rows: int, most_tables: int, days: float) -> None:
        self.most_rows = most_rows
        self._folder = folder
        self._most_tables = most_tables
        self._life = int(days * DAY_MS)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Drop what an earlier process left half written; cards become those of the tables there are."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            raise error("CONFIG", "the folder of local_tables.path cannot be made") from None
        for path in self._folder.iterdir():
            alone = path.suffix == ".json" and not self._data(path.stem).exists()
            if DRAFT.fullmatch(path.name) or (alone and self._read(path.stem) is not None):
                path.unlink(missing_ok=True)
        for path in self._files():
            known, own = self._read(path.stem), _card_within(path)
            if own is not None and (known is None or known.statement_id != own.statement_id):
                self._write_card(own)

    def require_room(
        self, table: str, fingerprint: str, statement_id: str, *, overwrite: bool
    ) -> None:
        """FILE_EXISTS unless the name is free, or is the person's own and may be overwritten; QUOTA if
        the person has as many tables as may be kept.

        What the same statement has written is its own: it is asked again where a pod moved on.
        """
        held = {path.stem: self._read(path.stem) for path in self._files()}
        if self._card(table).exists() and self._read(table) is None:
            held[table] = None  # a file that is no card of ours: the custodian's own
        if table in held:
            card = held[table]
            own = card is not None and card.fingerprint == fingerprint
            again = own and card is not None and card.statement_id == statement_id
            if not (own and (overwrite or again)):
                raise error(
                    "FILE_EXISTS",
                    "there is a local table of this name",
                    hint="choose another name; WITH (overwrite = true) writes over one of your own",
                )
            return
        if sum(c is not None and c.fingerprint == fingerprint for c in held.values()) >= (
            self._most_tables
        ):
            raise error(
                "QUOTA",
                f"the custodian keeps at most {self._most_tables} local tables of one person",
                hint="write over one of your own, or ask the custodian to remove some",
            )

    def draft(self, card: TableCard) -> Draft:
        """Begin a table."""
        return Draft(self._folder, card)

    def keep(
        self,
        draft: Draft,
        card: TableCard,
        *,
        overwrite: bool,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Put a finished draft in its place, once ``before`` is done; the errors of ``require_room`` if
        that was taken since."""
        with self._lock:
            self.require_room(card.table, card.fingerprint, card.statement_id, overwrite=overwrite)
            assert draft.path is not None
            before()
            try:
                self._write_card(card)  # needs room on the disk, which a new name does not
                os.replace(draft.path, self._data(card.table))
                draft.path = None
                folder = os.open(self._folder, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            except OSError:
                raise _full() from None

    def all(self) -> list[TableCard]:
        """Every table, by name."""
        found = (self._read(path.stem) for path in sorted(self._files()))
        return [card for card in found if card is not None]

    def one(self, table: str) -> TableCard:
        """The table of a name; ARGUMENT if there is none."""
        for card in self.all():
            if card.table == table:
                return card
        raise error("ARGUMENT", f"no local table {table!r}", hint="podsql pod tables")

    def expires(self, card: TableCard) -> int:
        """Until when it is kept (ms since the epoch)."""
        return card.created + self._life

    def file(self, card: TableCard) -> Path:
        """Where a table lies."""
        return self._data(card.table)

    def drop(self, card: TableCard) -> None:
        """Remove a table."""
        with self._lock:
            self._data(card.table).unlink(missing_ok=True)
            self._card(card.table).unlink(missing_ok=True)

    def expired(self, now: int) -> list[TableCard]:
        """What was kept long enough."""
        return [card for card in self.all() if now >= self.expires(card)]

    def _files(self) -> list[Path]:
        """Also of others' making: a name that is taken is taken."""
        return [path for path in self._folder.glob("*.parquet") if NAME.fullmatch(path.stem)]

    def _read(self, table: str) -> TableCard | None:
        try:
            return msgspec.json.decode(self._card(table).read_bytes(), type=TableCard)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _write_card(self, card: TableCard) -> None:
        text = msgspec.json.format(msgspec.json.encode(card), indent=1)
        replace_file(self._card(card.table), text + b"\n", mode=0o600)

    def _data(self, table: str) -> Path:
        return self._folder / f"{table}.parquet"

    def _card(self, table: str) -> Path:
        return self._folder / f"{table}.json"


def _card_within(path: Path) -> TableCard | None:
    """The card that a Parquet file holds; None of one that is not ours."""
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path)
        note = (found.metadata or {}).get(CARD, b"")
        card = msgspec.json.decode(note, type=TableCard)
    except (OSError, pa.ArrowException, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if card.table != path.stem:
        return None
    return msgspec.structs.replace(card, rows=found.num_rows, bytes=path.stat().st_size)


def _full() -> Error:
    return error(
        "DISK_FULL",
        "a local table cannot be written: nothing of it is kept",
        hint="ask the custodian",
    )
