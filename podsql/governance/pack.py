"""All artefacts of a pod at one moment: what `podsql audit pack` writes, and a web page may show."""

from collections.abc import Iterator

import msgspec

from podsql.governance import (
    activity,
    assurance,
    budget,
    data_card,
    decisions,
    dpia,
    dsa,
    expiring,
    incident,
    infosec,
    model_release,
    opting_out,
    outputs,
    people,
    projects,
    register,
    retention,
    revocations,
)
from podsql.governance.facts import Facts
from podsql.governance.installed import Installation
from podsql.governance.pages import Page

Artefact = tuple[str, msgspec.Struct, Page]
"""File name without its ending, the struct, and the page for people."""


def artefacts(facts: Facts, here: Installation) -> Iterator[Artefact]:
    """Each artefact once, in the order of the table of needs; ``activity`` in each of its ways."""
    cards = projects.project_cards(facts)
    yield "01-projects", cards, projects.page(cards)
    who = people.who_may(facts)
    yield "02-people", who, people.page(who)
    data = data_card.data_card(facts)
    yield "03-data", data, data_card.page(data)
    security = infosec.infosec(facts, here)
    yield "04-infosec", security, infosec.page(security)
    reports = outputs.output_reports(facts, limit=facts.log.count or 1)
    yield "05-outputs", reports, outputs.page(reports)
    draft = dpia.dpia(facts)
    yield "06-dpia", draft, dpia.page(draft)
    annex = dsa.annex(facts)
    yield "07-dsa", annex, dsa.page(annex)
    log = decisions.decision_log(facts, limit=facts.log.count)
    yield "08-decisions", log, decisions.page(log)
    soon = expiring.expiring(facts)
    yield "09-expiring", soon, expiring.page(soon)
    ended = revocations.revocations(facts)
    yield "10-revocations", ended, revocations.page(ended)
    for by in activity.WAYS:
        ran = activity.activity(facts, by)
        yield f"11-activity-by-{by}", ran, activity.page(ran)
    spent = budget.budget_statement(facts)
    yield "12-budget", spent, budget.page(spent)
    pack = incident.incident_pack(facts)
    yield "13-incident", pack, incident.page(pack)
    out = opting_out.opt_outs(facts)
    yield "14-opt-out", out, opting_out.page(out)
    kept = retention.retention(facts)
    yield "15-retention", kept, retention.page(kept)
    public = register.register(facts)
    yield "16-register", public, register.page(public)
    form = model_release.model_release(facts, here.version)
    yield "17-model", form, model_release.page(form)
    said = assurance.assurance(here.version, assurance.cases(), assurance.last_run())
    yield "18-assurance", said, assurance.page(said)
