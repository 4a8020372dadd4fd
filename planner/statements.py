"""What a statement is: a SELECT, or one of the forms around it that neither parser knows.

``EXPLAIN``, ``SUMMARIZE``, ``SHOW``, ``DESCRIBE``, temporary tables, ``COPY``, models
(``training/orders``) and their jobs (``training/job_orders``), and orders to a policy service (``rights_orders``). Rule to keep: the SELECT inside a form is cut out of the text,
never read or changed here.
"""

from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from podsql.errors import Error, error
from podsql.planner.closing import split_options
from podsql.planner.forms import Form, Rest
from podsql.planner.own_names import SCRATCH
from podsql.planner.plan import Options
from podsql.planner.rights_orders import FORMS as ORDERS
from podsql.planner.rights_orders import RightsOrder, ShowRights, show_rights
from podsql.planner.scratch import FORMS as SCRATCH_FORMS
from podsql.planner.scratch import Change, MakeTable, read_make
from podsql.planner.syntax import nearest
from podsql.planner.tokens import Token, scalar_text, scan, split_statements
from podsql.planner.training.job_orders import FORMS as JOB_FORMS
from podsql.planner.training.job_orders import JobOrder, ShowJobs, read_show_job
from podsql.planner.training.orders import FORMS as MODEL_FORMS
from podsql.planner.training.orders import (
    ExplainPredict,
    ExplainTrain,
    ModelOrder,
    ShowModels,
    read_describe,
    read_drop,
    read_predict,
    read_train,
)

Shown = Literal["pods", "tables", "grants", "budget"]
FileFormat = Literal["parquet", "csv", "json", "arrow"]
_SHOWN: Final[tuple[Shown, ...]] = get_args(Shown)
_FILE_FORMATS: Final[tuple[FileFormat, ...]] = get_args(FileFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A SELECT with its closing options still in ``sql``."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """``EXPLAIN [ANALYZE] <select>``: ``sql`` is the select, with its closing options."""

    sql: str
    analyze: bool = False
    """Run it, and say what each step took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainPolicy:
    """``EXPLAIN POLICY <select>``: what every pod's policy would say; reads no data."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarize:
    """``SUMMARIZE [TABLE] name``: a profile of one table, as far as policies allow."""

    table: str
    """``name`` or ``schema.name``."""
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """``SHOW PODS``, ``SHOW TABLES``, ``SHOW GRANTS``, ``SHOW BUDGET``: what the pods say."""

    what: Shown
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """``DESCRIBE [TABLE] name``: the columns of one table."""

    table: str
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTemporary:
    """``CREATE [OR REPLACE] TEMP TABLE name AS <select>``."""

    name: str
    sql: str
    replace: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """``DROP TABLE [IF EXISTS] name`` of a temporary table."""

    name: str
    if_exists: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """``COPY (<select>) | name TO 'file' (FORMAT …, OVERWRITE)``: a result in a file."""

    sql: str
    path: str
    form: FileFormat
    overwrite: bool


Command = (
    Query
    | Explain
    | ExplainPolicy
    | Summarize
    | Show
    | Describe
    | CreateTemporary
    | Drop
    | MakeTable
    | Change
    | Copy
    | RightsOrder
    | ShowRights
    | ModelOrder
    | JobOrder
)


def classify(sql: str) -> Command:
    """What ``sql`` is. MULTI_STATEMENT if it is several, STATEMENT if a form is malformed."""
    tokens = scan(sql)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if any(token.text == ";" for token in tokens) and (parts := len(split_statements(sql))) > 1:
        raise error(
            "MULTI_STATEMENT", f"{parts} statements in one text", hint="send them one by one"
        )
    for verb, form in _FORMS.items():
        if tokens and tokens[0].says(verb):
            rest = Rest(sql=sql[: tokens[-1].end], tokens=tokens[1:], form=form)
            return cast(Command, form.read(rest))  # every form below gives one
    return Query(sql=sql)


_WITHOUT_ROWS: Final = (
    "create",
    "drop",
    "copy",
    "export",
    "import",
    "cancel",
    *SCRATCH_FORMS,
)


def has_result(sql: str) -> bool:
    """Whether one statement has rows to show, as far as its first word says."""
    tokens = scan(sql)
    return not (tokens and tokens[0].says(*_WITHOUT_ROWS))


def _explain(rest: Rest) -> Command:
    policy = rest.takes("policy")
    analyze = not policy and rest.takes("analyze")
    if not analyze and not policy and rest.takes("train"):
        return ExplainTrain(train=read_train(rest))
    if policy and rest.takes("predict"):
        return ExplainPredict(predict=read_predict(rest))
    if rest.tokens and rest.tokens[0].says(*ORDERS):
        raise no_plan(rest.tokens[0].text.upper())
    if policy:
        return ExplainPolicy(sql=rest.text())
    if rest.text().startswith("(") and rest.tokens[1:2] and rest.tokens[1].says("format"):
        raise rest.malformed()
    return Explain(sql=rest.text(), analyze=analyze)


def no_plan(words: str) -> Error:
    """There is nothing to explain: an order runs nowhere."""
    return error(
        "STATEMENT",
        f"{words} has no plan: it is an order to the policy services, and no pod runs it",
        hint="EXPLAIN SELECT …; SHOW GRANTS says what the pods offer",
    )


def _summarize(rest: Rest) -> Command:
    table, options = _one_table(rest)
    return Summarize(table=table, options=options)


def _describe(rest: Rest) -> Command:
    if len(rest.tokens) == 2 and rest.takes("model"):
        return read_describe(rest)
    table, options = _one_table(rest)
    return Describe(table=table, options=options)


def _one_table(rest: Rest) -> tuple[str, Options]:
    """``[TABLE] name`` and closing options, to the end."""
    rest.takes("table")
    if rest.tokens and rest.tokens[0].says("select", "from", "with"):
        raise rest.malformed()
    parts, _ = rest.name()
    if len(parts) > 2:
        raise rest.malformed()
    return ".".join(parts), _only_options(rest)


def _show(rest: Rest) -> Command:
    if rest.takes("models"):
        rest.end()
        return ShowModels()
    if rest.takes("jobs"):
        rest.end()
        return ShowJobs()
    if rest.takes("job"):
        return read_show_job(rest)
    for what in _SHOWN:
        if not rest.takes(what):
            continue
        if what == "grants" and rest.tokens and rest.tokens[0].says("for"):
            return show_rights(rest, what)
        return Show(what=what, options=_only_options(rest))
    if rest.takes("requests"):
        return show_rights(rest, "requests")
    near = (
        nearest(rest.tokens[0].text, (*_SHOWN, "requests", "models", "jobs")) if rest.tokens else ""
    )
    raise error("STATEMENT", rest.form.usage, hint=near or rest.form.example)


def _only_options(rest: Rest) -> Options:
    """Closing options, and nothing before them."""
    if not rest.tokens:
        return Options()
    # Only after something is WITH (…) a closing clause.
    text, options = split_options(f"SHOW {rest.text()}")
    if text != "SHOW":
        raise rest.malformed()
    return options


def _create(rest: Rest) -> Command:
    replace = rest.takes("or", "replace")
    temporary = rest.takes("temp") or rest.takes("temporary")
    rest.require("table")
    if_absent = rest.takes("if", "not", "exists")
    # Without TEMP it must say that the table is not the pods'.
    if not temporary and not (rest.tokens and scalar_text(rest.tokens[0]) == SCRATCH):
        raise rest.malformed()
    name = rest.own_name()
    if if_absent or not rest.takes("as"):
        return read_make(rest, name, replace=replace, if_absent=if_absent)
    return CreateTemporary(name=name, sql=rest.text(), replace=replace)


def _drop(rest: Rest) -> Command:
    if rest.takes("model"):
        return read_drop(rest)
    rest.require("table")
    if_exists = rest.takes("if", "exists")
    name = rest.own_name()
    rest.end()
    return Drop(name=name, if_exists=if_exists)


def _copy(rest: Rest) -> Command:
    sql = _copied(rest)
    rest.require("to")
    file = rest.tokens.pop(0) if rest.tokens else None
    path = scalar_text(file) if file is not None and file.kind == "string" else None
    if not path:
        raise rest.malformed()
    form, overwrite = _copy_options(rest)
    if form is None:
        ending = path.rpartition(".")[2].lower()
        form = next((known for known in _FILE_FORMATS if known == ending), None)
    if form is None:
        raise error(
            "OPTION", "the format of the file is not said", hint="COPY … TO '…' (FORMAT parquet)"
        )
    return Copy(sql=sql, path=path, form=form, overwrite=overwrite)


def _copied(rest: Rest) -> str:
    """``(<select>)`` or a table's name, as a SELECT."""
    if not rest.tokens or rest.tokens[0].text != "(":
        _, written = rest.name()
        return f"SELECT * FROM {written}"
    opening = rest.tokens[0]
    for place, token in enumerate(rest.tokens):
        if token.text == ")" and token.depth == opening.depth:
            del rest.tokens[: place + 1]
            return rest.sql[opening.end : token.start].strip()
    raise rest.malformed()


def _copy_options(rest: Rest) -> tuple[FileFormat | None, bool]:
    """``(FORMAT name, OVERWRITE [true | false])``, each at most once."""
    if not rest.tokens:
        return None, False
    rest.takes("with")
    form: FileFormat | None = None
    overwrite: bool | None = None
    before = "("
    while rest.tokens and rest.tokens[0].text == before:
        rest.tokens.pop(0)
        if form is None and rest.takes("format") and rest.tokens:
            form = _file_format(rest.tokens.pop(0))
        elif overwrite is None and rest.takes("overwrite"):
            overwrite = not rest.takes("false")
            rest.takes("true")
        else:
            raise rest.malformed()
        before = ","
    if before == "(" or [token.text for token in rest.tokens] != [")"]:
        raise rest.malformed()
    return form, bool(overwrite)


def _file_format(token: Token) -> FileFormat:
    named = (scalar_text(token) or "").lower()
    for known in _FILE_FORMATS:
        if known == named:
            return known
    raise error("OPTION", "the format of the file is not known", hint=nearest(named, _FILE_FORMATS))


_FORMS: Final = {
    "explain": Form(
        _explain,
        "only EXPLAIN, EXPLAIN ANALYZE and EXPLAIN POLICY are supported",
        "EXPLAIN SELECT …",
    ),
    "summarize": Form(_summarize, "SUMMARIZE takes the name of one table", "SUMMARIZE visits"),
    "describe": Form(_describe, "DESCRIBE takes the name of one table", "DESCRIBE visits"),
    "desc": Form(_describe, "DESC takes the name of one table", "DESC visits"),
    "show": Form(
        _show, "SHOW takes PODS, TABLES, GRANTS, REQUESTS, BUDGET, MODELS or JOBS", "SHOW TABLES"
    ),
    "create": Form(
        _create,
        "only temporary tables can be created, from a SELECT or with columns of your own",
        "CREATE TEMP TABLE name AS SELECT …, CREATE TABLE scratch.name (…)",
    ),
    "drop": Form(
        _drop, "only temporary tables and models can be dropped", "DROP TABLE [IF EXISTS] name"
    ),
    "copy": Form(
        _copy,
        "COPY writes a SELECT, or a table, to a file",
        "COPY (SELECT …) TO 'file' (FORMAT parquet)",
    ),
    **SCRATCH_FORMS,
    **ORDERS,
    **MODEL_FORMS,
    **JOB_FORMS,
}
