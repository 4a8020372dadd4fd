"""``predict('model')`` and ``predict('model', 'output')`` within a statement, and what is put there.

A call is replaced in the text, so that everything after sees an ordinary statement. A call that is a
whole item of a SELECT list keeps its name, as DuckDB names a call.
Rule to keep: only a call of one or two plain strings is one; all other text stays as it was written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from podsql.errors import error
from podsql.planner.tokens import Token, scalar_text, scan

_CLAUSES: Final = (
    *("select", "from", "where", "group", "having", "qualify", "window", "order", "limit"),
    *("offset", "on", "with", "values", "union", "intersect", "except"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictCall:
    """``output`` empty: the model's own choice. ``item``: it is a whole item of a SELECT list."""

    model: str
    output: str
    start: int
    end: int
    item: bool


def predict_calls(sql: str) -> list[PredictCall]:
    """The calls in ``sql``, in order; STATEMENT for one that names no model."""
    if "predict" not in sql.lower():
        return []
    tokens = scan(sql)
    return [
        _call(tokens, place)
        for place, token in enumerate(tokens)
        if token.says("predict") and _opens(tokens, place)
    ]


def replaced(sql: str, calls: Sequence[PredictCall], write: Callable[[PredictCall], str]) -> str:
    """``sql`` with what ``write`` gives in place of each call."""
    parts, done = [], 0
    for call in calls:
        name = sql[call.start : call.end].replace('"', '""')
        parts += [sql[done : call.start], write(call), f' AS "{name}"' if call.item else ""]
        done = call.end
    return "".join([*parts, sql[done:]])


def _opens(tokens: Sequence[Token], place: int) -> bool:
    """Not ``PREDICT`` of a form, nor a function of some schema."""
    following = tokens[place + 1 : place + 2]
    before = tokens[place - 1].text if place else ""
    return bool(following) and following[0].text == "(" and before != "."


def _call(tokens: Sequence[Token], place: int) -> PredictCall:
    close = next(
        (
            n
            for n in range(place + 2, len(tokens))
            if tokens[n].depth == tokens[place + 1].depth and tokens[n].text == ")"
        ),
        None,
    )
    given = [] if close is None else list(tokens[place + 2 : close])
    texts = [scalar_text(one) for one in given[::2]]
    fine = len(given) in (1, 3) and all(one.kind == "string" for one in given[::2])
    if close is None or not fine or any(one.text != "," for one in given[1::2]):
        raise error(
            "STATEMENT",
            "predict takes the name of a model and, if it has several outputs, one of these",
            hint="SELECT predict('m'), predict('m', 'linear') FROM …",
        )
    return PredictCall(
        model=texts[0] or "",
        output=(texts[1] or "") if len(texts) > 1 else "",
        start=tokens[place].start,
        end=tokens[close].end,
        item=_is_item(tokens, place, close),
    )


def _is_item(tokens: Sequence[Token], place: int, close: int) -> bool:
    """Between commas, or the ends, of a SELECT list, without a name of its own."""
    depth = tokens[place].depth
    before = tokens[place - 1] if place else None
    after = tokens[close + 1] if close + 1 < len(tokens) else None
    if before is None or not (before.text == "," or before.says("select", "distinct", "all")):
        return False
    if after is not None and not (after.text in (",", ")", ";") or after.says(*_CLAUSES)):
        return False
    for token in reversed(tokens[:place]):
        if token.depth < depth or (token.depth == depth and token.text == "("):
            return False
        if token.depth == depth and token.says(*_CLAUSES, "by"):
            return token.says("select")
    return False
