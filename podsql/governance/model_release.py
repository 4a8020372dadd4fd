"""Row 17: the model release form. No model leaves this version: it trains none, and the form says so."""

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Page, Pairs, Text
from podsql.times import iso


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the form, and what is known of it here."""

    about: str
    question: str
    answer: str


class ModelRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The form."""

    pod: str
    at: str
    version: str
    training_allowed: bool
    models_released: int
    summary: str
    form: tuple[Question, ...]


_TO_FILL = "to be filled in for the model"


def model_release(facts: Facts, version: str) -> ModelRelease:
    """The form for ``version`` of podsql, with what the policy already answers."""
    policy = facts.policy
    uses = {*policy.allow, *(use for t in policy.tables.values() for use in t.allow or ())}
    dp = policy.dp
    noise = (
        "no noise: the policy has no [dp]"
        if dp is None
        else f"budget epsilon {dp.epsilon_budget:g} at delta {dp.delta:g}, for statements and for models with noise, at most {dp.epsilon_per_query:g} each"
    )
    tables = ", ".join(sorted(table.name for table in facts.tables))
    asked = (
        ("Model", "Name, version, purpose, intended and forbidden uses", _TO_FILL),
        ("Model", "Architecture, parameters, framework, size of the file, its hash", _TO_FILL),
        ("Data", "Tables, columns, units, period, data version", f"tables here: {tables}; choose"),
        ("Data", "Opt-outs applied", "podsql audit opt-out"),
        ("Privacy", "Differential privacy: epsilon, delta, clipping, sampling, or none", noise),
        (
            "Privacy",
            "Membership inference: attack, data, advantage, with interval",
            "no test exists in this version",
        ),
        (
            "Privacy",
            "Memorisation: canaries, extraction attempts",
            "no test exists in this version",
        ),
        ("Output", "What else leaves with it: metrics, gradients, embeddings", _TO_FILL),
        ("Custody", "Who holds the file, where, for how long, who deletes it", _TO_FILL),
        ("Custody", "May it be published, or only used inside", _TO_FILL),
        ("Decision", "Two checkers, date, conditions", "names and signatures"),
    )
    return ModelRelease(
        pod=facts.pod,
        at=iso(facts.now),
        version=version,
        training_allowed="train" in uses,
        models_released=0,
        summary=(
            f"No model was released: podsql {version} trains no models, a pod refuses to start on a"
            " policy that allows training, and no line of the log is about one."
        ),
        form=tuple(Question(about=a, question=q, answer=w) for a, q, w in asked),
    )


def page(found: ModelRelease) -> Page:
    """For people."""
    return Page(
        f"Model release form of pod {found.pod}",
        (
            Text(f"As of {found.at}. {found.summary}"),
            Pairs({"models released": str(found.models_released), "podsql": found.version}),
            Text("To be filled in before a model leaves:"),
            Grid(
                ("about", "question", "answer"),
                tuple((q.about, q.question, q.answer) for q in found.form),
            ),
        ),
    )
