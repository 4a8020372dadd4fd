"""What the numbers of a round may be: no coefficients, centres or scales single a few units out.

A round weighs rows by what its numbers and their columns make of them. So a weight is judged like a
condition that few rows could be left by: each figure that it stands in, of all rows, of those that
differ from the value most weighed, and of every cell, must be spread over enough units by Kish's
effective sample size, ``(sum w)^2 / sum w^2``. Rule to keep: what is written here over the rows of a
round is cheap, as it runs again for every round; nothing of it looks at a target but by its weights.
"""

from collections.abc import Sequence
from typing import Final

from podsql.planner.fragment import ModelStep
from podsql.planner.training.written import Written, number
from podsql.policy.document import Output
from podsql.policy.dominance import fair_sum
from podsql.policy.model_figures import DesignColumn, pair_cells, single_cells

MOST_SHIFT: Final = 2.0**40
"""Square of the largest centre, in squares of the column's own size: beyond, a value less it is rounded."""
MOST_COEFFICIENT: Final = 2.0**60
"""Square of the largest term of a predictor, in squares of the target's size, of 1 behind a link; and of the
largest centre of a cluster, in squares of its column's size."""
LINEAR: Final = ("gaussian", "score_gaussian", "absolute_gaussian")
"""Families whose means are linear in the state, without bounds."""
LEAST_SQUARE: Final = 2.0**-200
"""Mean square of a column in its scale: below, products of small values are rounded to 0."""
USUAL_ETA: Final = 20.0
"""Most that linear predictors under an exponential may be in the mean (root of their mean square): so none but
far outliers, which have nearly all of the weight, are near where they are cut."""
CUT: Final = ("poisson", "gamma", "cox", "score_poisson", "score_gamma")
CROWDS: Final = 256
"""Values are first put together in so many: if none of these has most weight, no value has."""


def number_rules(step: ModelStep) -> str:
    """Over ``complete``: a condition on the numbers of ``step``, that they round nobody's value away.

    ``x - c`` with a ``c`` far larger is a step, and so is the sum of large terms that cancel out.
    """
    checks = ["true"]
    for place, (centre, scale) in enumerate(zip(step.centre, step.scale, strict=True)):
        column, shift = f"x{place}", number(centre)
        placed = f"({column} - {shift}) / {number(scale)}"
        size = f"sum({placed} * {placed})"
        checks.append(
            f"(min({column}) = max({column})"
            f" OR ({shift} * {shift} * count(*) <= {MOST_SHIFT!r} * sum({column} * {column})"
            f" AND {size} >= {LEAST_SQUARE!r} * count(*)))"
        )
    checks += _terms(step)
    if step.family in CUT and step.state:
        columns = [_placed(step, place) for place in range(len(step.features))]
        if step.family != "cox":
            columns.insert(0, "1.0::DOUBLE")
        eta = " + ".join(
            f"{number(one)} * {column}" for one, column in zip(step.state, columns, strict=True)
        )
        checks.append(f"sum(power({eta}, 2)) <= {USUAL_ETA * USUAL_ETA!r} * count(*)")
    return f"coalesce({' AND '.join(checks)}, false)"


def _terms(step: ModelStep) -> list[str]:
    """No term of a predictor is far larger than what it adds up to, no centre than its column."""
    size = len(step.features)
    columns = [_placed(step, place) for place in range(size)]
    if step.family == "kmeans":
        pairs = zip(step.state, columns * (len(step.state) // size), strict=True)
        return [
            f"(min({column}) = max({column}) OR {number(one)} * {number(one)} * count(*)"
            f" <= {MOST_COEFFICIENT!r} * sum({column} * {column}))"
            for one, column in pairs
        ]
    if step.family != "cox":
        columns.insert(0, "1.0::DOUBLE")
    of = "sum(y0 * y0)" if step.family in LINEAR else "count(*)"
    return [
        f"{number(one)} * {number(one)} * sum({column} * {column}) <= {MOST_COEFFICIENT!r} * {of}"
        for one, column in zip(step.state, columns, strict=False)
    ]


def _placed(step: ModelStep, place: int) -> str:
    if not step.centre:
        return f"x{place}"
    return f"((x{place} - {number(step.centre[place])}) / {number(step.scale[place])})"


def weight_rules(
    written: Written, columns: Sequence[DesignColumn], kind: int, output: Output
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Queries by name, one of another, over ``placed``; and which have ``ok`` in each row.

    ``kind``: which of the ``e`` columns tells units. Rows of no unit weigh nothing.
    """
    return _Rules(written, columns, kind, output).written()


class _Rules:
    """Writes the queries of one round and one kind of unit.

    ``_b``: the group that a row is of; ``_g``, ``_o``: its weights, and those of all rows of its unit.
    """

    def __init__(
        self, written: Written, columns: Sequence[DesignColumn], kind: int, output: Output
    ) -> None:
        self._round, self._kind, self._output = written, kind, output
        self._columns = columns
        self._numbers = [one.name for one in columns if not one.indicator]
        self._cells = single_cells(columns)
        self._weights = range(len(written.weights))
        self._pairs = [q for q in self._weights if written.weights[q].pairs]

    def written(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """As ``weight_rules``."""
        found = {"weighed": self._weighed(), "whole": self._whole()}
        asked = ["whole"]
        if self._round.weights and self._numbers:
            found |= {"crowds": self._crowds()}
            found |= {f"near{q}": self._near(q) for q in self._pairs}
            found |= {"values": self._values(), "singles": self._singles()}
            asked.append("singles")
            found |= {f"both{q}": self._both(q) for q in self._pairs}
            asked += [f"both{q}" for q in self._pairs]
            if self._cells:
                for q in self._pairs:
                    found |= {f"levels{q}": self._levels(q), f"within{q}": self._within(q)}
                    asked.append(f"within{q}")
        if self._round.weights and self._tagged():
            found["shared"] = self._shared()
            asked.append("shared")
        mine = {name: f"{name}_{self._kind}" for name in found}
        return (
            {mine[name]: query.format(**mine) for name, query in found.items()},
            tuple(mine[name] for name in asked),
        )

    def _weighed(self) -> str:
        unit = f"e{self._kind}"
        every = [one.sql for one in self._round.weights]
        every += [f"abs({one})" for one in self._round.alone]
        given = [f"CAST({one} AS DOUBLE) AS _g{q}" for q, one in enumerate(every)]
        valid, mass = self._round.valid, self._round.mass
        marks = [f"{self._round.group} AS _b", f"({valid}) AS _v", f"CAST({mass} AS DOUBLE) AS _m"]
        rows = f"SELECT {', '.join(['*', *marks, *given])} FROM placed"
        if self._output.complement:
            # who weighs less than others is left out by as much
            least = [f"max(_g{q}) OVER (PARTITION BY _b) - _g{q}" for q in self._weights]
            every += least
            added = [f"{one} AS _g{len(given) + q}" for q, one in enumerate(least)]
            rows = f"SELECT {', '.join(['*', *added])} FROM ({rows})"
        many = range(len(every))
        known = [f"CASE WHEN {unit} IS NULL THEN 0.0 ELSE _g{q} END AS _g{q}" for q in many]
        own = [f"sum(_g{q}) OVER (PARTITION BY {unit}, _b) AS _o{q}" for q in many]
        replaced = f"* REPLACE ({', '.join(known)})" if known else "*"
        return (
            f"SELECT {', '.join(['*', 'row_number() OVER () AS _r', *own])}"
            f" FROM (SELECT {replaced} FROM ({rows}))"
        )

    def _whole(self) -> str:
        """Of all rows and of each cell: the weights of columns; the mass; what is summed alone."""
        least, zero = self._output.min_units, self._output.zero_cells == "show"
        figures: list[tuple[int, str, bool]] = []
        for q in self._weights:
            figures.append((q, "", False))
            cells = [*self._cells, *(pair_cells(self._columns) if q in self._pairs else ())]
            figures += [(q, one.condition, one.rest or zero) for one in cells]
        checks = ["coalesce(bool_and(_v), false)", f"coalesce(sum(_m) >= {least}, false)"]
        if not zero:
            checks.append(f"count(*) OVER () = {self._round.groups}")
        parts = [f"SELECT {' AND '.join(checks)} AS ok FROM {{weighed}} GROUP BY _b"]
        if figures:
            parts.append(self._spread_of(figures))
        first = len(self._round.weights)
        many = len(self._round.alone) + (first if self._output.complement else 0)
        if many:
            alone = [(q, "", True) for q in range(first, first + many)]
            parts.append(self._spread_of(alone, grouped=False))
        return " UNION ALL ".join(parts)

    def _spread_of(self, figures: Sequence[tuple[int, str, bool]], grouped: bool = True) -> str:
        """Whether weights are spread over rows of a condition; of no weight only where they are free.

        The sums are named, listed, and judged as rows: what an engine takes to plan a query grows with
        how often it meets a sum. A unit's own rows are taken together.
        """
        sums, names = [], range(len(figures))
        for place, (q, condition, _) in enumerate(figures):
            kept = f" FILTER (WHERE {condition})" if condition else ""
            sums.append(f"sum(_g{q}){kept} AS s{place}")
            sums.append(f"sum(_g{q} * _o{q}){kept} AS b{place}")
        lists = [f"[{', '.join(f'{part}{place}' for place in names)}]" for part in "sb"]
        lists.append(f"[{', '.join('true' if free else 'false' for *_, free in figures)}]")
        listed = ", ".join(
            f"unnest({one}) AS {name}" for one, name in zip(lists, ("s", "b", "free"), strict=True)
        )
        spread = self._is_spread("coalesce(s, 0)", "coalesce(b, 0)")
        return (
            f"SELECT (coalesce(s, 0) > 0 OR free) AND {spread} AS ok FROM (SELECT {listed}"
            f" FROM (SELECT {', '.join(sums)} FROM {{weighed}}{' GROUP BY _b' if grouped else ''}))"
        )

    def _long(self) -> str:
        places = ", ".join(map(str, range(len(self._numbers))))
        return f"unnest([{places}]) AS j, unnest([{', '.join(self._numbers)}]) AS v"

    def _crowds(self) -> str:
        """Of each number ``p``, the most that any value of it can weigh: values are put together.

        ``s``, ``b``: the weight of all rows, and what its square is compared with.
        """
        weighed = ", ".join(f"_g{q}" for q in self._weights)
        sums = ", ".join(f"sum(_g{q}) AS p{q}" for q in self._weights)
        most = ", ".join(f"max(p{q}) AS p{q}" for q in self._weights)
        whole = ", ".join(f"sum(_g{q}) AS s{q}, sum(_g{q} * _o{q}) AS b{q}" for q in self._weights)
        return (
            f"SELECT * FROM (SELECT _b, j, {most} FROM (SELECT _b, j, {sums} FROM"
            f" (SELECT _b, {weighed}, {self._long()} FROM {{weighed}})"
            f" GROUP BY _b, j, hash(v) % {CROWDS}) GROUP BY _b, j)"
            f" JOIN (SELECT _b, {whole} FROM {{weighed}} GROUP BY _b) USING (_b)"
        )

    def _near(self, q: int) -> str:
        """Pairs of numbers that might have few rows where neither has its usual value."""
        return (
            f"SELECT l.j AS i, m.j AS j FROM {{crowds}} l JOIN {{crowds}} m ON l.j < m.j"
            f" WHERE {self._in_doubt(f'(l.s{q} - l.p{q} - m.p{q})', f'l.b{q}')}"
        )

    def _values(self) -> str:
        """Of each number in doubt: its values, what stands on them, and which one has most."""
        asked = " OR ".join(self._in_doubt(f"(s{q} - p{q})", f"b{q}") for q in self._weights)
        pairs = "".join(f" UNION SELECT unnest([i, j]) FROM {{near{q}}}" for q in self._pairs)
        doubted = f"SELECT j FROM {{crowds}} WHERE {asked}{pairs}"
        listed = ", ".join(f"_{part}{q}" for q in self._weights for part in "go")
        sums = ", ".join(f"sum(_g{q}) AS s{q}, sum(_g{q} * _o{q}) AS b{q}" for q in self._weights)
        ranks = ", ".join(
            f"row_number() OVER (PARTITION BY _b, j ORDER BY s{q} DESC, v) AS r{q}"
            for q in self._weights
        )
        return (
            f"SELECT *, {ranks} FROM (SELECT _b, j, v, {sums} FROM (SELECT _b, {listed},"
            f" {self._long()} FROM {{weighed}}) WHERE j IN ({doubted}) GROUP BY _b, j, v)"
        )

    def _singles(self) -> str:
        """Of each number in doubt, the rows with another value than the one most weighed."""
        checks = [
            self._is_spread(
                *(f"coalesce(sum({part}{q}) FILTER (WHERE r{q} > 1), 0)" for part in "sb")
            )
            for q in self._weights
        ]
        return f"SELECT {' AND '.join(checks)} AS ok FROM {{values}} GROUP BY _b, j"

    def _both(self, q: int) -> str:
        rows = (
            f"SELECT u._r, u.j, _g{q}, _o{q} FROM (SELECT _r, _g{q}, _o{q}, {self._long()}"
            f" FROM {{weighed}}) u JOIN {{values}} t ON u.j = t.j AND t.r{q} = 1 AND u.v <> t.v"
            f" WHERE u.j IN (SELECT unnest([i, j]) FROM {{near{q}}})"
        )
        return (
            f"SELECT {self._is_spread('s', 'b')} AS ok FROM (WITH other AS ({rows})"
            f" SELECT sum(l._g{q}) AS s, sum(l._g{q} * l._o{q}) AS b FROM {{near{q}}} n"
            f" JOIN other l ON l.j = n.i JOIN other m ON m.j = n.j AND m._r = l._r GROUP BY n.i, n.j)"
        )

    def _levels(self, q: int) -> str:
        """Numbers and cells that might have few rows with another than the usual value there."""
        sums = [
            f"coalesce(sum({one}) FILTER (WHERE {cell.condition}), 0)"
            for one in (f"_g{q}", f"_g{q} * _o{q}")
            for cell in self._cells
        ]
        many = len(self._cells)
        return (
            f"SELECT c.c, t.j FROM (SELECT unnest([{', '.join(map(str, range(many)))}]) AS c,"
            f" unnest([{', '.join(sums[:many])}]) AS s, unnest([{', '.join(sums[many:])}]) AS b"
            f" FROM {{weighed}}) c, {{crowds}} t"
            f" WHERE {self._in_doubt(f'(c.s - t.p{q})', 'c.b')}"
        )

    def _within(self, q: int) -> str:
        chosen = ", ".join(
            f"CASE WHEN {cell.condition} THEN {place} END" for place, cell in enumerate(self._cells)
        )
        rows = (
            f"SELECT _g{q}, _o{q}, {self._long()}, cells FROM"
            f" (SELECT *, [{chosen}] AS cells FROM {{weighed}})"
        )
        return (
            f"SELECT {self._is_spread('s', 'b')} AS ok FROM (SELECT"
            f" coalesce(sum(s) FILTER (WHERE r > 1), 0) AS s,"
            f" coalesce(sum(b) FILTER (WHERE r > 1), 0) AS b FROM (SELECT *,"
            f" row_number() OVER (PARTITION BY c, j ORDER BY s DESC, v) AS r FROM"
            f" (SELECT n.c, n.j, w.v, sum(_g{q}) AS s, sum(_g{q} * _o{q}) AS b FROM {{levels{q}}} n"
            f" JOIN ({rows}) w ON w.j = n.j AND list_contains(w.cells, n.c)"
            f" GROUP BY n.c, n.j, w.v)) GROUP BY c, j)"
        )

    def _is_spread(self, total: str, square: str) -> str:
        """Kish's effective sample size is large enough, or there is no weight at all."""
        return (
            f"({total} = 0 OR ({square} > 0 AND isfinite({square})"
            f" AND {total} * {total} >= {self._output.min_units} * {square}))"
        )

    def _in_doubt(self, total: str, square: str) -> str:
        """Whether at least ``total``, of at most ``square``, does not tell that a figure is spread."""
        least = self._output.min_units
        return f"NOT coalesce({total} > 0 AND {total} * {total} >= {least} * {square}, false)"

    def _tagged(self) -> list[str]:
        rules = self._output
        checked = bool(rules.p_percent) or rules.nk is not None
        return [one.name for one in self._columns if checked and one.magnitude]

    def _shared(self) -> str:
        """Dominance, of the sums of tagged columns as each weight leaves them."""
        sums = [f"sum(_g{q} * {one})" for q in self._weights for one in self._tagged()]
        each = ", ".join(f"{one} AS s{place}" for place, one in enumerate(sums))
        checks = " AND ".join(fair_sum(f"s{n}", self._output) for n in range(len(sums)))
        unit = f"e{self._kind}"
        return (
            f"SELECT {checks} AS ok FROM (SELECT _b, {each} FROM {{weighed}}"
            f" WHERE {unit} IS NOT NULL GROUP BY {unit}, _b) GROUP BY _b"
        )
