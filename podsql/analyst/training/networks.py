"""``TRAIN MODEL … USING mlp`` and its kin: what such a statement may ask, and its plan in words.

Rule to keep: what networks do not do yet is refused by name before any pod is asked for a row.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from podsql.analyst.dry_run import ask_stage
from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement
from podsql.analyst.training.network_rounds import local_stages
from podsql.analyst.training.rounds import stages_of
from podsql.engine.training import fitting as rounds
from podsql.engine.training.fitting import Fitting, Round
from podsql.engine.training.network_options import NETWORKS, network_options
from podsql.engine.training.networks import (
    Averaged,
    NetworkState,
    first_weights,
    loss_of,
    require_size,
)
from podsql.errors import error
from podsql.planner.fragment import TorchStep
from podsql.planner.masking import masking_of
from podsql.planner.training.designing import Design
from podsql.planner.training.local_steps import MODULE, weights_of
from podsql.planner.training.orders import Train

_MASKS: Final = "secure_aggregation: weights are not added under masks yet"


def is_network(order: Train) -> bool:
    """Whether it is trained by local steps at the pods."""
    return order.family in NETWORKS


def require_network(order: Train) -> None:
    """NOT_SUPPORTED for what a network does not do."""
    refused: Mapping[str, bool] = {
        _MASKS: masking_of(order.settings) is not None,
        "privacy = 'dp': its local steps have no noise": "privacy" in order.settings,
        "FROM MODEL: it begins at no earlier model": bool(order.earlier),
        "detached = true: a modeller asks for sums alone": order.settings.get("detached") is True,
    }
    for what, asked in refused.items():
        if asked:
            raise error("NOT_SUPPORTED", f"a network ({order.family}) does not take {what}")


def begin_network(order: Train, columns: rounds.Design) -> Fitting[NetworkState]:
    """A fit before its first round; OPTION or STATEMENT for what it cannot be."""
    options = network_options(order.family, order.options)
    loss = loss_of(order.family, columns.targets)
    require_size(columns, options)
    return Fitting(Averaged(method=order.family, design=columns, loss=loss, options=options))


def require_granted(design: Design, bound: Bound) -> None:
    """DENIED, before a round, where a custodian lets models be trained but no networks."""
    for pod in design.pods:
        offered = {table.name: table for table in bound.offers[pod].tables}
        for name in design.tables:
            if name in offered and "networks" not in offered[name].uses:
                raise error(
                    "DENIED",
                    "the custodian lets no network be trained on these tables",
                    pod=pod,
                    hint='ask the custodian (allow = ["networks"]); or leave the pod out',
                )


def explained_network(
    order: Train, design: Design, columns: Iterator[str], bound: Bound, statement: Statement
) -> list[str]:
    """What it would do, line by line; ``columns``: those of the design, in words."""
    options = network_options(order.family, order.options)
    given = design.given(design.parts[0])
    step = TorchStep(
        module=MODULE,
        source="",
        state=b"",
        features=given[0],
        targets=given[1],
        centre=(0.0,) * len(given[0]),
        scale=(1.0,) * len(given[0]),
        hidden=options.hidden,
        loss=loss_of(order.family, given[1]),
    )
    many = weights_of(step)
    sizes = (len(given[0]), *options.hidden, len(given[1]))
    lines = [
        f"{order.family}: {NETWORKS[order.family]}; at most {options.rounds + 3} rounds, each of all"
        " pods at once",
        f"at {', '.join(design.pods)}",
        *columns,
        f"layers of {', '.join(map(str, sizes))}; {options.strategy}",
        "first, 1 or 2 rounds: moments",
        "  gives away: moments",
        "  leaves each pod, one row: n, dropped, sums of each column and of its square",
        f"then, at most {options.rounds} rounds: {options.epochs} epochs of local steps",
        "  gives away: what the weights hold of the pod's rows",
        f"  leaves each pod, one row: n, dropped, the loss, {many} weights",
        "then, once: the loss",
        "final, at the analyst",
        "  the weights of all pods are merged; no row is seen",
        "policy",
    ]
    weighed = local_stages(design, replace(step, state=first_weights(sizes, options.seed)), "steps")
    for stage in (*stages_of(design, Round(family="moments"), "moments"), *weighed):
        for row in ask_stage(statement, stage, design.tables, bound):
            why = f": {row['rule']}" if row["rule"] else ""
            units = f", at least {row['min_units']} units" if row["min_units"] else ""
            lines.append(f"  {row['pod']} {row['decision']}{why}{units} ({row['policy']})")
    return lines
