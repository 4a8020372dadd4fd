"""Which people a model is trained on, and which are held back to evaluate it.

``TRAIN … WITH (validation = 0.2)`` leaves out two tenths of the people, always the same ones;
``EVALUATE … WITH (part = 'validation')`` looks at those that the model has not seen.
"""

from collections.abc import Mapping

from podsql.analyst.training.shelf import Kept
from podsql.errors import error
from podsql.planner.closing import Value
from podsql.planner.fragment import Split


def training_part(settings: Mapping[str, Value]) -> Split | None:
    """Of ``validation``, a share in tenths below 1; None: all rows are trained on."""
    share = settings.get("validation")
    if share is None:
        return None
    for tenths in range(1, 10):
        if share == tenths / 10:
            return Split(tenths=tenths, held=False)
    raise error("OPTION", "option 'validation' takes a share in tenths: 0.1, 0.2, … 0.9")


def evaluated_part(settings: Mapping[str, Value], kept: Kept) -> Split | None:
    """Of ``part``: 'training', 'validation', or all rows."""
    part = settings.get("part", "all")
    if part not in ("all", "training", "validation"):
        raise error("OPTION", "option 'part' takes 'training', 'validation' or 'all'")
    if part == "all":
        return None
    if not kept.held_back:
        raise error(
            "MODEL_STATE",
            f"model {kept.name!r} was trained on all rows",
            hint="TRAIN MODEL … WITH (validation = 0.2) holds some back",
        )
    return Split(tenths=kept.held_back, held=part == "validation")
