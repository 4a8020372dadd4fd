"""``predict('m')`` in a statement: the model's own formula over the columns of that name.

What is put there is an ordinary expression, so the planner and every gate judge it like one that was
written by hand, and it runs wherever they let it: in the pods, at the analyst, over temporary tables.
Rule to keep: a category's value that was not declared when the model was trained has no prediction.
"""

from collections.abc import Mapping
from functools import partial

from podsql.analyst.training.shelf import Column, Kept, Shelf
from podsql.engine.training.predicting import outputs
from podsql.engine.training.predicting_sql import predict_sql
from podsql.errors import error
from podsql.planner.syntax import nearest
from podsql.planner.training.predict_calls import PredictCall, predict_calls, replaced


def with_predictions(sql: str, shelf: Shelf) -> str:
    """``sql`` with each ``predict`` written out; UNKNOWN_MODEL, OPTION for an unknown output."""
    calls = predict_calls(sql)
    return replaced(sql, calls, partial(_written, shelf)) if calls else sql


def _written(shelf: Shelf, call: PredictCall) -> str:
    return f"({formula(shelf.get(call.model), call.output)})"


def formula(kept: Kept, output: str) -> str:
    """One output as an expression over the model's columns; empty: the first one. OPTION for another."""
    named = outputs(kept.fitted)
    wanted = output.lower() or ("response" if "response" in named else named[0])
    if not output and "class" in named:
        wanted = "class"
    if wanted not in named:
        raise error(
            "OPTION",
            f"model {kept.name!r} has no output {wanted!r}",
            hint=nearest(wanted, named) or f"known: {', '.join(named)}",
        )
    return expressions(kept)[wanted]


def expressions(kept: Kept) -> Mapping[str, str]:
    """Of every output: an expression over the columns of the model, by their names."""
    return predict_sql(kept.fitted, [_feature(column, kept) for column in kept.features])


def _feature(column: Column, kept: Kept) -> str:
    name = _quoted(column.of)
    if column.level is None:
        return name
    levels = [one.level for one in (*kept.features, *kept.references) if one.of == column.of]
    others = ", ".join(_text(one) for one in levels if one not in (None, column.level))
    rest = f" WHEN {name} IN ({others}) THEN 0" if others else ""
    return f"CASE WHEN {name} = {_text(column.level)} THEN 1{rest} END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str | None) -> str:
    return "'" + (value or "").replace("'", "''") + "'"
