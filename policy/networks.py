"""The gate for a round of a network: local steps over rows, which a custodian grants by a word of its own.

What leaves are weights that were fitted to the rows of this pod, and may hold some of them: no rule on
sums covers that. So the grant (``allow`` has ``networks`` beside ``train``) is the custodian's decision, and
what the gate holds the round to is this: the design passes every rule that the sums of its columns would,
enough privacy units are behind it, the weights and their rounds are no more than the document says.
Rule to keep: everything of a round is a number within bounds; the rows are read by SQL that is written here.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from podsql.errors import Error
from podsql.planner.fragment import Family, ModelStep, TorchStep
from podsql.planner.training.local_steps import (
    MODULE,
    plain_step,
    require_step,
    weights_of,
    work_of,
)
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.guard import GUARD
from podsql.policy.joins import Pair
from podsql.policy.models import ModelOrder, design_rows, judge_model
from podsql.policy.scope import Scope

JUDGED: dict[str, Family] = {"squared": "moments", "logistic": "binomial", "softmax": "classes"}
"""As which round of sums the columns are judged: what its targets may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOrder:
    """What is run for all rounds of one network over one design."""

    least: int
    """Privacy units of each kind behind it; 0: rows may leave."""
    rounds: int
    """Most rounds over this design."""
    weights: int


def network_design(step: TorchStep) -> ModelStep:
    """The round of sums whose rules the columns are held to; Denial for a module that is not known."""
    if step.module != MODULE:
        raise Denial("FRAGMENT_KIND")
    plain = plain_step(step)
    design_rows(plain)  # the number of columns
    if step.loss not in JUDGED:
        raise Denial("MODEL_STATE")
    return replace(plain, family=JUDGED[step.loss], centre=(), scale=())


def judge_network(
    step: TorchStep,
    scope: Scope,
    pairs: tuple[Pair, ...],
    policy: Policy,
    salt: str,
    *,
    guarded: bool,
) -> tuple[ModelOrder, NetworkOrder]:
    """``scope`` has the design's columns as outputs; Denial as a round of sums would have."""
    rules, many = policy.networks, weights_of(step)
    if many > rules.weights:
        raise Denial("LIMIT")
    if guarded and policy.output.overlap_guard:
        # nobody can say who makes the difference of two networks
        raise Denial("ROUNDS")
    order = judge_model(network_design(step), scope, pairs, policy, salt, guarded=guarded)
    least = max(rules.min_units, policy.output.min_units) if guarded else 0
    return order, NetworkOrder(least=least, rounds=rules.rounds, weights=many)


def network_sql(
    step: TorchStep, model: ModelOrder, network: NetworkOrder, pod: str
) -> tuple[str, str, bytes]:
    """The check of a round, the same for a design that has passed before, and the engine's work."""
    try:
        require_step(step)
    except Error:
        raise Denial("MODEL_STATE") from None
    plain = plain_step(step)
    full = " AND ".join(f"{name} IS NOT NULL" for name in model.names)
    complete = f"FROM ({model.rows}) WHERE {full}"
    if network.least:
        enough = " AND ".join(
            f"(SELECT count(DISTINCT e{kind}) >= {network.least} {complete})"
            for kind in range(model.units)
        )
        first, again = (
            f"SELECT * REPLACE (({GUARD} AND {enough or 'false'}) AS {GUARD})"
            f" FROM ({model.sql(plain, passed=passed)})"
            for passed in (False, True)
        )
    else:
        whole = f"CAST(count(*) FILTER (WHERE {full}) AS BIGINT)"
        first = again = f"SELECT {whole} AS n, count(*) - {whole} AS dropped FROM ({model.rows})"
    # ordered by all values: the same rows come in the same order, whatever the engine's threads do
    rows = f"SELECT {', '.join(model.names)} {complete} ORDER BY ALL"
    return first, again, work_of(step, rows, pod)
