"""A round of a network beside the data: check, read the design, take local steps, answer one row.

Runs in the engine's process, where DuckDB runs. Rule to keep: no row is read into Python before the
check has passed, and nothing of a row is in the answer but what the weights and the loss have of it.
"""

import duckdb
import numpy as np
import pyarrow as pa

from podsql.engine.training.descent import Batchwise, descend, load
from podsql.errors import error
from podsql.planner.training.local_steps import LOCAL_FIELDS, LocalWork, read_work

__all__ = ["load", "local_round"]

_GUARD = "_ok"
_TYPES = (pa.int64(), pa.int64(), pa.float64(), pa.binary())


def local_round(
    con: duckdb.DuckDBPyConnection, check: pa.RecordBatchReader, data: bytes
) -> pa.RecordBatchReader:
    """One row of ``LOCAL_FIELDS``, with the check's guard if it has one.

    ``check`` yields one row with ``n`` and ``dropped``. DATA for targets out of their range or steps that
    end in no finite number.
    """
    work = read_work(data)
    counted = check.read_all()
    guard = counted[_GUARD].to_pylist() if _GUARD in counted.column_names else None
    [n], [dropped] = counted["n"].to_pylist(), counted["dropped"].to_pylist()
    loss, weights = 0.0, work.step.state
    if n and (guard is None or guard == [True]):
        loss, weights = descend(work.step, *_rows(con, work), seed=work.seed)
    values = [n, dropped, loss, weights]
    names = [field.name for field in LOCAL_FIELDS]
    columns = [pa.array([value], kind) for value, kind in zip(values, _TYPES, strict=True)]
    if guard is not None:
        names.append(_GUARD)
        columns.append(pa.array(guard, pa.bool_()))
    return pa.table(columns, names=names).to_reader()


def _rows(con: duckdb.DuckDBPyConnection, work: LocalWork) -> tuple[Batchwise, Batchwise]:
    """Features and targets as 32-bit floats, in the scale of the rounds."""
    statements = con.extract_statements(work.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise error("POD_FAILED", "the engine reads a design by exactly one SELECT")
    columns = con.sql(statements[0]).fetchnumpy()
    found = np.column_stack([np.asarray(one, np.float64) for one in columns.values()])
    step, size = work.step, len(work.step.features)
    x = (found[:, :size] - np.array(step.centre)) / np.array(step.scale)
    y = found[:, size:]
    if step.loss == "squared":
        y = (y - step.aim[0]) / step.aim[1]
    elif not np.isin(y, (0.0, 1.0)).all() or (step.loss == "softmax" and (y.sum(1) != 1).any()):
        raise error("DATA", "a target is neither 0 nor 1, or a row is not of one class")
    return x.astype(np.float32), y.astype(np.float32)
