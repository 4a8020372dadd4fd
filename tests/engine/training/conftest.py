"""Pods as tables of one DuckDB: every round of a fit is run as real SQL over each, and added up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from podsql.engine.training.fitted import Fitted
from podsql.engine.training.fitting import Design, Fitting, Round
from podsql.engine.training.registry import begin
from podsql.planner.fragment import Feature, ModelStep
from podsql.planner.training.steps import step_fields, write_step

Columns = Mapping[str, Any]
UNEQUAL = (0.7, 0.3)
"""Shares of rows of two pods; a third one is empty, a fourth has one row."""


@dataclass(frozen=True)
class Pods:
    """The tables of several pods, in canonical order."""

    engine: duckdb.DuckDBPyConnection
    tables: tuple[str, ...]

    def sums(self, asked: Round, design: Design) -> dict[str, float]:
        """The sums of one round, added over the pods."""
        step = ModelStep(
            family=asked.family,
            source="FROM t",
            features=design.features,
            targets=design.targets,
            centre=asked.centre,
            scale=asked.scale,
            state=asked.state,
        )
        cast = {f"x{j}": one.sql for j, one in enumerate(design.features)}
        cast |= {f"y{j}": one.sql for j, one in enumerate(design.targets)}
        columns = ", ".join(f"CAST({sql} AS DOUBLE) AS {name}" for name, sql in cast.items())
        whole = " AND ".join(f"{name} IS NOT NULL" for name in cast)
        written = write_step(step, "complete")
        aggregates = ", ".join(f"coalesce({sql}, 0) AS {name}" for name, sql in written.sums)
        sql = f"""
            WITH every AS (SELECT {columns} FROM {{table}}),
            complete AS (SELECT * FROM every WHERE {whole}),
            model AS ({written.relation})
            SELECT count(*) AS n, (SELECT count(*) FROM every) - count(*) AS dropped,
              {aggregates}, coalesce(bool_and({written.valid}), true) AS valid
            FROM model"""
        total: dict[str, float] = {}
        for table in self.tables:
            [values] = self.engine.execute(sql.format(table=table)).fetchall()
            row = dict(zip((one[0] for one in self.engine.description), values, strict=True))
            assert row.pop("valid"), "rows that the family does not take"
            assert list(row) == [field.name for field in step_fields(step)]
            for name, value in row.items():
                total[name] = total.get(name, 0) + value
        return total

    def run(self, fitting: Fitting[Any], design: Design) -> Fitted:
        """All rounds."""
        while (asked := fitting.next_round()) is not None:
            fitting.take(self.sums(asked, design))
        return fitting.result()

    def fit(
        self,
        method: str,
        features: Sequence[str],
        targets: Sequence[str] = (),
        indicators: Sequence[str] = (),
        start: tuple[float, ...] = (),
        groups: tuple[tuple[int, ...], ...] = (),
        **options: float,
    ) -> Fitted:
        """A model of columns of ``t`` by name."""
        design = designed(features, targets, indicators, groups)
        return self.run(begin(method, design, options, start=start), design)


def designed(
    features: Sequence[str],
    targets: Sequence[str] = (),
    indicators: Sequence[str] = (),
    groups: tuple[tuple[int, ...], ...] = (),
) -> Design:
    return Design(
        features=tuple(Feature(one, one, one in indicators) for one in features),
        targets=tuple(Feature(one, one, one in indicators) for one in targets),
        groups=groups,
    )


@pytest.fixture(scope="session")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        engine.execute("SET threads = 1")
        yield engine


@pytest.fixture
def federate(engine: duckdb.DuckDBPyConnection) -> Iterator[Callable[..., Pods]]:
    """The rows as they come, cut into unequal pods: of ``shares``, an empty one, one of a row."""
    made: list[str] = []

    def federate(columns: Columns, shares: Sequence[float] = UNEQUAL) -> Pods:
        table = pa.table(dict(columns))
        rows = table.num_rows - 1
        cuts = [0, *np.round(np.cumsum(shares) / sum(shares) * rows).astype(int).tolist()]
        parts = [table.slice(low, high - low) for low, high in pairwise(cuts)]
        parts += [table.slice(0, 0), table.slice(rows, 1)]
        names = []
        for part in parts:
            names.append(f"pod_{len(made)}")
            made.append(names[-1])
            engine.register("part", part)
            engine.execute(f"CREATE TABLE {names[-1]} AS SELECT * FROM part")
            engine.unregister("part")
        return Pods(engine, tuple(names))

    yield federate
    for name in made:
        engine.execute(f"DROP TABLE {name}")


@pytest.fixture
def design() -> Callable[..., Design]:
    return designed
