"""Row 15: what is kept, where, for how long, and who removes it."""

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Page, Text
from podsql.policy.pruning import DEFAULT_YEARS
from podsql.times import iso


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of thing."""

    what: str
    where: str
    holds: str
    how_long: str
    removed_by: str
    now: str


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """The table."""

    pod: str
    at: str
    audit_years: int
    stated: bool
    kept: tuple[Kept, ...]


def retention(facts: Facts) -> Retention:
    """The table for this pod, with what is there now."""
    stated = facts.declared.retention.audit_years
    years = stated or DEFAULT_YEARS
    return Retention(
        pod=facts.pod,
        at=iso(facts.now),
        audit_years=years,
        stated=stated is not None,
        kept=(_audit(facts, years), *_others(facts)),
    )


def _audit(facts: Facts, years: int) -> Kept:
    log = facts.log
    oldest = f", the oldest of {iso(log.entries[0].time)}" if log.entries else ""
    gone = f"; {log.removed} were pruned" if log.removed else ""
    return Kept(
        what="audit log",
        where="state/audit.jsonl",
        holds="who asked what and why, decisions, hashes of results; never a value of a row",
        how_long=f"{years} years",
        removed_by="the custodian: podsql audit prune (never younger than a year unless forced)",
        now=f"{len(log.entries)} lines{oldest}{gone}",
    )


def _others(facts: Facts) -> tuple[Kept, ...]:
    told = facts.declared.retention
    return (
        Kept(
            what="releases",
            where="with the analyst; their hashes in the audit log",
            holds="the tables that left",
            how_long=told.results or "not stated",
            removed_by="the analyst: the pod cannot call them back",
            now=f"{sum(e.event == 'query' and e.decision == 'allow' for e in facts.log.entries)} in the log",
        ),
        Kept(
            what="results waiting to be fetched",
            where="memory, and state/spool sealed under a key that is only in memory",
            holds="what has been released already",
            how_long="until the analyst has them, at most 10 minutes",
            removed_by="the pod",
            now="not visible from outside",
        ),
        Kept(
            what="raw material of a statement",
            where="memory of an engine process",
            holds="rows and exact figures before rules are applied",
            how_long="until the statement ends",
            removed_by="the pod: the process ends or is cleared",
            now="not visible from outside",
        ),
        Kept(
            what="snapshots",
            where="state/snapshots",
            holds="the custodian's rows, as served",
            how_long="until a newer one is served and no statement can still run on it",
            removed_by="the pod",
            now=f"{sum(e.event in ('start', 'data') for e in facts.log.entries)} taken, by the log",
        ),
        Kept(
            what="privacy ledger",
            where="state/ledger.sqlite, and its witness elsewhere",
            holds="prices, noisy answers that were released, sealed sets of units of released figures",
            how_long="as long as the data are served: without it budgets would begin again",
            removed_by="the custodian",
            now=f"{sum(one.releases for one in facts.budgets)} charges, {len(facts.budgets)} budgets",
        ),
        Kept(
            what="request ids",
            where="state/requests.sqlite",
            holds="ids and hashes of requests",
            how_long="one day",
            removed_by="the pod",
            now="not counted",
        ),
        Kept(
            what="policies that were served",
            where="state/policies",
            holds="each document, by its digest: what the log's digests stand for",
            how_long="as long as the audit log",
            removed_by="the custodian",
            now=f"{len(facts.policies)} documents",
        ),
        Kept(
            what="predictions that stay here",
            where="the folder that [local_tables] in pod.toml names, if it does",
            holds="rows of tables with what a model says of them, and who had them written",
            how_long="as many days as pod.toml says (90)",
            removed_by="the pod; earlier by the custodian: podsql pod tables remove",
            now=f"{sum(e.event == 'local' and e.decision == 'allow' for e in facts.log.entries)} written, by the log",
        ),
        Kept(
            what="keys",
            where="keys.json, state/secret",
            holds="the pod's secrets",
            how_long="until rotated (podsql key rotate) or recovered",
            removed_by="the custodian",
            now=f"{len(facts.keys)} files",
        ),
    )


def page(found: Retention) -> Page:
    """For people."""
    said = "as governance.toml states" if found.stated else "the default, as nothing else is stated"
    rows = tuple(
        (one.what, one.where, one.holds, one.how_long, one.removed_by, one.now)
        for one in found.kept
    )
    return Page(
        f"Retention at pod {found.pod}",
        (
            Text(f"As of {found.at}. The audit log is kept {found.audit_years} years ({said})."),
            Grid(("what", "where", "holds", "how long", "removed by", "now"), rows),
        ),
    )
