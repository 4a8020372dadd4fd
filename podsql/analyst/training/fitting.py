"""``TRAIN MODEL``: bind, plan the design, ask round after round until the fit is done, keep it.

Rule to keep: rows without a value are an error unless the statement says to drop them, and a model
is kept only when its last round is done.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement
from podsql.analyst.training.networks import (
    begin_network,
    is_network,
    require_granted,
    require_network,
)
from podsql.analyst.training.noisy import NOISE_SETTINGS, Noisy, agree, require_plain
from podsql.analyst.training.rounds import Asked
from podsql.analyst.training.shelf import Column, Kept, Privacy, Shelf, checked_name
from podsql.analyst.training.splits import training_part
from podsql.analyst.training.terms import drops_of, offers_of, require_domain, require_values
from podsql.engine.training import fitting as rounds
from podsql.engine.training.fitted import Coefficients, Fitted
from podsql.engine.training.fitting import Fitting
from podsql.engine.training.noisy import NoisyState
from podsql.engine.training.noisy_kinds import begin_noisy, noisy_kind
from podsql.engine.training.registry import State, begin, model
from podsql.errors import error
from podsql.planner.closing import noise_of
from podsql.planner.fragment import Feature
from podsql.planner.masking import MASKED_SETTINGS, Masking, masking_of, require_one_request
from podsql.planner.training.designing import Design, DesignColumn, plan_design
from podsql.planner.training.orders import Train, options_of

SETTINGS: Final = frozenset(
    {
        "missing",
        "validation",
        "min_pods",
        "round_timeout",
        "detached",
        "modeller",
        *MASKED_SETTINGS,
        *NOISE_SETTINGS,
    }
)
"""What the closing WITH of TRAIN MODEL takes beside what every statement does."""
WITHOUT_CONSTANT: Final = ("naive_bayes", "kmeans", "pca")
"""Kinds of model in which no constant stands for the first level of a category."""

MOST_CLASSES: Final = 1000
"""That one network tells apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known before a statement is prepared; of an earlier run: its pods, where its rounds
    began, and the fit after the last of them."""

    bound: Bound
    pods: tuple[str, ...] | None = None
    start: tuple[float, ...] | None = None
    snapshot: State | None = None
    token: bytes = b""
    """Of the statement that began it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement that is ready for its next round."""

    order: Train
    bound: Bound
    design: Design
    fit: Fitting[Any]
    start: tuple[float, ...]
    drops: bool
    masking: Masking | None = None
    """How the rounds' sums are added so that nobody sees those of one pod; None: they are seen."""
    noisy: Noisy | None = None
    """How much noise they carry, and what the pods promise; None: none."""
    token: bytes = b""


def prepare(
    order: Train, statement: Statement, shelf: Shelf, known: Known | None = None
) -> Prepared:
    """Plan; without ``known``, bind first, which asks pods only for offers."""
    checked_name(order.model)
    options = options_of(order.settings, SETTINGS)
    drops = drops_of(order.settings)
    if known is None:
        statement.purpose = options.purpose or statement.purpose
        known = Known(
            bound=offers_of(statement, options.pods, statement.timeout), pods=options.pods
        )
    network = is_network(order)
    if network:
        require_network(order)
    few, many = (1, MOST_CLASSES) if network else model(order.family).targets
    noise, masking = noise_of(order.settings), masking_of(order.settings)
    if noise is not None:
        noisy_kind(order.family)
        require_plain(order.settings, masked=masking is not None, earlier=order.earlier)
    design = plan_design(
        order.sql,
        order.targets,
        known.bound.training,
        pods=known.pods,
        parameters=statement.parameters,
        every_level=order.family in WITHOUT_CONSTANT,
        split=training_part(order.settings),
    )
    if masking is not None:
        require_one_request([part.pods for part in design.parts])
    if not few <= len(design.targets) <= many:
        wanted = f"{few}" if few == many else f"at least {few}"
        raise error("STATEMENT", f"{order.family} takes PREDICT of {wanted} columns")
    if network:
        require_granted(design, known.bound)
    start = _start(order, design, shelf) if known.start is None else known.start
    noisy, token = None, known.token or statement.statement_id
    if noise is None:
        fit = _begun(order, design, start)
    else:
        noisy = agree(order.family, numbers_of(order), noise, design, known.bound, statement, token)
        fit = begin_noisy(order.family, columns_of(design), noisy.scale, numbers_of(order))
    if known.snapshot is not None:
        _require_series(known.snapshot, noisy)
        fit.restore(known.snapshot)
    return Prepared(
        order=order,
        bound=known.bound,
        design=design,
        fit=fit,
        start=start,
        drops=drops or noise is not None,
        masking=masking,
        noisy=noisy,
        token=token,
    )


def _begun(order: Train, design: Design, start: tuple[float, ...]) -> Fitting[Any]:
    """The fit before its first round."""
    if is_network(order):
        return begin_network(order, columns_of(design))
    return begin(order.family, columns_of(design), numbers_of(order), start=start)


def _require_series(snapshot: State, noisy: Noisy | None) -> None:
    """CONFLICT if the rounds that are left would be those of another series, and paid for again."""
    if isinstance(snapshot, NoisyState) and noisy and snapshot.series != noisy.scale.series:
        raise error(
            "CONFLICT",
            "the pods' data or policies are others than when the job began",
            hint="train it again",
        )


def train(
    prepared: Prepared,
    asked: Asked,
    statement: Statement,
    on_round: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> Kept:
    """All rounds that are left; ``on_round`` gets the sums of each, once the fit has taken them."""
    design, fit = prepared.design, prepared.fit
    noisy = prepared.noisy is not None  # whose pods leave out what has no value or no level
    if prepared.noisy is not None:
        prepared.noisy.require_budget()
    if (
        not noisy
        and not fit.progress.rounds
        and any(column.level is not None for column in design.listed)
    ):
        require_domain(asked, design)
    while (wanted := fit.next_round()) is not None:
        sums = asked.sums(wanted)
        if not noisy:
            require_values(sums, drops=prepared.drops)
        fit.take(sums)
        on_round(sums)
    privacy = None if prepared.noisy is None else _privacy(prepared.noisy)
    return kept_model(
        prepared.order.model, fit.result(), design, statement, asked.versions, privacy=privacy
    )


def summary(kept: Kept) -> pa.Table:
    """The answer of TRAIN MODEL: one row. With noise it ends in epsilon and delta; ``n`` is noisy then, and
    nobody knows who was dropped."""
    fitted, said = kept.fitted, kept.privacy
    row = {
        "model": pa.array([kept.name]),
        "family": pa.array([fitted.method]),
        "n": pa.array([fitted.n]),
        "dropped": pa.array([None if said else fitted.dropped], pa.int64()),
        "rounds": pa.array([fitted.rounds]),
        "deviance": pa.array([fitted.metrics.get("deviance")], pa.float64()),
        "pods": pa.array([", ".join(kept.pods)]),
    }
    if said is not None:
        row |= {"epsilon": pa.array([said.epsilon]), "delta": pa.array([said.delta])}
    return pa.table(row)


def columns_of(design: Design) -> rounds.Design:
    """The design as the fit knows it: names and kinds."""

    def named(columns: tuple[DesignColumn, ...]) -> tuple[Feature, ...]:
        return tuple(Feature(one.name, "", one.indicator) for one in columns)

    levels: dict[str, list[int]] = {}
    for place, column in enumerate(design.features):
        if column.level is not None:
            levels.setdefault(column.of, []).append(place)
    whole = () if design.references else tuple(map(tuple, levels.values()))
    return rounds.Design(
        features=named(design.features), targets=named(design.targets), groups=whole
    )


def numbers_of(order: Train) -> dict[str, float | int | bool]:
    """The family's options: all of them are numbers or flags."""
    found: dict[str, float | int | bool] = {}
    for name, value in order.options.items():
        if isinstance(value, str | tuple):
            raise error("OPTION", f"option {name!r} of {order.family} takes a number")
        found[name] = value
    return found


def _start(order: Train, design: Design, shelf: Shelf) -> tuple[float, ...]:
    """Where the rounds begin: the estimates of an earlier model of the same columns."""
    if not order.earlier:
        return ()
    earlier = shelf.get(order.earlier).fitted
    names = tuple(one.name for one in design.features)
    if not isinstance(earlier.parameters, Coefficients) or earlier.terms != names:
        raise error(
            "MODEL_STATE",
            f"model {order.earlier!r} is not one of these columns",
            hint="begin at a model of the same columns, or without FROM MODEL",
        )
    return earlier.parameters.estimates


def kept_model(
    name: str,
    fitted: Fitted,
    design: Design,
    statement: Statement,
    data_versions: Mapping[str, str],
    *,
    privacy: Privacy | None = None,
) -> Kept:
    """A model that is done, with what it was trained on."""

    def kept(columns: tuple[DesignColumn, ...]) -> tuple[Column, ...]:
        return tuple(Column(one.name, one.of, one.indicator, one.level) for one in columns)

    return Kept(
        name=checked_name(name),
        fitted=fitted,
        select=design.select,
        features=kept(design.features),
        targets=kept(design.targets),
        references=kept(design.references),
        pods=design.pods,
        data_versions=dict(sorted(data_versions.items())),
        federation=statement.federation.membership.federation,
        purpose=statement.purpose,
        project=statement.project,
        trained=time.time_ns() // 1_000_000,
        held_back=0 if design.split is None else design.split.tenths,
        privacy=privacy,
    )


def _privacy(noisy: Noisy) -> Privacy:
    epsilon, delta = noisy.promise
    return Privacy(epsilon=epsilon, delta=delta, pods=dict(sorted(noisy.promises.items())))
