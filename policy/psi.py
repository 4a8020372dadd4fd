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
from podsql.policy.rights import ColumnRights
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope
from podsql.policy.total import without_errors

MOST_PODS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PsiOrder:
    """What the pod does once the count of its own keys has passed. ``sql`` yields the keys as text."""

    sql: str
    kind: KeyKind
    counted: Literal["union", "overlap", "met", "matched"]
    pods: tuple[str, ...]
    own_most: int
    """Keys that this pod may bring."""
    most: int
    """Keys that another party may bring."""
    candidates: int
    """Keys that the analyst brings; 0: pods meet."""
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
        names = fragment.pods
        if len(set(names)) != len(names) or pod not in names:
            raise Denial("FRAGMENT_KIND")
        if fragment.counted in ("union", "overlap"):
            if "psi_count" not in policy.joins.kinds:
                raise Denial("JOIN_TYPE")
            if fragment.candidates or not 2 <= len(names) <= MOST_PODS:
                raise Denial("FRAGMENT_KIND")
        else:
            _require_candidates(fragment, policy)
        part = next(part for part in fragment.parts if pod in part.pods)
        return cls(fragment=fragment, part=part)

    @property
    def candidates(self) -> int:
        """Keys that the analyst brings; 0: pods meet."""
        return self.fragment.candidates

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
        rules = policy.output
        key = _key(scope)
        if self.candidates:
            _require_whole(scope)
            if guarded and self.candidates < rules.min_units:
                raise Denial("PSI_PROBE")
        else:
            _require_pair(scope.column(key), policy)
        if guarded and not scope.column(key).is_key:
            # Of other values ten might be one person's.
            raise Denial("ENTITY_COUNT")
        kind = key_kind(self.part.key.type)
        if kind is None or key_kind(scope.column(key).type) != kind:
            raise Denial("BAD_TYPE")
        return PsiOrder(
            sql=_keys_sql(without_errors(scope) if guarded else scope, key),
            kind=kind,
            counted=self.fragment.counted,
            pods=self.fragment.pods,
            own_most=policy.joins.psi_keys,
            most=self.candidates or policy.joins.psi_keys,
            candidates=self.candidates,
            least=rules.min_units if guarded else 0,
            zero=not guarded or rules.zero_cells == "show",
            base=max(1, rules.round_base) if guarded else 1,
            # The analyst's other keys are his own, and how many this pod has is not told.
            complement=guarded and rules.complement and not self.candidates,
        )


def _require_candidates(fragment: Psi, policy: Policy) -> None:
    """A list of few keys is a question about them, and a long one a search for all there are."""
    rules = policy.intersect
    if fragment.counted == "matched" and rules.answer != "rows":
        raise Denial("ROW_LEVEL")
    if not 1 <= fragment.candidates <= rules.max_candidates:
        raise Denial("PSI_PROBE")
    if len(fragment.parts) != 1 or len(fragment.pods) != 1:
        raise Denial("FRAGMENT_KIND")


def _require_whole(scope: Scope) -> None:
    """An analyst meets a table as a whole: with conditions, his list would be one about values."""
    if scope.where or len(scope.sources) > 1 or scope.sources[0].inner is not None:
        raise Denial("STATEMENT")


def _key(scope: Scope) -> exp.Column:
    """The key that is counted: a column that may join tables."""
    (count,) = scope.outputs
    given = arguments(count) if isinstance(count, exp.Count) else ()
    key = plain_column(given[0], scope) if len(given) == 1 else None
    if key is None or count.find(exp.Distinct) is None:
        raise Denial("NODE_NOT_ALLOWED")
    source, rights = scope.source(key), scope.column(key)
    if source.rights.public or source.hidden or not rights.may("join_key"):
        raise Denial("JOIN_COLUMN")
    return key


def _require_pair(rights: ColumnRights, policy: Policy) -> None:
    """Where pairs are listed, a key that meets other pods' must be paired with itself."""
    pairs = policy.joins.pairs
    own = {rights.origin.lower()}
    if pairs is not None and all(
        {qualified(left), qualified(right)} != own for left, right in pairs
    ):
        raise Denial("JOIN_COLUMN")


def _keys_sql(scope: Scope, key: exp.Column) -> str:
    """Every different key of the rows that were counted, as text."""
    text = exp.Cast(this=key.copy(), to=exp.DataType.build("VARCHAR"))
    select = select_of(scope, [exp.alias_(text, "key", quoted=True)])
    select.set("distinct", exp.Distinct())
    return text_of(select.where(exp.Not(this=exp.Is(this=key.copy(), expression=exp.Null()))))
