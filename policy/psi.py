"""The gate for keys that are counted together with other pods': what a pod may bring, on which terms.

A count across pods is judged as the count of this pod's own keys would be, with every rule on
small groups, overlaps and caps; only if that could leave do the keys go into the count, blinded.
Rule to keep: nothing of a row leaves but points that other pods must multiply before they compare.
"""

from dataclasses import dataclass
from typing import Final, Literal

from sqlglot import exp

from podsql.planner.fragment import Aggregate, Column, Psi, PsiPart
from podsql.planner.wire_types import KeyKind, key_kind
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.joins import qualified
from podsql.policy.measures import plain_column
from podsql.policy.regenerate import select_of, text_of
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope
from podsql.policy.total import without_errors

MOST_PODS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PsiOrder:
    """What the pod does once the count of its own keys has passed. ``sql`` yields the keys as text."""

    sql: str
    kind: KeyKind
    counted: Literal["union", "overlap"]
    pods: tuple[str, ...]
    most: int
    least: int
    zero: bool
    base: int
    complement: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PsiAsk:
    """A fragment, and the part of it that is this pod's."""

    fragment: Psi
    part: PsiPart

    @classmethod
    def of(cls, fragment: Psi, pod: str, policy: Policy) -> "PsiAsk":
        """Denial if the pod's policy takes no part in such counts, or it is not asked."""
        if "psi_count" not in policy.joins.kinds:
            raise Denial("JOIN_TYPE")
        names = fragment.pods
        if len(set(names)) != len(names) or not 2 <= len(names) <= MOST_PODS or pod not in names:
            raise Denial("FRAGMENT_KIND")
        part = next(part for part in fragment.parts if pod in part.pods)
        return cls(fragment=fragment, part=part)

    def own_count(self) -> Aggregate:
        """The count of this pod's own keys."""
        return Aggregate(
            source=self.part.source,
            keys=(),
            aggregates=(Column("n", f"count(DISTINCT {self.part.key.sql})", "BIGINT"),),
            literals=self.fragment.literals,
        )

    def order(self, scope: Scope, policy: Policy, *, guarded: bool) -> PsiOrder:
        """How the keys of ``own_count`` are read, and the terms; ``guarded``: rows may not leave."""
        key = _key(scope, policy)
        kind = key_kind(self.part.key.type)
        if kind is None or key_kind(scope.column(key).type) != kind:
            raise Denial("BAD_TYPE")
        rules = policy.output
        return PsiOrder(
            sql=_keys_sql(without_errors(scope) if guarded else scope, key),
            kind=kind,
            counted=self.fragment.counted,
            pods=self.fragment.pods,
            most=policy.joins.psi_keys,
            least=rules.min_units if guarded else 0,
            zero=not guarded or rules.zero_cells == "show",
            base=max(1, rules.round_base) if guarded else 1,
            complement=guarded and rules.complement,
        )


def _key(scope: Scope, policy: Policy) -> exp.Column:
    """The key that is counted: a column that may join tables, and join itself."""
    (count,) = scope.outputs
    given = arguments(count) if isinstance(count, exp.Count) else ()
    key = plain_column(given[0], scope) if len(given) == 1 else None
    if key is None or count.find(exp.Distinct) is None:
        raise Denial("NODE_NOT_ALLOWED")
    source, rights = scope.source(key), scope.column(key)
    if source.rights.public or source.hidden or not rights.may("join_key"):
        raise Denial("JOIN_COLUMN")
    pairs = policy.joins.pairs
    origin = rights.origin.lower()
    if pairs is not None and not any(
        {qualified(left), qualified(right)} == {origin} for left, right in pairs
    ):
        raise Denial("JOIN_COLUMN")
    return key


def _keys_sql(scope: Scope, key: exp.Column) -> str:
    """Every different key of the rows that were counted, as text."""
    text = exp.Cast(this=key.copy(), to=exp.DataType.build("VARCHAR"))
    select = select_of(scope, [exp.alias_(text, "key", quoted=True)])
    select.set("distinct", exp.Distinct())
    return text_of(select.where(exp.Not(this=exp.Is(this=key.copy(), expression=exp.Null()))))
