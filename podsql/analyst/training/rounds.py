"""One round of a model, asked of every pod at once, its sums added in canonical order.

Rule to keep: a round is of all pods that the first one was of, over the same data, or an error that
names who differs; a sum is exact before it is rounded, so that no order of pods changes a bit.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, isfinite
from typing import Protocol

import pyarrow as pa

from podsql.analyst.federation import Bound
from podsql.analyst.statement import Receipt, Statement
from podsql.engine.merge import Merger
from podsql.engine.training.fitting import Round
from podsql.errors import Error, error
from podsql.planner.fragment import ModelStep
from podsql.planner.plan import Plan, Stage
from podsql.planner.training.designing import Design
from podsql.planner.training.selecting import Part
from podsql.planner.training.steps import step_fields


class Asked(Protocol):
    """Rounds that are asked of the pods (``rounds.Rounds``)."""

    @property
    def versions(self) -> dict[str, str]:
        """Data version of each pod, of the first round."""
        ...

    def sums(self, asked: Round, *, references: bool = False) -> dict[str, float]:
        """The sums of one round over all pods."""
        ...


class Written(Protocol):
    """A round as stages: ``stages_of``, or that of rounds with noise."""

    def __call__(
        self, design: Design, asked: Round, name: str, *, references: bool = False
    ) -> list[Stage]:
        """One stage for each part of the design."""
        ...


class Rounds:
    """Asks the pods of one design. ``seconds``: what each round may take; it and the offers of
    ``bound`` may be replaced between rounds. ``name``: of its rounds, which tells them from others of
    the same statement. ``write``: what they are to the pods; None: ``stages_of``."""

    def __init__(
        self,
        statement: Statement,
        merger: Merger,
        bound: Bound,
        design: Design,
        *,
        seconds: float,
        name: str = "round",
        write: Written | None = None,
    ) -> None:
        self._statement = statement
        self._merger = merger
        self.bound = bound
        self._design = design
        self.seconds = seconds
        self._name = name
        self._write = stages_of if write is None else write
        self._plan = Plan(
            statement=statement.sql, stages=(), final="", columns=(), tables=design.tables
        )
        self.versions: dict[str, str] = {}
        """Data version of each pod, of the first round."""
        self.asked = 0

    @property
    def pods(self) -> tuple[str, ...]:
        """Who is asked."""
        return self._design.pods

    def sums(self, asked: Round, *, references: bool = False) -> dict[str, float]:
        """The sums of one round over all pods; ``references``: of every level of its categories alone."""
        return added(self.by_pod(asked, references=references))

    def by_pod(self, asked: Round, *, references: bool = False) -> dict[str, dict[str, float]]:
        """The same, pod by pod in canonical order. WITHHELD names the pods that keep theirs."""
        found = self.where_released(asked, references=references)
        withheld = sorted(pod for pod, sums in found.items() if sums is None)
        if withheld:
            raise withheld_at(withheld)
        return {pod: sums for pod, sums in found.items() if sums is not None}

    def where_released(
        self, asked: Round, *, references: bool = False
    ) -> dict[str, dict[str, float] | None]:
        """The same with None for a pod that keeps its own."""
        self.asked += 1
        statement = self._statement
        statement.deadline = time.monotonic() + self.seconds
        named = f"{self._name}{self.asked}"
        stages = self._write(self._design, asked, named, references=references)
        tables = statement.ask_together(stages, self._plan, self.bound, self._merger)
        require_same_data(self.versions, statement.outcome.receipts, f"{named}_")
        found = {
            pod: _row(tables[pod]) if tables[pod].num_rows == 1 else None for pod in sorted(tables)
        }
        for pod, sums in found.items():
            if sums is not None:
                require_numbers(sums, pod)
        return found


def require_numbers(sums: Mapping[str, float], pod: str) -> None:
    """DATA, which names the pod, before one odd number spoils the sums of all.

    Rounds with noise count no rows."""
    counts = (sums.get("n", 0), sums.get("dropped", 0))
    if not all(map(isfinite, sums.values())) or min(counts) < 0:
        raise error(
            "DATA",
            "a sum of the pod is no finite number, or it counts fewer than no rows",
            pod=pod,
            hint="values may be too large to be squared: scale the column; or leave the pod out",
        )


def withheld_at(pods: Sequence[str]) -> Error:
    """WITHHELD: these pods keep their sums."""
    return error(
        "WITHHELD",
        f"{', '.join(map(repr, pods))}: too few privacy units stand behind a sum of "
        "this model, or few of them make it",
        hint="fewer or broader columns, more rows, or leave the pod out: WITH (pods = …)",
    )


def require_same_data(versions: dict[str, str], receipts: Iterable[Receipt], stage: str) -> None:
    """Sums over rows that changed in between are of no data that ever was: CONFLICT.

    ``versions`` holds those of the first round; ``stage``: what the names of this one's begin with.
    """
    for receipt in receipts:
        if not receipt.stage.startswith(stage):
            continue
        if receipt.data_version != versions.setdefault(receipt.pod, receipt.data_version):
            raise error(
                "CONFLICT",
                "the pod took in new data while the model was trained",
                pod=receipt.pod,
                hint="train it again",
            )


def added(by_pod: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The sums of all pods together."""
    names = next(iter(by_pod.values())).keys()
    return {name: fsum(sums[name] for sums in by_pod.values()) for name in names}


def stages_of(design: Design, asked: Round, name: str, *, references: bool = False) -> list[Stage]:
    """One round as stages: of each part of the design one, ``name_0``, …"""
    return [
        _stage(f"{name}_{place}", design, part, asked, references=references)
        for place, part in enumerate(design.parts)
    ]


def _stage(name: str, design: Design, part: Part, asked: Round, *, references: bool) -> Stage:
    features, targets = design.asked(part, references=references)
    step = ModelStep(
        family=asked.family,
        source=part.source,
        features=features,
        targets=targets,
        centre=asked.centre,
        scale=asked.scale,
        state=asked.state,
        literals=part.literals,
        split=design.split,
    )
    return Stage(name=name, pods=part.pods, fragment=step, fields=step_fields(step))


def _row(table: pa.Table) -> dict[str, float]:
    """Sums over no row are NULL in SQL, and 0."""
    return {
        name: column[0].as_py() or 0
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
