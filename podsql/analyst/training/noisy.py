"""A model with noise: what every pod's policy says of its rounds before one is asked, and the rounds.

The pods tell their bounds; the ranges that hold them all are those of every round, so that sums add up.
Rule to keep: nothing is asked for that a pod said it would deny, or whose price a budget does not
cover; what the rounds of a series are told from others by follows from the statement and the data
versions alone, so that the same model costs once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import sqrt
from typing import Final

import msgspec

from podsql.analyst.dry_run import ask_pods
from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement
from podsql.engine.training.fitting import Round
from podsql.engine.training.noisy import Scale
from podsql.engine.training.noisy_kinds import NoisyKind, noisy_kind
from podsql.engine.training.options import Options
from podsql.errors import error
from podsql.messages import PolicyReply
from podsql.planner.closing import Noise, Value
from podsql.planner.fragment import NoisyStep
from podsql.planner.plan import Stage
from podsql.planner.training.designing import Design
from podsql.planner.training.noisy_steps import noisy_fields
from podsql.planner.training.selecting import Part

NOISE_SETTINGS: Final = frozenset({"privacy", "epsilon", "delta", "fresh"})
_HINTS: Final = {
    "NO_DP": "its policy has no section [dp]",
    "NO_BOUNDS": "a column has no bounds in the policy (a logistic target: a condition, or 0 to 1)",
    "DP_PARAMETERS": "epsilon or delta is more than the policy gives one statement",
    "ENTITY_COUNT": "the rows must be about one privacy unit, by a column that the policy names",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noisy:
    """What the pods of one design agree to. ``promises``: epsilon and delta of all rounds, by pod."""

    kind: NoisyKind
    noise: Noise
    rounds: int
    scale: Scale
    promises: Mapping[str, tuple[float, float]]
    short: tuple[str, ...] = field(default=(), compare=False)
    """Pods whose budget does not cover it now."""

    def require_budget(self) -> None:
        """BUDGET before any pod is paid, if one of them would refuse."""
        if self.short:
            raise error(
                "BUDGET",
                "the privacy budget does not cover this model",
                pod=self.short[0],
                hint="SHOW BUDGET; a smaller epsilon, or ask the custodian",
            )

    @property
    def promise(self) -> tuple[float, float]:
        """Of whoever is at one pod: rows of several pods are others' (parallel composition)."""
        pairs = self.promises.values()
        return max(one[0] for one in pairs), max(one[1] for one in pairs)

    def stages(
        self, design: Design, asked: Round, name: str, *, references: bool = False
    ) -> list[Stage]:
        """One round as stages, as ``rounds.stages_of``; references are part of every round."""
        assert not references
        return [
            _stage(self, design, part, asked, f"{name}_{place}")
            for place, part in enumerate(design.parts)
        ]


def require_plain(settings: Mapping[str, Value], *, masked: bool, earlier: str) -> None:
    """OPTION or NOT_SUPPORTED for what does not go with noise."""
    if masked:
        raise error(
            "NOT_SUPPORTED",
            "secure_aggregation does not go with privacy = 'dp'",
            hint="every pod adds its own noise: its sums may be seen",
        )
    if "min_pods" in settings:
        raise error(
            "NOT_SUPPORTED",
            "min_pods does not go with privacy = 'dp': a job of fewer pods would be paid for again",
            hint="name the pods: WITH (pods = …)",
        )
    if "validation" in settings:
        raise error("NOT_SUPPORTED", "validation does not go with privacy = 'dp'")
    if settings.get("missing", "drop") != "drop":
        raise error(
            "OPTION",
            "with noise nobody is told that rows lack a value: they are left out",
            hint="missing = 'drop'",
        )
    if earlier:
        raise error("NOT_SUPPORTED", "a model with noise begins at no earlier model")


def agree(
    family: str,
    options: Options,
    noise: Noise,
    design: Design,
    bound: Bound,
    statement: Statement,
    token: bytes,
) -> Noisy:
    """Ask every pod for its bounds, then for the price; DENIED names the pod.

    ``token``: what a series with new noise is told from others by.
    """
    kind = noisy_kind(family)
    terms = Noisy(
        kind=kind,
        noise=noise,
        rounds=kind.rounds(options),
        scale=Scale(ranges=(), deviation=0.0, series=b""),
        promises={},
    )
    said = _said(terms, design, bound, statement)
    series = _series(family, options, noise, design, bound, token if noise.fresh else b"")
    scale = Scale(ranges=_hull(said), deviation=_deviation(said), series=series)
    terms = replace(terms, scale=scale)
    said = _said(terms, design, bound, statement)
    promises = {pod: one.promise for pod, one in said.items() if one.promise is not None}
    short = tuple(sorted(pod for pod, one in said.items() if one.epsilon and one.fits == 0))
    return replace(terms, promises=promises, short=short)


def priced(
    terms: Noisy, design: Design, bound: Bound, statement: Statement
) -> dict[str, PolicyReply]:
    """What every pod says of the whole series now."""
    return _said(terms, design, bound, statement)


def _said(
    terms: Noisy, design: Design, bound: Bound, statement: Statement
) -> dict[str, PolicyReply]:
    found: dict[str, PolicyReply] = {}
    for stage in terms.stages(design, Round(family=terms.kind.family), "price"):
        found |= ask_pods(statement, stage, design.tables, bound)
    for pod in sorted(found):
        reply, listed = found[pod], len(design.features) + len(design.targets)
        if not reply.allow:
            raise error(
                "DENIED",
                f"the policy does not let this be trained on with noise ({reply.rule})",
                pod=pod,
                hint=_HINTS.get(reply.rule, "EXPLAIN TRAIN MODEL shows the columns"),
            )
        if len(reply.ranges) != listed or not reply.noise or reply.promise is None:
            raise error("BAD_RESULT", "the pod did not say what its noise is", pod=pod)
    return found


def _hull(said: Mapping[str, PolicyReply]) -> tuple[tuple[float, float], ...]:
    """The narrowest ranges that hold those of all pods."""
    columns = zip(*(reply.ranges for reply in said.values()), strict=True)
    return tuple((min(low for low, _ in one), max(high for _, high in one)) for one in columns)


def _deviation(said: Mapping[str, PolicyReply]) -> float:
    """Of a sum of the first round over all pods, whose noises are independent."""
    return sqrt(sum(reply.noise[0] ** 2 for reply in said.values()))


def _series(
    family: str,
    options: Options,
    noise: Noise,
    design: Design,
    bound: Bound,
    token: bytes,
) -> bytes:
    """What the coefficients of each round follow from, besides the rounds before it."""
    data = [
        (pod, table.name, table.data_version, table.policy_hash)
        for pod in design.pods
        for table in bound.offers[pod].tables
        if table.name in design.tables
    ]
    parts = (family, sorted(options.items()), noise.epsilon, noise.delta, data, token)
    return blake2b(
        msgspec.msgpack.encode(parts), digest_size=16, person=b"ps-noisy-series"
    ).digest()


def _stage(terms: Noisy, design: Design, part: Part, asked: Round, name: str) -> Stage:
    features, targets, references = design.given(part)
    step = NoisyStep(
        family=terms.kind.family,
        source=part.source,
        features=features,
        targets=targets,
        references=references,
        ranges=terms.scale.ranges,
        rounds=terms.rounds,
        number=asked.number,
        state=asked.state,
        series=terms.scale.series,
        epsilon=terms.noise.epsilon,
        delta=terms.noise.delta,
        literals=part.literals,
    )
    return Stage(name=name, pods=part.pods, fragment=step, fields=noisy_fields(step))
