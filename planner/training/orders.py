"""``TRAIN MODEL`` and the statements around it, read from text.

    TRAIN MODEL name USING family [(option = value, …)] [PREDICT column, …]
      FROM (SELECT …) [FROM MODEL earlier] [WITH (option = value, …)]
    EVALUATE MODEL name, … FROM (SELECT …) [WITH (…)]
    PREDICT USING MODEL name FROM (SELECT …) INTO LOCAL TABLE name [WITH (…)]
    SHOW MODELS; DESCRIBE MODEL name; DROP MODEL [IF EXISTS] name
    EXPORT MODEL name TO 'file' [(OVERWRITE)]; IMPORT MODEL name FROM 'file'

Rule to keep: the SELECT is cut out of the text, as in every form around one, never read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from podsql.errors import error
from podsql.planner.closing import Value, pairs
from podsql.planner.forms import Form, Rest
from podsql.planner.plan import Options
from podsql.planner.tokens import scalar_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """``options`` are the family's, ``settings`` the closing WITH's."""

    model: str
    family: str
    sql: str
    targets: tuple[str, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    settings: Mapping[str, Value] = field(default_factory=dict)
    earlier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainTrain:
    """``EXPLAIN TRAIN MODEL …``: rounds, what leaves each pod; asks for offers only."""

    train: Train


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """``EVALUATE MODEL name, … FROM (SELECT …)``."""

    models: tuple[str, ...]
    sql: str
    settings: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictLocal:
    """``PREDICT USING MODEL name FROM (SELECT …) INTO LOCAL TABLE table``: it stays at the pods."""

    model: str
    sql: str
    table: str
    settings: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainPredict:
    """``EXPLAIN POLICY PREDICT …``: what each pod's policy says of it."""

    predict: PredictLocal


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowModels:
    """``SHOW MODELS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeModel:
    """``DESCRIBE MODEL name``."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropModel:
    """``DROP MODEL [IF EXISTS] name``."""

    model: str
    if_exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportModel:
    """``EXPORT MODEL name TO 'file' [(OVERWRITE)]``."""

    model: str
    path: str
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportModel:
    """``IMPORT MODEL name FROM 'file'``."""

    model: str
    path: str


ModelOrder = (
    Train
    | ExplainTrain
    | Evaluate
    | PredictLocal
    | ExplainPredict
    | ShowModels
    | DescribeModel
    | DropModel
    | ExportModel
    | ImportModel
)


def read_train(rest: Rest) -> Train:
    """From ``MODEL`` to the end."""
    rest.require("model")
    model = rest.own_name()
    rest.require("using")
    family = rest.own_name().lower()
    options = _brackets(rest)
    targets = _names(rest) if rest.takes("predict") else ()
    sql = _select(rest)
    earlier = ""
    if rest.takes("from", "model"):
        earlier = rest.own_name()
    return Train(
        model=model,
        family=family,
        sql=sql,
        targets=targets,
        options=options,
        settings=_settings(rest),
        earlier=earlier,
    )


def _evaluate(rest: Rest) -> Evaluate:
    rest.require("model")
    models = _names(rest)
    sql = _select(rest)
    return Evaluate(models=models, sql=sql, settings=_settings(rest))


def read_predict(rest: Rest) -> PredictLocal:
    """From ``USING`` to the end."""
    rest.require("using", "model")
    model = rest.own_name()
    sql = _select(rest)
    rest.require("into", "local", "table")
    table = rest.own_name()
    return PredictLocal(model=model, sql=sql, table=table, settings=_settings(rest))


def _export(rest: Rest) -> ExportModel:
    rest.require("model")
    model = rest.own_name()
    rest.require("to")
    path = _path(rest)
    overwrite = [token.text.lower() for token in rest.tokens] == ["(", "overwrite", ")"]
    if overwrite:
        rest.tokens.clear()
    rest.end()
    return ExportModel(model=model, path=path, overwrite=overwrite)


def _import(rest: Rest) -> ImportModel:
    rest.require("model")
    model = rest.own_name()
    rest.require("from")
    path = _path(rest)
    rest.end()
    return ImportModel(model=model, path=path)


def read_describe(rest: Rest) -> DescribeModel:
    """After ``MODEL``."""
    model = rest.own_name()
    rest.end()
    return DescribeModel(model=model)


def read_drop(rest: Rest) -> DropModel:
    """After ``MODEL``."""
    if_exists = rest.takes("if", "exists")
    model = rest.own_name()
    rest.end()
    return DropModel(model=model, if_exists=if_exists)


def options_of(settings: Mapping[str, Value], known: frozenset[str]) -> Options:
    """The settings that every statement has; OPTION for one that is in neither list."""
    plain = ("pods", "timeout", "purpose")
    for name in settings:
        if name not in known and name not in plain:
            listed = ", ".join(sorted({*known, *plain}))
            raise error("OPTION", f"unknown option {name!r}", hint=f"known: {listed}")
    pods, timeout, purpose = (settings.get(name) for name in plain)
    if isinstance(pods, str):
        pods = (pods,)
    if pods is not None and not (isinstance(pods, tuple) and pods):
        raise error("OPTION", "option 'pods' takes a list of pod names")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
        raise error("OPTION", "option 'timeout' takes seconds, more than 0")
    if timeout is not None and not timeout > 0:
        raise error("OPTION", "option 'timeout' takes seconds, more than 0")
    if purpose is not None and not isinstance(purpose, str):
        raise error("OPTION", "option 'purpose' takes a string")
    return Options(pods=pods, timeout=None if timeout is None else float(timeout), purpose=purpose)


def _names(rest: Rest) -> tuple[str, ...]:
    """One or more, with commas."""
    found = [rest.own_name()]
    while rest.tokens and rest.tokens[0].text == ",":
        rest.tokens.pop(0)
        found.append(rest.own_name())
    return tuple(found)


def _select(rest: Rest) -> str:
    """``FROM (SELECT …)``: the SELECT."""
    rest.require("from")
    if not rest.tokens or rest.tokens[0].text != "(":
        raise rest.malformed()
    opening = rest.tokens[0]
    for place, token in enumerate(rest.tokens):
        if token.text == ")" and token.depth == opening.depth:
            del rest.tokens[: place + 1]
            return rest.sql[opening.end : token.start].strip()
    raise rest.malformed()


def _brackets(rest: Rest) -> dict[str, Value]:
    """``(name = value, …)`` or nothing."""
    if not rest.tokens or rest.tokens[0].text != "(":
        return {}
    opening = rest.tokens[0]
    for place, token in enumerate(rest.tokens):
        if token.text == ")" and token.depth == opening.depth:
            found = pairs(rest.tokens[1:place])
            del rest.tokens[: place + 1]
            return found
    raise rest.malformed()


def _settings(rest: Rest) -> dict[str, Value]:
    """``WITH (name = value, …)`` or nothing, to the end."""
    if not rest.tokens:
        return {}
    rest.require("with")
    found = _brackets(rest)
    rest.end()
    return found


def _path(rest: Rest) -> str:
    file = rest.tokens.pop(0) if rest.tokens else None
    path = scalar_text(file) if file is not None and file.kind == "string" else None
    if not path:
        raise rest.malformed()
    return path


FORMS: Final = {
    "train": Form(
        read_train,
        "TRAIN MODEL takes a name, USING a family, PREDICT a column, FROM (SELECT …)",
        "TRAIN MODEL m USING logistic_regression PREDICT y FROM (SELECT x, y FROM t)",
    ),
    "evaluate": Form(
        _evaluate,
        "EVALUATE MODEL takes one or more names and FROM (SELECT …)",
        "EVALUATE MODEL m FROM (SELECT x, y FROM t)",
    ),
    "predict": Form(
        read_predict,
        "PREDICT USING MODEL takes a name, FROM (SELECT …) and INTO LOCAL TABLE a name",
        "PREDICT USING MODEL m FROM (SELECT id, x FROM t) INTO LOCAL TABLE scores",
    ),
    "export": Form(
        _export, "EXPORT MODEL takes a name and TO 'file'", "EXPORT MODEL m TO 'm.safetensors'"
    ),
    "import": Form(
        _import, "IMPORT MODEL takes a name and FROM 'file'", "IMPORT MODEL m FROM 'm.safetensors'"
    ),
}
