"""A policy document as sentences that a person who signs it can check, clause by clause.

Rule to keep: every clause that changes what may leave changes a sentence (a test changes each), and
nothing is said that the document does not say.
"""

from collections.abc import Iterator, Sequence

import msgspec

from podsql.policy.document import (
    ColumnClause,
    Dp,
    JoinKind,
    Output,
    Policy,
    Release,
    TableClause,
)

RELEASES: dict[Release, str] = {
    "sdc_local": "figures over groups, judged by this pod alone",
    "sdc_merged": "counts over groups, judged on the total of all pods, which the pods see",
    "dp": "figures with noise, paid for from a budget",
    "rows": "rows of the columns named for it",
}
ROLES = {
    "entity_key": "names a privacy unit: counted, never read",
    "join_key": "may join tables",
    "dimension": "may form groups",
    "filter": "may be compared with a value",
    "measure": "may be aggregated",
}
KINDS: dict[JoinKind, tuple[str, str]] = {
    "co_located": (
        "Tables of this pod may be joined with each other",
        "Tables of this pod may not be joined with each other",
    ),
    "reference": (
        "Tables may be joined with public ones",
        "Tables may not be joined with public ones",
    ),
    "psi_count": (
        "Keys that occur in several pods may be counted, by pods that show each other no key, but"
        " how many they have and share",
        "Keys are never compared with those of other pods",
    ),
}
"""Of each kind of join: said where it is allowed, and where it is not."""
USES = {
    "select": "statements",
    "train": "training of models",
    "networks": "networks fitted to its rows by local steps",
    "predict": "predictions that stay here, written as tables of this pod",
    "intersect": "private intersection",
    "template": "approved templates",
}


def plain_words(policy: Policy) -> tuple[str, ...]:
    """What the document means, one sentence each, in the order of its parts."""
    return (
        *_who(policy),
        f"What leaves, unless a table says otherwise: {RELEASES[policy.release]}.",
        f"Used for, unless a table says otherwise: {_list(USES[use] for use in policy.allow)}.",
        *_tables(policy),
        *_statements(policy),
        *(_totals(policy.output) if on_totals(policy) else _output(policy.output)),
        *_intersect(policy),
        *_networks(policy),
        *_dp(policy.dp),
    )


def output_words(policy: Policy, release: str, *, public: bool = False) -> tuple[str, ...]:
    """Rules on what leaves of a table released as ``release``; ``public``: none that analysts may
    not know."""
    if release == "dp":
        return tuple(_dp(policy.dp))
    if release == "rows":
        return ("Rows of the columns named for it leave as they are.",)
    rules = policy.output
    if release == "sdc_merged":
        return tuple(_totals(rules))
    if public:
        rules = msgspec.structs.replace(rules, p_percent=0, nk=None)
    return tuple(_output(rules))


def _who(policy: Policy) -> Iterator[str]:
    if policy.people == "*":
        yield "Anybody whom the federation lists may ask."
    elif policy.people:
        named = (
            name if key == "*" else f"{name} (only with the key {key})"
            for name, key in sorted(policy.people.items())
        )
        yield f"Only these people may ask: {_list(named)}."
    else:
        yield "Nobody may ask."
    yield f"They ask in the role of {_list(policy.roles, 'or')}."
    if policy.orgs:
        yield f"They belong to {_list(policy.orgs, 'or')}."
    if "*" in policy.purposes:
        yield "Any purpose is accepted."
    else:
        yield f"The purpose must be {_list(policy.purposes, 'or')}."
    if "*" in policy.projects:
        yield "Any project is accepted."
    else:
        yield f"The project must be {_list(policy.projects, 'or')}."
    if policy.services:
        yield f"These policy services must agree with every request: {_list(policy.services)}."
    valid = policy.valid
    if valid.from_ is not None:
        yield f"It holds from {valid.from_.isoformat()} (that day included, in UTC)."
    if valid.until is not None:
        yield f"It holds until {valid.until.isoformat()} (that day included, in UTC)."


def _tables(policy: Policy) -> Iterator[str]:
    if not policy.tables:
        yield "No table may be used."
    for name, clause in policy.tables.items():
        yield from _table("every other table" if name == "*" else f"table {name}", clause)


def _table(name: str, clause: TableClause) -> Iterator[str]:
    subject = name[0].upper() + name[1:]
    if clause.release is not None:
        yield f"{subject}: {RELEASES[clause.release]} may leave."
    if clause.allow is not None:
        yield f"{subject}: used for {_list(USES[use] for use in clause.allow) or 'nothing'}."
    if clause.public is not None:
        yield f"{subject}: {'public, nobody in it is protected' if clause.public else 'protected'}."
    if clause.privacy_unit is not None:
        yield f"{subject}: a privacy unit is one value of {clause.privacy_unit}."
    if clause.rows:
        what = "every listed column" if "*" in clause.rows else _list(clause.rows)
        yield f"{subject}: where rows may leave, they hold {what}."
    if not clause.columns:
        yield f"{subject}: no column may be used."
    for column, rules in clause.columns.items():
        yield f"{subject}, {'any other column' if column == '*' else f'column {column}'}: {_column(rules)}."


def _column(rules: ColumnClause) -> str:
    if rules.roles is None:
        said = ["may be used in any way"]
    else:
        said = [ROLES[role] for role in rules.roles] or ["may be named, and nothing else"]
    if rules.aggregates is not None:
        said.append(f"only in the aggregates {_list(rules.aggregates) or 'none'}")
    if rules.bounds is not None:
        said.append(f"counts as at least {rules.bounds[0]:g} and at most {rules.bounds[1]:g}")
    if rules.bin is not None:
        said.append(f"quantiles of it are rounded to steps of {rules.bin}")
    if rules.values is not None:
        said.append(f"its values are no secret: {_list(str(value) for value in rules.values)}")
    if rules.max_distinct is not None:
        said.append(f"forms groups only while it has at most {rules.max_distinct} values")
    if rules.magnitude:
        said.append("sums of it are checked for units that dominate")
    return "; ".join(said)


def _statements(policy: Policy) -> Iterator[str]:
    joins, filters, limits = policy.joins, policy.filters, policy.limits
    if joins.condition == "JOIN_REQUIRED":
        yield "A statement must join at least two tables."
    yield f"Tables may meet in these joins: {_list(joins.types) or 'none'}."
    for kind, words in KINDS.items():
        yield f"{words[0] if kind in joins.kinds else words[1]}."
    if "psi_count" in joins.kinds:
        yield f"A pod brings at most {joins.psi_keys} keys to such a count."
    if joins.pairs is not None:
        pairs = (f"{left} = {right}" for left, right in joins.pairs)
        yield f"Only on {_list(pairs, 'or') or 'nothing'}."
    if policy.functions.scalar != "safe-v1":
        yield f"Of the functions that are safe, only {_list(policy.functions.scalar) or 'none'}."
    if policy.functions.aggregates is not None:
        yield f"Of the aggregates, only {_list(policy.functions.aggregates) or 'none'}."
    if policy.functions.factors == 1:
        yield "No figure multiplies columns with each other."
    else:
        yield f"A figure multiplies at most {policy.functions.factors} columns with each other."
    if filters.literal is not None:
        yield f"Only these columns may meet a value in a condition: {_list(filters.literal) or 'none'}."
    if filters.column is not None:
        yield f"Only these columns may meet another column in a condition: {_list(filters.column) or 'none'}."
    if filters.max_predicates is not None:
        yield f"A statement has at most {filters.max_predicates} conditions."
    if limits.seconds is not None:
        yield f"A statement runs at most {limits.seconds:g} seconds."
    if limits.memory_mb is not None:
        yield f"A statement uses at most {limits.memory_mb} MB of memory."
    if limits.rows_scanned is not None:
        yield f"A statement reads tables of at most {limits.rows_scanned} rows together."
    if limits.queries_per_day is not None:
        yield f"A person asks at most {limits.queries_per_day} statements a day."
    yield f"A statement has at most {limits.sql_bytes} bytes and is nested at most {limits.depth} deep."


def on_totals(policy: Policy) -> bool:
    """A document that says it of one table says it of all that are protected (``enforcement``)."""
    return "sdc_merged" in (policy.release, *(one.release for one in policy.tables.values()))


def _totals(rules: Output) -> Iterator[str]:
    units = max(rules.min_units, rules.overlap_guard)
    yield (
        "On the total of all pods only counts leave, of rows or of people, over one table and under masks;"
        " plain statements, sums, rows, models and joins are refused."
    )
    yield (
        f"A figure leaves only if at least {units} people stand behind it at all pods together, also"
        f" without those of any one pod, of which no more than {-(-units // 2)} count."
    )
    yield (
        "It is withheld too if it, or the shown groups together, differ by fewer people from what"
        " the project was shown before."
    )
    yield (
        "The pods are told how many people are behind each group at all of them together (up to"
        f" {-(-units // 2)} of each pod), also of small groups; the analyst is not."
    )
    yield (
        "Pods rely on each other: one that lies about its numbers, or tells an analyst what it is told, is"
        " not found out."
    )
    yield "A group that nobody is in is withheld like a small one, unless all others are shown."
    yield from _how_many(rules)


def _output(rules: Output) -> Iterator[str]:
    yield f"A figure leaves only if at least {rules.min_units} privacy units stand behind it."
    if rules.zero_cells == "show":
        yield "A group that nobody is in is shown as such."
    else:
        yield "A group that nobody is in is withheld like a small one."
    if rules.complement:
        yield (
            f"A figure that leaves out the rows of 1 to {rules.min_units - 1} units of its group is"
            " withheld."
        )
    if rules.round_base > 1:
        yield f"Counts are rounded to multiples of {rules.round_base}."
    if rules.p_percent:
        yield (
            f"A sum is withheld if it would tell its largest part to within {rules.p_percent:g} %"
            " (not shown to analysts)."
        )
    if rules.nk is not None:
        n, share = rules.nk
        yield f"A sum is withheld if {n} units make more than {share:g} % of it (not shown to analysts)."
    if rules.min_dof:
        yield f"A figure of spread or relation needs {rules.min_dof} degrees of freedom."
    if rules.extremes == "allow":
        yield "Smallest and largest values may leave, although each is one unit's own value."
    else:
        yield "Smallest and largest values never leave."
    quantiles = {
        "deny": "Medians and other quantiles never leave.",
        "binned": "Medians and other quantiles leave as steps of their column's bin.",
        "exact": "Medians and other quantiles leave exactly, although each is one unit's own value.",
    }
    yield quantiles[rules.quantile]
    if rules.overlap_guard:
        yield (
            "Two figures answered to one project may not differ by 1 to"
            f" {rules.overlap_guard - 1} units."
        )
    yield from _how_many(rules)


def _how_many(rules: Output) -> Iterator[str]:
    if rules.group_levels:
        yield f"No more than {rules.group_levels} groups, and no more than a third of the units."
    if rules.caps is not None:
        yield (
            f"A project is answered at most {rules.caps.per_day} figures a day"
            f" and {rules.caps.total} in all."
        )
    if rules.max_rows:
        yield f"An answer has at most {rules.max_rows} rows."


def _intersect(policy: Policy) -> Iterator[str]:
    allowed = {*policy.allow, *(use for one in policy.tables.values() for use in one.allow or ())}
    if "intersect" not in allowed:
        return
    rules = policy.intersect
    told = {
        "count": "how many of his own keys a table has",
        "rows": "how many of his own keys a table has, and which",
    }
    yield f"A private intersection tells an analyst {told[rules.answer]}, and no other key."
    yield (
        f"An analyst brings at most {rules.max_candidates} keys at once, and a project"
        f" {rules.candidates_per_day} a day."
    )


def _networks(policy: Policy) -> Iterator[str]:
    allowed = {*policy.allow, *(use for one in policy.tables.values() for use in one.allow or ())}
    if "networks" not in allowed:
        return
    rules = policy.networks
    yield (
        f"The weights of a network leave after each round here, at most {rules.weights} of them, and may"
        " hold what single rows say."
    )
    yield (
        f"A round needs {rules.min_units} privacy units here, and a project gets at most"
        f" {rules.rounds} rounds over the same rows and columns."
    )


def _dp(rules: Dp | None) -> Iterator[str]:
    if rules is None:
        return
    yield (
        f"A noisy answer costs at most epsilon {rules.epsilon_per_query:g}; so do all rounds of a noisy"
        " model together."
    )
    shared = _list((f"each {part}" for part in rules.per), "of") or "everybody together"
    spans = {"forever": "for ever", "year": "a year", "month": "a month"}
    yield (
        f"There is epsilon {rules.epsilon_budget:g} at delta {rules.delta:g} for {shared},"
        f" {spans[rules.period]}: one unit's presence changes the odds of any result by at most"
        f" a factor e^{rules.epsilon_budget:g} in that budget."
    )
    if rules.epsilon_total is None:
        yield "Nothing limits what several budgets tell together."
    else:
        yield f"All budgets together end at epsilon {rules.epsilon_total:g}."
    yield (
        f"One unit counts in at most {rules.max_groups_contributed} groups, with at most"
        f" {rules.max_rows_contributed} rows in each."
    )
    if rules.noise == "python":
        yield "Noise is drawn by podsql's own sampler instead of OpenDP."


def _list(words: "Iterator[str] | Sequence[str]", last: str = "and") -> str:
    found = list(words)
    if len(found) < 2:
        return "".join(found)
    return f"{', '.join(found[:-1])} {last} {found[-1]}"
