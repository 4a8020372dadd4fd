"""Marks of the columns of a model: by them a pod knows that a round is over what was ordered.

A mark is a keyed hash of one column's text with its FROM, WHERE, literals and part of the people. Rule to keep: whatever
decides which rows and values a round adds up is in the mark; coefficients and scales are not.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from podsql.planner.fragment import Feature, Literal, ModelStep, Split
from podsql.planner.training.designing import Design


def marks_of(design: Design, key: bytes) -> tuple[bytes, ...]:
    """One for each column that a round of ``design`` may ask a pod for; ``key``: the job's id."""
    found: set[bytes] = set()
    for part in design.parts:
        columns = [one for group in design.given(part) for one in group]
        found |= _marks(part.source, part.literals, design.split, columns, key)
    return tuple(sorted(found))


def marks_asked(step: ModelStep, key: bytes) -> frozenset[bytes]:
    """Those of the columns that ``step`` asks for."""
    columns = (*step.features, *step.targets)
    return frozenset(_marks(step.source, step.literals, step.split, columns, key))


def _marks(
    source: str,
    literals: Sequence[Literal],
    split: Split | None,
    columns: Iterable[Feature],
    key: bytes,
) -> set[bytes]:
    rows = msgspec.msgpack.encode((source, tuple(literals), split))
    return {
        blake2b(
            msgspec.msgpack.encode((rows, one.sql, one.indicator)),
            digest_size=16,
            key=key,
            person=b"ps-column",
        ).digest()
        for one in columns
    }
