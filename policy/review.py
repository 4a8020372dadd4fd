"""What an output checker would ask about a policy document before signing it.

Each finding names a clause, what it risks and what most custodians write. Nothing here is enforced:
``enforcement`` says what a pod refuses to start on.
"""

from collections.abc import Iterator

from podsql.findings import Finding
from podsql.policy.document import ColumnClause, Dp, Policy, TableClause
from podsql.policy.enforcement import unenforced

USUAL_UNITS = 10
USUAL_EPSILON = 8.0


def review(policy: Policy) -> list[Finding]:
    """Findings about ``policy``; ``failed`` where a pod would refuse to start on it."""
    found = [
        *(
            Finding(
                check="enforced",
                state="failed",
                text=f"clause {name} is not enforced by this version",
                next="remove it",
            )
            for name in unenforced(policy)
        ),
        *_people(policy),
        *_release(policy),
        *_joins(policy),
        *_intersect(policy),
        *_networks(policy),
        *_predict(policy),
        *_output(policy),
        *_dp(policy),
        *(f for name, clause in policy.tables.items() for f in _table(name, clause, policy)),
    ]
    return found or [Finding(check="review", state="ok", text="nothing to ask about")]


def _people(policy: Policy) -> Iterator[Finding]:
    if policy.people == "*" and not policy.services:
        yield _ask("people", "anybody whom the federation lists may ask", "name them")
    elif policy.people == {}:
        yield _ask("people", "nobody may ask", "list people, or use '*' with a policy service")
    if policy.valid.until is None:
        yield _ask("valid", "it never ends", "set valid.until to the end of the agreement")
    if "*" in policy.purposes:
        yield _ask("purposes", "any purpose is accepted", "name the purposes that were agreed")
    if "*" in policy.projects:
        text = "any project is accepted, so caps and comparisons count per person, not per project"
        yield _ask("projects", text, "name the projects that were agreed")
    if not policy.text.strip():
        yield _ask("text", "it does not say what it means", "write it in your own words")


def _release(policy: Policy) -> Iterator[Finding]:
    releases = {policy.release, *(clause.release for clause in policy.tables.values())}
    if "dp" in releases and policy.dp is None:
        yield Finding(
            check="dp",
            state="failed",
            text="release 'dp' without a section [dp]: every statement would be refused",
            next="add [dp] with epsilon_per_query, epsilon_budget and delta",
        )
    exact = releases & {"sdc_local", "sdc_merged", "rows"}
    if policy.dp is not None and exact:
        yield _ask(
            "dp",
            "the same document also releases exact figures, which no epsilon covers",
            "set release to 'dp' for every table, or say so in your reports",
        )


def _joins(policy: Policy) -> Iterator[Finding]:
    if "psi_count" not in policy.joins.kinds:
        return
    text = "keys are counted together with other pods', which tells them how many are shared"
    yield _ask("joins.kinds", text, "without 'psi_count', unless such counts were agreed")
    releases = {policy.release, *(clause.release for clause in policy.tables.values())}
    if releases <= {"dp"}:
        yield _ask(
            "joins.kinds",
            "'psi_count' allows nothing here: counts across pods carry no noise",
            "without 'psi_count'",
        )


def _intersect(policy: Policy) -> Iterator[Finding]:
    allowed = {*policy.allow, *(use for one in policy.tables.values() for use in one.allow or ())}
    if "intersect" not in allowed:
        return
    if policy.intersect.answer == "rows":
        text = "analysts who guess keys are told which of them are in the table"
        yield _ask("intersect.answer", text, "'count'")
    else:
        text = "counts of two lists that differ by one key tell whether that key is in the table"
        yield _ask(
            "allow", text, "'intersect' only for people who may know it of the keys they hold"
        )
    if "intersect" in policy.allow:
        yield _ask(
            "allow", "every table may be met by private intersection", "allow it table by table"
        )


def _networks(policy: Policy) -> Iterator[Finding]:
    allowed = {*policy.allow, *(use for one in policy.tables.values() for use in one.allow or ())}
    if "networks" in allowed:
        text = (
            "weights that were fitted to this pod's rows leave, and may hold what single rows say"
        )
        yield _ask("allow", text, "'networks' only for people who might see the rows")


def _predict(policy: Policy) -> Iterator[Finding]:
    if "predict" in policy.allow:
        text = "predictions over every table may be written to this pod's disk"
        yield _ask("allow", text, "'predict' only for tables whose predictions you want to have")


def _output(policy: Policy) -> Iterator[Finding]:
    rules = policy.output
    releases = {policy.release, *(clause.release for clause in policy.tables.values())}
    if not releases & {"sdc_local", "sdc_merged"}:
        return
    if "sdc_merged" in releases:
        text = "pods are told how many people of all pods are in small groups, and trust each other's numbers"
        yield _ask("release", text, "'sdc_local', unless the custodians have agreed to it")
    if rules.min_units < USUAL_UNITS:
        text = f"groups of {rules.min_units} units are shown"
        yield _ask("output.min_units", text, f"{USUAL_UNITS} is usual")
    if rules.zero_cells == "show":
        text = "that a group is empty is shown, which may tell something of everybody"
        yield _ask("output.zero_cells", text, "'hide', unless the list of groups is public")
    if rules.extremes == "allow":
        yield _ask("output.extremes", "a smallest or largest value is one unit's value", "'deny'")
    if rules.quantile == "exact":
        yield _ask("output.quantile", "an exact quantile is one unit's value", "'binned'")
    if not rules.complement and "sdc_merged" not in releases:
        text = "a figure may leave out a few units of its group, which tells of them"
        yield _ask("output.complement", text, "true")
    if rules.overlap_guard < rules.min_units and "sdc_merged" not in releases:
        text = "two answers may differ by fewer units than the smallest group"
        yield _ask("output.overlap_guard", text, f"{rules.min_units}")
    if rules.caps is None:
        text = "many answers together can rebuild the data, and nothing counts them"
        yield _ask("output.caps", text, "per_day = 200, total = 2000")


def _dp(policy: Policy) -> Iterator[Finding]:
    rules = policy.dp
    if rules is None:
        return
    yield from _budget(rules)
    if rules.period != "forever":
        text = f"a new budget every {rules.period}: what was told of a person adds up"
        yield _ask("dp.period", text, "'forever'")
    if rules.noise == "python":
        text = "podsql's own sampler draws the noise"
        yield _ask("dp.noise", text, "'opendp', which others review too")


def _budget(rules: Dp) -> Iterator[Finding]:
    if rules.epsilon_total is None:
        text = "several people or purposes add up without a limit"
        yield _ask("dp.epsilon_total", text, "a limit for everybody together")
    most = max(rules.epsilon_budget, rules.epsilon_total or 0)
    if most > USUAL_EPSILON:
        text = f"epsilon {most:g} promises little"
        yield _ask("dp.epsilon_budget", text, f"at most {USUAL_EPSILON:g}")
    if rules.delta > 1e-4:
        text = f"delta {rules.delta:g}: one unit in {1 / rules.delta:,.0f} may be told of"
        yield _ask("dp.delta", text, "less than one in the number of units")


def _table(name: str, clause: TableClause, policy: Policy) -> Iterator[Finding]:
    release = clause.release or policy.release
    if release == "rows" and clause.rows and not clause.public:
        what = "whole rows" if "*" in clause.rows else f"rows of {', '.join(clause.rows)}"
        yield _ask(f"tables.{name}.rows", f"{what} leave", "name as few columns as will do")
    for column, rules in clause.columns.items():
        yield from _column(f"tables.{name}.columns.{column}", rules, release)
    keyed = any("entity_key" in (rules.roles or ()) for rules in clause.columns.values())
    if not keyed and clause.privacy_unit is None and not clause.public and name != "*":
        text = "no privacy unit here: without one in pod.toml each row counts as a unit"
        yield _ask(f"tables.{name}.privacy_unit", text, "name the column of the person")


def _column(at: str, rules: ColumnClause, release: str) -> Iterator[Finding]:
    roles = set(rules.roles or ())
    if "entity_key" in roles and roles & {"dimension", "filter", "measure"}:
        yield _ask(
            f"{at}.roles", "a key of persons has another role", "entity_key and join_key alone"
        )
    if rules.roles is None and release != "rows":
        yield _ask(f"{at}.roles", "every role is given", "name the roles that are needed")
    if release == "dp" and "measure" in roles and rules.bounds is None and not at.endswith('"*"'):
        yield _ask(f"{at}.bounds", "without bounds it cannot be summed", "bounds = [low, high]")


def _ask(check: str, text: str, usual: str) -> Finding:
    return Finding(check=check, state="warning", text=text, next=f"usual: {usual}")
