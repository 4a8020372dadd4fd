"""The gate for rows that stay at the pod as a table of its own: ``PREDICT … INTO LOCAL TABLE``.

What leaves is the number of rows, and it is judged as a count of them would be. What stays may hold
any column that the document lists, but whether it can be written depends on no value: every
expression is total, and of a size that is known beforehand.
"""

import re
from dataclasses import dataclass
from typing import Final

from podsql.planner.fragment import Aggregate, Column, Field, LocalTable, Rows
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.measures import plain_column
from podsql.policy.regenerate import read_outputs, rows_sql
from podsql.policy.roles import require_kept
from podsql.policy.scope import Scope
from podsql.policy.total import without_errors

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""A name of a local table: it becomes the name of a file."""
MODEL: Final = re.compile(r"[0-9a-f]{64}")
MOST_COLUMNS: Final = 100
UNSIZED: Final = ("VARCHAR", "BLOB")
"""Types whose values have any length. One that is computed could make a file's size tell of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOrder:
    """What is run and kept for one fragment."""

    sql: str
    """SELECT of the rows."""
    columns: tuple[Field, ...]
    table: str
    model: str
    overwrite: bool
    guarded: bool
    """Rows may not leave: nothing that the analyst is told may depend on one."""


def counted(fragment: LocalTable) -> Aggregate:
    """The number of rows, as a SELECT would ask for it."""
    return Aggregate(
        source=fragment.source,
        keys=(),
        aggregates=(Column("n", "count(*)", "BIGINT", "additive"),),
        literals=fragment.literals,
    )


def kept_rows(fragment: LocalTable) -> Rows:
    """The rows themselves; Denial for a name that is none."""
    if NAME.fullmatch(fragment.table) is None or MODEL.fullmatch(fragment.model) is None:
        raise Denial("BAD_NAME")
    if len(fragment.columns) > MOST_COLUMNS:
        raise Denial("LIMIT")
    return Rows(source=fragment.source, columns=fragment.columns, literals=fragment.literals)


def local_order(
    fragment: LocalTable, rows: Rows, scope: Scope, policy: Policy, *, guarded: bool
) -> LocalOrder:
    """``scope`` has the columns of ``rows`` as outputs, none of them an aggregate, and its source is checked."""
    outputs = read_outputs(rows)
    if any(output.field.type == "INTERVAL" for output in outputs):
        raise Denial("BAD_TYPE")  # no file of ours holds one
    if guarded:
        for tree, output in zip(scope.outputs, outputs, strict=True):
            require_kept(tree, scope, policy)
            if output.field.type in UNSIZED and plain_column(tree, scope) is None:
                raise Denial("BAD_TYPE")
        scope = without_errors(scope)
    return LocalOrder(
        sql=rows_sql(rows, scope, outputs, may_fail=not guarded),
        columns=tuple(output.field for output in outputs),
        table=fragment.table,
        model=fragment.model,
        overwrite=fragment.overwrite,
        guarded=guarded,
    )
