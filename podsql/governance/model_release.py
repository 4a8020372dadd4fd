"""Row 17: the models that were trained here, from the log, and the release form for one of them.

Rule to keep: what a pod cannot know of a model (its name, its file, where it goes) is left to be filled in.
"""

from collections.abc import Iterable, Iterator

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Code, Grid, Heading, Items, Page, Pairs, Part, Text
from podsql.governance.plain import leaving
from podsql.governance.selecting import answered
from podsql.policy.audit import Entry
from podsql.times import iso


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that rounds of a model were asked for, and what left this pod for it."""

    statement_id: str
    statement: str
    person: str
    fingerprint: str
    purpose: str
    project: str
    tables: tuple[str, ...]
    first: str
    last: str
    rounds: int
    """Rounds whose sums left."""
    kinds: tuple[str, ...]
    refused: int
    """Rounds that were denied, withheld or failed."""
    bytes: int
    epsilon: float
    delta: float
    data_versions: tuple[str, ...]
    policy_hashes: tuple[str, ...]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the form, and what is known of it here."""

    about: str
    question: str
    answer: str


class ModelRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The models, and the form."""

    pod: str
    at: str
    version: str
    training_allowed: bool
    summary: str
    models: tuple[Trained, ...]
    form: tuple[Question, ...]
    leaving: tuple[str, ...]
    """What may leave of the tables, in words."""


_TO_FILL = "to be filled in for the model"


def model_release(facts: Facts, version: str) -> ModelRelease:
    """What the log says of models, and the form with what the policy already answers."""
    policy = facts.policy
    uses = {*policy.allow, *(use for t in policy.tables.values() for use in t.allow or ())}
    found = tuple(trained(facts))
    tables = ", ".join(sorted(table.name for table in facts.tables))
    asked = (
        ("Model", "Name, version, purpose, intended and forbidden uses", _TO_FILL),
        ("Model", "Kind, terms, size of the file, its hash", _TO_FILL),
        ("Data", "Tables, columns, units, period, data version", f"tables here: {tables}; choose"),
        ("Data", "Opt-outs applied", "podsql audit opt-out"),
        (
            "Privacy",
            "Differential privacy: epsilon, delta, clipping, or none",
            "as listed with each model; 0 is none",
        ),
        (
            "Privacy",
            "Membership inference: attack, data, advantage, with interval",
            "no test of a single model exists in this version; what its rounds may tell is bounded by"
            " the rules below",
        ),
        (
            "Privacy",
            "Memorisation: canaries, extraction attempts",
            "an exact model holds estimates and sums only, no row",
        ),
        ("Output", "What else leaves with it", "the sums of each round, as listed"),
        ("Custody", "Who holds the file, where, for how long, who deletes it", _TO_FILL),
        ("Custody", "May it be published, or only used inside", _TO_FILL),
        ("Decision", "Two checkers, date, conditions", "names and signatures"),
    )
    allowed = "train" in uses
    return ModelRelease(
        pod=facts.pod,
        at=iso(facts.now),
        version=version,
        training_allowed=allowed,
        summary=(
            f"Sums of {len(found)} statements around models were asked for."
            f" The policy allows training {'here' if allowed else 'of no table'}."
        ),
        models=found,
        form=tuple(Question(about=a, question=q, answer=w) for a, q, w in asked),
        leaving=leaving(policy) if allowed else (),
    )


def trained(facts: Facts) -> Iterator[Trained]:
    """By statement, the earliest first: also those whose every round was refused."""
    by: dict[tuple[str, str], list[Entry]] = {}
    for entry in facts.log.entries:
        if entry.of_a_model:
            by.setdefault((entry.fingerprint, entry.statement_id), []).append(entry)
    for entries in by.values():
        yield _trained(facts, entries)


def _trained(facts: Facts, entries: list[Entry]) -> Trained:
    left = [entry for entry in entries if answered(entry) and entry.rows]  # no row: withheld
    paid = [facts.payments[e.request_id] for e in left if e.request_id in facts.payments]
    first, last = entries[0], entries[-1]
    return Trained(
        statement_id=first.statement_id,
        statement=first.statement,
        person=first.analyst,
        fingerprint=first.fingerprint,
        purpose=first.purpose,
        project=first.project,
        tables=_all(name for entry in entries for name in entry.tables),
        first=iso(first.time),
        last=iso(last.time),
        rounds=len(left),
        kinds=_all(entry.of_a_model for entry in left),
        refused=len(entries) - len(left),
        bytes=sum(entry.bytes for entry in left),
        epsilon=sum(one.epsilon for one in paid),
        delta=sum(one.delta for one in paid),
        data_versions=_all(entry.data_version for entry in left),
        policy_hashes=_all(entry.policy_hash for entry in left),
    )


def _all(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def page(found: ModelRelease) -> Page:
    """For people."""
    parts: list[Part] = [Text(f"As of {found.at}. {found.summary}")]
    for one in found.models:
        parts += [
            Heading(f"{one.first}, by {one.person}"),
            Code(one.statement, "sql"),
            Pairs(
                {
                    "statement id": one.statement_id,
                    "purpose": one.purpose or "none",
                    "project": one.project or "none",
                    "tables": ", ".join(one.tables),
                    "last round": one.last,
                    "rounds whose sums left": f"{one.rounds} ({', '.join(one.kinds) or 'none'})",
                    "rounds refused, withheld or failed": str(one.refused),
                    "bytes": str(one.bytes),
                    "epsilon, delta": f"{one.epsilon:g}, {one.delta:g}",
                    "data version": ", ".join(one.data_versions),
                    "policy": ", ".join(one.policy_hashes),
                }
            ),
        ]
    if found.leaving:
        parts += [Heading("What may leave"), Items(found.leaving)]
    parts += [
        Heading("To be filled in before a model is passed on"),
        Grid(
            ("about", "question", "answer"),
            tuple((q.about, q.question, q.answer) for q in found.form),
        ),
    ]
    return Page(f"Model release form of pod {found.pod}", tuple(parts))
