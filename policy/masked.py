"""What the gate asks of a statement whose figures leave under masks, beyond what it asks of any.

An opened sum must never be one pod's by design: so nothing in the statement tells pods apart, and every
pod answers for the same groups, which it knows before it reads a row. Each pod judges its own figures as
if they left in the clear.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from podsql.errors import Error
from podsql.planner.fragment import Aggregate
from podsql.planner.key_lists import NUMBERS, KeyList, declared_texts, key_list, too_many
from podsql.planner.masked_states import State, read_states
from podsql.planner.wire_types import is_enum
from podsql.policy.denial import Denial
from podsql.policy.document import Output as Rules
from podsql.policy.regenerate import Output
from podsql.policy.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class SumOrder:
    """How the pod's groups become cells of a sum: its states, and the lists of its keys."""

    states: tuple[State, ...]
    lists: tuple[KeyList, ...]


def judge_masked(
    fragment: Aggregate, scope: Scope, outputs: Sequence[Output], rules: Rules, *, guarded: bool
) -> SumOrder:
    """The order for a fragment that is otherwise allowed; Denial if it has none."""
    if fragment.grouping_sets is not None:
        raise Denial("FRAGMENT_KIND")
    if guarded and rules.round_base >= 2 * rules.min_units:
        raise Denial("ROUNDED")  # a group that rounds to no row would be missing
    try:
        states = read_states(fragment.aggregates)
    except Error:
        raise Denial("AGG_NOT_ALLOWED") from None
    keys = scope.outputs[: len(fragment.keys)]
    lists = tuple(_list(key, output, scope) for key, output in zip(keys, outputs, strict=False))
    if too_many(lists):
        raise Denial("LIMIT")
    return SumOrder(states=states, lists=lists)


def _list(key: exp.Expr, output: Output, scope: Scope) -> KeyList:
    """A list that policy or schema give; one from the analyst would ask what lies outside of it."""
    bare = key.unnest()
    while isinstance(bare, exp.Cast):
        bare = bare.this.unnest()
    rights = scope.column(bare) if isinstance(bare, exp.Column) else None
    kind = output.field.type
    declared: tuple[str, ...] = ()
    if rights is not None:
        kind = rights.type if is_enum(rights.type) and kind == "VARCHAR" else kind
        declared = declared_texts(rights.type, rights.values or ())
    found = key_list(kind, declared)
    if found is None or output.field.type not in ("BOOLEAN", "VARCHAR", *NUMBERS):
        raise Denial("KEY_LIST")
    return found
