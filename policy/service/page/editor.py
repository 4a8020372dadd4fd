"""The policy editor: a strict check, plain words and a dry run of a policy that is being written.

Rule to keep: it reads no data and installs nothing. What it gives is a file and its hash; the
custodian's own machine decides whether that becomes a pod's ceiling.
"""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from podsql.errors import Error, error
from podsql.findings import worst
from podsql.planner.fragment import Field
from podsql.planner.wire_types import known_type
from podsql.policy.document import PRESETS, Policy, parse_policy, policy_hash, preset_bytes
from podsql.policy.plain_words import plain_words
from podsql.policy.review import review
from podsql.policy.rights import PodTable
from podsql.policy.service.page.hosting import Trial
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.pods import Reported, pods

STATEMENT: Final = 8_000


def show(visit: Visit) -> Response:
    """The editor with a preset in it, and what there is to say of that."""
    wanted = visit.ask.query.get("preset", "standard")
    preset = wanted if wanted in PRESETS else "standard"
    return _answer(visit, preset_bytes(preset).decode(), preset)


def check(visit: Visit) -> Response:
    """What there is to say of what was written."""
    return _answer(visit, _text(visit), "")


def download(visit: Visit) -> Response:
    """The file, if a pod could start on it."""
    text = _text(visit)
    try:
        policy = parse_policy(text.encode())
    except Error:
        return _answer(visit, text, "")
    if worst(review(policy)) == "failed":
        return _answer(visit, text, "")
    headers = {
        "content-disposition": 'attachment; filename="policy.toml"',
        "x-policy-hash": policy_hash(policy),
    }
    return Response(text, media_type="application/toml", headers=headers)


def _answer(visit: Visit, text: str, preset: str) -> Response:
    reported = pods(visit.database)
    fault, policy = None, None
    try:
        policy = parse_policy(text.encode())
    except Error as found:
        fault = found
    sql = visit.form.note("sql", "The statement", most=STATEMENT)
    chosen = visit.form.raw("pod") or (reported[0].name if reported else "")
    trials: Sequence[Trial] = ()
    trial_fault = None
    if policy is not None and sql and not visit.form.problems:
        try:
            trials = _try(visit, policy, sql, chosen, reported)
        except Error as found:
            trial_fault = found
    findings = review(policy) if policy is not None else []
    return visit.page(
        "policies.html",
        text=text,
        presets=PRESETS,
        preset=preset,
        fault=fault,
        policy=policy,
        hash=policy_hash(policy) if policy is not None else "",
        usable=policy is not None and worst(findings) != "failed",
        findings=findings,
        sentences=plain_words(policy) if policy is not None else (),
        pods=[one.name for one in reported],
        chosen=chosen,
        person=visit.form.raw("person"),
        sql=sql,
        trials=trials,
        trial_fault=trial_fault,
    )


def _try(
    visit: Visit, policy: Policy, sql: str, chosen: str, reported: Sequence[Reported]
) -> Sequence[Trial]:
    pod = next((one for one in reported if one.name == chosen), None)
    if pod is None:
        raise error(
            "ARGUMENT", "a dry run needs the tables of a pod", hint="one must have reported"
        )
    tables = {card.name: table_of(pod, at) for at, card in enumerate(pod.report.tables)}
    person = visit.form.text("person", "The person", needed=False)
    return visit.site.try_policy(policy, tables, sql, person)


def table_of(pod: Reported, at: int) -> PodTable:
    """A reported table as the gate sees one; it has no rows."""
    card = pod.report.tables[at]
    return PodTable(
        name=card.name,
        kind="reference" if card.kind == "reference" else "federated",
        columns=tuple(
            Field(name=name, type=known_type(kind) or "VARCHAR") for name, kind, _ in card.columns
        ),
        privacy_unit=card.privacy_unit or None,
        content_hash="none",
    )


def _text(visit: Visit) -> str:
    return visit.form.raw("text")
