"""A fragment as DuckDB SQL for one pod: literals put back, ``_pod`` filled in, outputs in wire form.

The gate regenerates what it runs from its own reading and adds guards; tests run this text as it
is. Rule to keep: every output is cast, first to its declared type and then to the wire type, so
that both ends know the Arrow schema without asking.
"""

import re
from typing import Final

from podsql.errors import error
from podsql.planner.fragment import Aggregate, Column, Fragment, Literal, Rows
from podsql.planner.literals import literal_sql, lower
from podsql.planner.wire_types import wire_type

_POD: Final = re.compile(
    r"""'(?:[^']|'')*'|((?:(?:"(?:[^"]|"")*"|\w+)\.)?(?:"_pod"|\b_pod\b))|"(?:[^"]|"")*\"""",
    re.DOTALL | re.IGNORECASE,
)


def render(fragment: Fragment, *, pod: str) -> str:
    """The SELECT of an Aggregate or Rows fragment at ``pod``."""
    if isinstance(fragment, Aggregate):
        return _aggregate(fragment, pod)
    if isinstance(fragment, Rows):
        return _rows(fragment, pod)
    raise error("NOT_SUPPORTED", "this kind of fragment has no SQL of its own")


def _aggregate(fragment: Aggregate, pod: str) -> str:
    keys = [_text(key.sql, fragment.literals, pod) for key in fragment.keys]
    outputs = [_output(column, fragment.literals, pod) for column in fragment.keys]
    outputs += [_output(column, fragment.literals, pod) for column in fragment.aggregates]
    grouped = ""
    if fragment.grouping_sets is not None:
        outputs.append(f'CAST(grouping({", ".join(keys)}) AS BIGINT) AS "grouping_id"')
        sets = ", ".join(
            "(" + ", ".join(keys[index] for index in members) + ")"
            for members in fragment.grouping_sets
        )
        grouped = f" GROUP BY GROUPING SETS ({sets})"
    elif keys:
        # In parentheses, or a bare number would be a position in the select list.
        grouped = f" GROUP BY {', '.join(f'({key})' for key in keys)}"
    source = _text(fragment.source, fragment.literals, pod)
    return f"SELECT {', '.join(outputs)} {source}{grouped}"


def _rows(fragment: Rows, pod: str) -> str:
    outputs = ", ".join(_output(column, fragment.literals, pod) for column in fragment.columns)
    source = _text(fragment.source, fragment.literals, pod)
    text = f"SELECT {outputs} {source}"
    if fragment.order:
        terms = [
            f"({_text(fragment.columns[term.column].sql, fragment.literals, pod)})"
            f" {'DESC' if term.descending else 'ASC'}"
            f" NULLS {'FIRST' if term.nulls_first else 'LAST'}"
            for term in fragment.order
        ]
        text += f" ORDER BY {', '.join(terms)}"
    return text if fragment.limit is None else f"{text} LIMIT {int(fragment.limit)}"


def _output(column: Column, literals: tuple[Literal, ...], pod: str) -> str:
    text = f"CAST({_text(column.sql, literals, pod)} AS {column.type})"
    wire = wire_type(column.type)
    if wire != column.type:
        text = f"CAST({text} AS {wire})"
    quoted = column.name.replace('"', '""')
    return f'{text} AS "{quoted}"'


def _text(sql: str, literals: tuple[Literal, ...], pod: str) -> str:
    name = literal_sql(Literal("string", pod))
    filled = _POD.sub(lambda match: name if match[1] else match[0], sql)
    return lower(filled, literals)
