"""A plan as stable text: no ids, no clock, no order that depends on a hash."""

from podsql.planner.catalog import Catalog
from podsql.planner.fragment import Aggregate, Binned, Column, Noised, Psi, Rows
from podsql.planner.key_lists import groups_of
from podsql.planner.measured import Run, end_text, rows_text, size_text, time_text
from podsql.planner.plan import Plan, Stage


def explain_text(plan: Plan, catalog: Catalog, run: Run | None = None) -> str:
    """Stages with their pods, what leaves each pod and as what, the merge and the final step.

    With ``run``, what each of them took.
    """
    lines: list[str] = []
    if not plan.stages:
        lines.append("no pod is asked: the statement reads no table of theirs")
    else:
        lines.append(f"gives away: {plan.disclosure or 'public tables only'}")
    lines += [f"  not less, because {reason}" for reason in plan.instead]
    for stage in plan.stages:
        lines += _stage(stage, plan, catalog)
        if run is not None and not stage.same_as:
            lines += _took(stage, run)
    lines += ["final, at the analyst", f"  {plan.final}"]
    if run is not None:
        lines.append(f"  took {time_text(run.merge_micros)}: {end_text(run)}")
    lines.append("answer")
    lines += [f"  {field.name} {field.type}" for field in plan.columns]
    return "\n".join(lines)


def _stage(stage: Stage, plan: Plan, catalog: Catalog) -> list[str]:
    fragment = stage.fragment
    pods = ", ".join(stage.pods) if stage.pods else "none: no pod can hold such rows"
    lines = [f"{stage.name} at {pods}", f"  why: {why(stage, plan, catalog)}"]
    if stage.same_as:
        return [lines[0], f"  asked once, with {stage.same_as}"]
    lines.append(f"  gives away: {stage.disclosure or 'public tables only'}")
    if stage.scalars:
        places = ", ".join(f"${scalar.place + 1}" for scalar in stage.scalars)
        lines.append(f"  waits for {places}, which earlier stages release")
    if isinstance(fragment, Binned):
        noise = " with noise" if fragment.noisy else ""
        lines.append(f"  reads {fragment.source}")
        lines.append(f"  leaves the pod: how many rows lie in which bins{noise}")
        lines += [_column(c) for c in (*fragment.keys, fragment.column)]
        return [*lines, f"  merge {stage.merge}"]
    if isinstance(fragment, Psi):
        shared = "together" if fragment.counted == "union" else "in common"
        for part in fragment.parts:
            lines.append(f"  reads {part.source}, at {', '.join(part.pods)}")
            lines.append(f"    blinded {part.key.type} = {part.key.sql}")
        lines.append("  leaves the pods: blinded keys, from pod to pod")
        lines.append(f"  leaves {stage.pods[-1]}: how many keys they have {shared}")
        return [*lines, f"  merge {stage.merge}"]
    if not isinstance(fragment, Aggregate | Noised | Rows):
        return lines
    lines.append(f"  reads {fragment.source}")
    if isinstance(fragment, Noised):
        price = f"epsilon {fragment.epsilon or 'of the pods policy'}"
        lines.append(f"  leaves the pod with noise ({price}), one row a group")
        lines += [_column(c) for c in (*fragment.keys, *fragment.aggregates)]
    elif isinstance(fragment, Aggregate):
        if fragment.grouping_sets is not None:
            sets = (
                "(" + ", ".join(fragment.keys[i].name for i in members) + ")"
                for members in fragment.grouping_sets
            )
            lines.append(f"  grouping sets {', '.join(sets)}")
        lines.append(f"  leaves the pod{_how(stage, fragment)}")
        lines += [_column(c) for c in (*fragment.keys, *fragment.aggregates)]
    else:
        lines.append("  leaves the pod, row by row")
        lines += [_column(c) for c in fragment.columns]
        if fragment.limit is not None:
            terms = ", ".join(order_texts(fragment))
            lines.append(f"    only the first {fragment.limit}" + (f" by {terms}" if terms else ""))
    if stage.merge:
        lines.append(f"  merge {stage.merge}")
    return lines


def _how(stage: Stage, fragment: Aggregate) -> str:
    if not stage.masked:
        return ", one row a group" if fragment.keys else ", one row"
    groups = len(groups_of(stage.lists))
    listed = f"for each of {groups} declared groups" if fragment.keys else "one row"
    if stage.units:
        listed += f", if {stage.units} people or more are behind it at all pods together"
    return f" under masks, {listed}: only the sum over the pods is opened"


def _took(stage: Stage, run: Run) -> list[str]:
    took = run.stage(stage.name)
    if took is None:
        return ["  ran at no pod"]
    lines = [f"  took {time_text(took.micros)} until the last pod had answered"]
    width = max(len(part.pod) for part in took.pods)
    for part in took.pods:
        lines.append(
            f"    {part.pod:<{width}}  {rows_text(part.rows)}, {size_text(part.bytes)},"
            f" {time_text(part.micros)} at the pod, {part.release}"
        )
    return lines


def _column(column: Column) -> str:
    return f"    {column.name} {column.type} [{column.disclosure}] = {column.sql}"


def order_texts(fragment: Rows) -> list[str]:
    """The terms of its ORDER BY, by output name."""
    return [
        f"{fragment.columns[term.column].name} {'desc' if term.descending else 'asc'}"
        f" nulls {'first' if term.nulls_first else 'last'}"
        for term in fragment.order
    ]


def why(stage: Stage, plan: Plan, catalog: Catalog) -> str:
    """Why the stage may be run pod by pod."""
    tables = [catalog.tables[name] for name in plan.tables if name in catalog.tables]
    federated = [t.name for t in tables if t.partitioned]
    if stage.public or not federated:
        return "reference tables are the same in every pod, so one answers"
    if isinstance(stage.fragment, Psi):
        return f"keys of {', '.join(federated)} may occur in several pods, and none is shown"
    if isinstance(stage.fragment, Rows):
        return f"rows of {', '.join(federated)} are released one by one"
    return f"partial aggregates of {', '.join(federated)} merge exactly"
