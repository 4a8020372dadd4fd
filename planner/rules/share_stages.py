"""Ask once what a statement asks twice: a WITH query named twice, a table read in two places.

Rule to keep: exact fragments only. Figures with noise and counts of keys are new each time.
"""

from dataclasses import replace

from podsql.planner.fragment import Aggregate, Fragment, Rows
from podsql.planner.plan import Plan, Scalar, Stage

_Question = tuple[tuple[str, ...], Fragment, tuple[Scalar, ...]]


def share_stages(plan: Plan) -> Plan:
    """``plan`` with every stage that asks what an earlier one does marked as the same."""
    first: dict[_Question, str] = {}
    stages: list[Stage] = []
    for stage in plan.stages:
        found = stage.name
        if isinstance(stage.fragment, Aggregate | Rows):
            found = first.setdefault((stage.pods, stage.fragment, stage.scalars), stage.name)
        stages.append(stage if found == stage.name else replace(stage, same_as=found))
    return replace(plan, stages=tuple(stages))
