"""Marks of the designs of a model's rounds: by them a pod knows that a round is of what was ordered.

A mark is a keyed hash of FROM, WHERE, literals, part of the people, every feature and every target, and of
whether the sums leave under masks. Rule to keep: whatever decides which rows and values a round adds up, and who
sees the sums, is in the mark, and all of it in one: of fewer columns other rows are complete. Coefficients
and scales are not.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from podsql.planner.fragment import Feature, Literal, ModelStep, Split
from podsql.planner.training.designing import Design


def marks_of(design: Design, key: bytes, *, masked: bool) -> tuple[bytes, ...]:
    """One for each design that a round may ask a pod for; ``key``: the job's id."""
    found = set()
    for part in design.parts:
        for references in (False, True):
            features, targets = design.asked(part, references=references)
            if features or targets:
                rows = (part.source, part.literals, design.split)
                found.add(_mark(*rows, features, targets, masked=masked, key=key))
    return tuple(sorted(found))


def mark_asked(step: ModelStep, key: bytes) -> bytes:
    """That of the design of ``step``."""
    rows = (step.source, step.literals, step.split)
    return _mark(*rows, step.features, step.targets, masked=step.masked, key=key)


def _mark(
    source: str,
    literals: Sequence[Literal],
    split: Split | None,
    features: Sequence[Feature],
    targets: Sequence[Feature],
    *,
    masked: bool,
    key: bytes,
) -> bytes:
    columns = [[(one.sql, one.indicator) for one in group] for group in (features, targets)]
    parts = (source, tuple(literals), split, columns, masked)
    body = msgspec.msgpack.encode(parts)
    return blake2b(body, digest_size=16, key=key, person=b"ps-design").digest()
