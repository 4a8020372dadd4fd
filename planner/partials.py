"""The partial columns a statement asks of each pod, before they become a fragment's text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from podsql.planner.fragment import Disclosure


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """One partial column: ``template`` over ``arguments`` ({0}, {1}), and a FILTER."""

    name: str
    template: str
    arguments: tuple[exp.Expression, ...]
    condition: exp.Expression | None
    type: str
    disclosure: Disclosure


@dataclass(slots=True, kw_only=True)
class Partials:
    """The partial columns of one statement; equal ones are shared. ``centres``: see add_centre."""

    columns: list[Partial] = field(default_factory=list)
    centres: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[str, ...], str, str], str] = field(default_factory=dict)

    def add(
        self,
        template: str,
        arguments: Sequence[exp.Expression],
        condition: exp.Expression | None,
        type_name: str,
        disclosure: Disclosure,
    ) -> str:
        """The name of the partial ``template`` over the arguments, under a FILTER."""
        texts = tuple(a.sql(dialect="duckdb") for a in arguments)
        filtered = "" if condition is None else condition.sql(dialect="duckdb")
        known = (template, texts, filtered, type_name)
        name = self._known.get(known)
        if name is None:
            name = self._known[known] = f"p{len(self.columns)}"
            self.columns.append(
                Partial(
                    name=name,
                    template=template,
                    arguments=tuple(arguments),
                    condition=condition,
                    type=type_name,
                    disclosure=disclosure,
                )
            )
        return name

    def add_centre(self, count: str, mean: str) -> str:
        """The group's mean over all pods, computed beside each pod's row before the merge."""
        over = f"sum({count} * {mean}) OVER same_group / sum({count}) OVER same_group"
        return self.centres.setdefault(over, f"c{len(self.centres)}")
