"""Risks to the people in the data, what stands against each, and what is left of it.

The words of `docs/threats.md` and `docs/privacy.md`, for a form. Rule to keep: what is left is never
"nothing" unless a test shows it.
"""

from typing import Final

import msgspec

from podsql.policy.document import Policy


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """One risk. Likelihood and severity are the custodian's to judge."""

    who: str
    risk: str
    measure: str
    left: str
    here: str
    """What this pod's policy makes of it."""


_RISKS: Final = (
    (
        "an analyst who may ask",
        "learns about one person from figures, alone or by comparing several",
        "thresholds, complements, rounding, an overlap guard, caps, or noise from a budget; no analyst's code runs in a pod",
        "without noise, patient comparison of many figures, and collusion of projects",
        "disclosure",
    ),
    (
        "an analyst who may ask",
        "gets rows or direct identifiers",
        "columns are listed one by one, each with its roles; rows leave only where the policy names columns for it",
        "columns named for rows do leave",
        "rows",
    ),
    (
        "another custodian's pod",
        "learns this custodian's figures or keys",
        "pods speak to each other only to count blinded keys; each pod judges its own figures",
        "the number of keys, where counts across pods are allowed",
        "psi",
    ),
    (
        "the relay's operator",
        "reads questions or answers, or forges them",
        "end-to-end encrypted sessions to keys pinned by fingerprint, signed requests and results",
        "who speaks with whom, when and how much; denial of service",
        "",
    ),
    (
        "the policy service's operator",
        "grants itself access",
        "the pod's own policy file is the ceiling; decisions are signed, for one request, and short-lived",
        "it can deny, and it learns names of tables and purposes",
        "services",
    ),
    (
        "an outsider",
        "reaches the pod from the network",
        "the pod connects outwards only and listens nowhere; every peer proves a key of the manifest",
        "theft of a member's key, until it is revoked",
        "",
    ),
    (
        "somebody with access to the pod's host",
        "reads the source data, keys or logs",
        "files for their owner only, keys sealed under a passphrase if wanted; engines are sandboxed",
        "the host's administrator sees his own custodian's data",
        "",
    ),
    (
        "a hostile statement",
        "reads files, the network or memory through the database",
        "an allow-list of SQL, a locked database, a sandbox of several layers",
        "layers that the kernel lacks (podsql audit infosec lists them)",
        "",
    ),
    (
        "time and errors",
        "a slow or failing statement tells of one person",
        "nothing fails on a value of a protected row; statements whose cost depends on one unit are refused",
        "coarse differences of time",
        "",
    ),
    (
        "a person who wants out",
        "stays in answers after opting out",
        "opt-out lists, noticed before the next statement",
        "tables that were released before",
        "",
    ),
)


def risks(policy: Policy, services: int) -> tuple[Risk, ...]:
    """The list, with what this policy makes of it."""
    here = {
        "disclosure": _disclosure(policy),
        "rows": _rows(policy),
        "psi": "counts across pods are allowed"
        if "psi_count" in policy.joins.kinds
        else "such counts are not allowed",
        "services": f"{services} service(s) must agree"
        if services
        else "no policy service is used",
        "": "as for every pod",
    }
    return tuple(
        Risk(who=who, risk=risk, measure=measure, left=left, here=here[key])
        for who, risk, measure, left, key in _RISKS
    )


def _disclosure(policy: Policy) -> str:
    rules = policy.output
    kinds = {policy.release, *(t.release for t in policy.tables.values() if t.release)}
    said = []
    caps = "caps" if rules.caps else "no caps"
    if "sdc_merged" in kinds:
        units = max(rules.min_units, rules.overlap_guard)
        said.append(
            f"at least {units} people of all pods together behind a count, and between two, also"
            f" without any one pod; pods see small totals, {caps}"
        )
    if "sdc_local" in kinds and "sdc_merged" not in kinds:
        guard = (
            f"figures may not differ by fewer than {rules.overlap_guard} units"
            if rules.overlap_guard
            else "no overlap guard"
        )
        said.append(f"at least {rules.min_units} units a figure, {guard}, {caps}")
    if "dp" in kinds and policy.dp is not None:
        said.append(f"noise, budget epsilon {policy.dp.epsilon_budget:g}")
    return "; ".join(said) or "no rule on figures"


def _rows(policy: Policy) -> str:
    named = {
        name: clause.rows
        for name, clause in policy.tables.items()
        if (clause.release or policy.release) == "rows" and clause.rows
    }
    if not named:
        return "no row leaves"
    return "rows leave: " + "; ".join(
        f"{name}: {', '.join(columns)}" for name, columns in named.items()
    )
