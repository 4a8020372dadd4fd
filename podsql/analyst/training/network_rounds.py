"""Rounds of a network: local steps at every pod at once, and what each of them brings.

Rule to keep: what a pod brings is checked before it is merged, and a fault names the pod; updates stand in
the pods' canonical order, so that no order of answers changes a bit.
"""

import time
from math import isfinite
from typing import Any

from msgspec.structs import replace

from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement
from podsql.analyst.training.rounds import Rounds, require_same_data, withheld_at
from podsql.engine.merge import Merger
from podsql.engine.training.fitting import Round
from podsql.engine.training.networks import Gathered, LocalRound
from podsql.engine.training.strategies import Update
from podsql.errors import error
from podsql.planner.fragment import TorchStep
from podsql.planner.plan import Plan, Stage
from podsql.planner.training.designing import Design
from podsql.planner.training.local_steps import LOCAL_FIELDS, finite_weights, weights_of


class NetworkRounds:
    """As ``Rounds``, whose sums the first rounds are. ``seconds``: what each round may take."""

    def __init__(
        self,
        statement: Statement,
        merger: Merger,
        bound: Bound,
        design: Design,
        *,
        seconds: float,
    ) -> None:
        self._statement = statement
        self._merger = merger
        self._design = design
        self._plain = Rounds(statement, merger, bound, design, seconds=seconds)
        self._plan = Plan(
            statement=statement.sql, stages=(), final="", columns=(), tables=design.tables
        )
        self.versions = self._plain.versions
        """Data version of each pod, of the first round."""
        self.bound = bound
        self.seconds = seconds
        self.asked = 0

    @property
    def pods(self) -> tuple[str, ...]:
        """Who is asked."""
        return self._design.pods

    def sums(self, asked: Round, *, references: bool = False) -> dict[str, float]:
        """The sums of one round over all pods; of a round of local steps a ``Gathered``."""
        if isinstance(asked, LocalRound) and asked.step is not None:
            return self._gathered(asked.step)
        self._plain.bound, self._plain.seconds = self.bound, self.seconds
        return self._plain.sums(asked, references=references)

    def _gathered(self, step: TorchStep) -> Gathered:
        self.asked += 1
        statement = self._statement
        statement.deadline = time.monotonic() + self.seconds
        name = f"steps{self.asked}"
        stages = local_stages(self._design, step, name)
        tables = statement.ask_together(stages, self._plan, self.bound, self._merger)
        require_same_data(self.versions, statement.outcome.receipts, f"{name}_")
        withheld = sorted(pod for pod, table in tables.items() if table.num_rows != 1)
        if withheld:
            raise withheld_at(withheld)
        rows = {pod: tables[pod].to_pylist()[0] for pod in sorted(tables)}
        updates = tuple(update_of(pod, row, step) for pod, row in rows.items())
        totals = {
            "n": float(sum(one.n for one in updates)),
            "dropped": float(sum(row["dropped"] for row in rows.values())),
        }
        return Gathered(totals, updates)


def local_stages(design: Design, step: TorchStep, name: str) -> list[Stage]:
    """One round as stages: of each part of the design one."""
    found = []
    for place, part in enumerate(design.parts):
        features, targets, _ = design.given(part)
        fragment = replace(
            step,
            source=part.source,
            features=features,
            targets=targets,
            literals=part.literals,
            split=design.split,
        )
        found.append(
            Stage(name=f"{name}_{place}", pods=part.pods, fragment=fragment, fields=LOCAL_FIELDS)
        )
    return found


def update_of(pod: str, row: dict[str, Any], step: TorchStep) -> Update:
    """What a pod brings, or DATA with its name: a liar or a fault must not spoil the others' model."""
    n, dropped, loss, weights = (row[field.name] for field in LOCAL_FIELDS)
    fine = (
        n is not None
        and dropped is not None
        and min(n, dropped) >= 0
        and loss is not None
        and isfinite(loss)
        and weights is not None
        and finite_weights(weights, weights_of(step))
    )
    if not fine:
        raise error(
            "DATA",
            "the weights of the pod are not finite or of another network, or it counts fewer than no rows",
            pod=pod,
            hint="leave the pod out: WITH (pods = …)",
        )
    return Update(pod=pod, n=n, loss=loss, weights=weights)
