"""Row 5: an output report for each release: kind of statistic, rules, what was withheld, its price."""

import msgspec

from podsql.errors import error
from podsql.governance.facts import Facts, Payment
from podsql.governance.pages import Code, Heading, Items, Page, Pairs, Part, Text
from podsql.governance.selecting import Selection, answered
from podsql.governance.statbarn import statbarns
from podsql.policy.audit import Entry
from podsql.policy.plain_words import output_words
from podsql.times import iso

_Z95 = 1.96


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that left the pod. Not the answer: what an output checker asks about it."""

    time: str
    request_id: str
    statement_id: str
    person: str
    fingerprint: str
    purpose: str
    project: str
    statement: str
    statistics: tuple[str, ...]
    tables: tuple[str, ...]
    release: str
    rules: tuple[str, ...]
    rules_known: bool
    """False: the policy of that time is not kept here."""
    rows: int
    groups_withheld: int
    bytes: int
    keys_brought: int
    keys_met: int
    epsilon: float | None
    delta: float | None
    error_bars: tuple[float, ...]
    """Half widths (95 %) of the figures' noise, in their own units and order."""
    data_version: str
    policy_hash: str
    result_hash: str


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """Reports, oldest first."""

    pod: str
    at: str
    about: str
    outputs: tuple[Output, ...]


def output_reports(
    facts: Facts, selection: Selection = Selection(), *, which: str = "", limit: int = 20
) -> Outputs:
    """The last ``limit`` releases, or those whose request or statement id begins with ``which``."""
    found = [entry for entry in selection.of(facts.log.entries) if answered(entry)]
    if which:
        found = [
            e for e in found if e.request_id.startswith(which) or e.statement_id.startswith(which)
        ]
        if not found:
            raise error(
                "ARGUMENT", f"nothing left under the id {which!r}", hint="podsql audit outputs"
            )
    return Outputs(
        pod=facts.pod,
        at=iso(facts.now),
        about=selection.in_words(),
        outputs=tuple(output_report(facts, entry) for entry in found[-limit:]),
    )


def output_report(facts: Facts, entry: Entry) -> Output:
    """The report of one line of the log."""
    paid: Payment | None = facts.payments.get(entry.request_id)
    policy = facts.policy_of(entry.policy_hash)
    return Output(
        time=iso(entry.time),
        request_id=entry.request_id,
        statement_id=entry.statement_id,
        person=entry.analyst,
        fingerprint=entry.fingerprint,
        purpose=entry.purpose,
        project=entry.project,
        statement=entry.statement,
        statistics=statbarns(entry.statement),
        tables=entry.tables,
        release=entry.release,
        rules=output_words(policy, entry.release) if policy else (),
        rules_known=policy is not None,
        rows=entry.rows,
        groups_withheld=entry.withheld,
        bytes=entry.bytes,
        keys_brought=entry.brought,
        keys_met=entry.met,
        epsilon=paid.epsilon if paid else 0.0 if entry.release == "dp" else None,
        delta=paid.delta if paid else None,
        error_bars=tuple(_Z95 * one for one in paid.noise) if paid else (),
        data_version=entry.data_version,
        policy_hash=entry.policy_hash,
        result_hash=entry.result_hash,
    )


def page(found: Outputs) -> Page:
    """For people."""
    parts: list[Part] = [Text(f"As of {found.at}, about {found.about}.")]
    if not found.outputs:
        parts.append(Text("Nothing left."))
    for one in found.outputs:
        parts += [
            Heading(f"{one.time}, to {one.person}"),
            Code(one.statement, "sql"),
            Pairs(pairs(one)),
        ]
        if one.rules_known:
            parts += [Text("Rules that were applied:"), Items(one.rules)]
        else:
            parts.append(
                Text(
                    f"Its rules were those of policy {one.policy_hash[:16]}, which is not kept here."
                )
            )
    return Page(f"What left pod {found.pod}", tuple(parts))


def pairs(one: Output) -> dict[str, str]:
    """A report as named values."""
    bars = ", ".join(f"± {width:.3g}" for width in one.error_bars)
    said = {
        "request": one.request_id,
        "purpose and project": f"{one.purpose or 'none'}, {one.project or 'none'}",
        "kind of statistic": ", ".join(one.statistics),
        "tables": ", ".join(one.tables),
        "release": one.release,
        "rows": str(one.rows),
        "groups withheld": str(one.groups_withheld),
        "size": f"{one.bytes} bytes",
        "data version": one.data_version,
        "policy": one.policy_hash,
        "result (SHA-256)": one.result_hash,
    }
    if one.epsilon is not None:
        said["epsilon spent"] = (
            f"{one.epsilon:.4g} at delta {one.delta:g}"
            if one.delta
            else "0: an answer that was paid for before"
        )
        said["error bars (95 %) of this pod's figures"] = bars or "none are kept"
    if one.keys_brought or one.keys_met:
        said["keys compared, blinded"] = f"{one.keys_brought} brought, {one.keys_met} of others met"
    return said
