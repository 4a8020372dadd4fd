"""An answer as a notebook shows it: its first rows, and what was said of it.

Rule to keep: every text is escaped, and looking at an answer asks no pod again.
"""

import html
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from podsql.fetching import unique_names

if TYPE_CHECKING:
    import pandas
    import polars

    from podsql.cursor import Cursor

SHOWN: Final = 20
"""Rows that are shown; all are kept."""


class Shown:
    """A whole answer. Give it to pandas or polars (``df``, ``pl``), or to whatever takes Arrow."""

    def __init__(
        self,
        table: pa.Table,
        *,
        types: Sequence[str],
        facts: Sequence[str],
        rows: int = SHOWN,
    ) -> None:
        self.table = table
        self.types = tuple(types)
        self.facts = tuple(facts)
        self._rows = rows

    def arrow(self) -> pa.Table:
        """As it is."""
        return self.table

    def df(self) -> "pandas.DataFrame":
        """As a pandas frame."""
        return self._named().to_pandas()

    def pl(self) -> "polars.DataFrame":
        """As a polars frame."""
        import polars

        frame = polars.from_arrow(self._named())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """For any library that takes Arrow."""
        return self._named().to_reader().__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        names = ", ".join(self.table.column_names)
        return f"{len(self)} rows ({names})\n{' · '.join(self.facts)}"

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th>{html.escape(name)}<br><small>{html.escape(kind)}</small></th>"
            for name, kind in zip(self.table.column_names, self.types, strict=True)
        )
        columns = [column.to_pylist() for column in self.table.slice(0, self._rows).columns]
        body = "".join(
            "<tr>" + "".join(_cell(value) for value in row) + "</tr>"
            for row in zip(*columns, strict=True)
        )
        more = len(self) - self._rows
        facts = [*([f"{more} more rows"] if more > 0 else []), f"{len(self)} rows", *self.facts]
        said = " · ".join(html.escape(fact) for fact in facts)
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p><small>{said}</small></p>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _named(self) -> pa.Table:
        return self.table.rename_columns(unique_names(self.table.column_names))


def shown(cursor: "Cursor", *, started: float, rows: int = SHOWN) -> Shown | None:
    """The rest of the cursor's answer; None where there are no rows to show.

    ``started``: on the performance counter.
    """
    if cursor.description is None:
        return None
    types = [column[1] for column in cursor.description]
    table = cursor.fetch_arrow_table()
    facts = []
    if cursor.pods:
        facts = [cursor.release, f"pods: {', '.join(cursor.pods)}"]
    if cursor.withheld:
        facts.append(f"at least {cursor.withheld} groups withheld")
    if cursor.missing:
        facts.append(f"without {', '.join(cursor.missing)}")
    facts.append(f"{(time.perf_counter() - started) * 1000:.0f} ms")
    return Shown(table, types=types, facts=facts, rows=rows)


def _cell(value: object) -> str:
    if value is None:
        return "<td><i>NULL</i></td>"
    align = " style='text-align:right'" if isinstance(value, int | float) else ""
    return f"<td{align}>{html.escape(str(value))}</td>"
