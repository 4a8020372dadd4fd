"""What a statement is: a SELECT, or one of the forms around it that neither parser knows.

``EXPLAIN``, ``SUMMARIZE``, ``SHOW``, ``DESCRIBE``, temporary tables and ``COPY``. Rule to keep:
the SELECT inside a form is cut out of the text, never read or changed here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from podsql.errors import Error, error
from podsql.planner.closing import split_options
from podsql.planner.plan import Options
from podsql.planner.syntax import nearest
from podsql.planner.tokens import Token, scalar_text, scan, split_statements

Shown = Literal["pods", "tables", "grants"]
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
    """``SHOW PODS``, ``SHOW TABLES``, ``SHOW GRANTS``: what the pods offer."""

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
    Query | Explain | ExplainPolicy | Summarize | Show | Describe | CreateTemporary | Drop | Copy
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
            rest = _Rest(sql=sql[: tokens[-1].end], tokens=tokens[1:], form=form)
            return form.read(rest)
    return Query(sql=sql)


def has_result(sql: str) -> bool:
    """Whether one statement has rows to show, as far as its first word says."""
    tokens = scan(sql)
    return not (tokens and tokens[0].says("create", "drop", "copy"))


@dataclass(frozen=True, slots=True)
class _Form:
    """How a form is read, and what is said of one that is malformed."""

    read: "Callable[[_Rest], Command]"
    usage: str
    example: str


@dataclass(slots=True, kw_only=True)
class _Rest:
    """What is still to be read of a form."""

    sql: str
    tokens: list[Token]
    form: _Form

    def malformed(self) -> Error:
        """The form's own usage, as an error."""
        return error("STATEMENT", self.form.usage, hint=self.form.example)

    def takes(self, *words: str) -> bool:
        """Whether the next words are these; then they are read."""
        ahead = self.tokens[: len(words)]
        if [token.text.lower() for token in ahead if token.kind == "word"] != list(words):
            return False
        del self.tokens[: len(words)]
        return True

    def require(self, *words: str) -> None:
        """Read these words, or the form is malformed."""
        if not self.takes(*words):
            raise self.malformed()

    def text(self) -> str:
        """All of it, as written; malformed if there is nothing."""
        if not self.tokens:
            raise self.malformed()
        return self.sql[self.tokens[0].start :]

    def name(self) -> tuple[tuple[str, ...], str]:
        """A name of one part or, with dots, of several; and how it is written."""
        parts: list[str] = []
        start = self.tokens[0].start if self.tokens else 0
        while self.tokens and self.tokens[0].kind in ("word", "name"):
            token = self.tokens.pop(0)
            parts.append(scalar_text(token) or "")
            if not self.tokens or self.tokens[0].text != ".":
                return tuple(parts), self.sql[start : token.end]
            self.tokens.pop(0)
        raise self.malformed()

    def own_name(self) -> str:
        """The name of a temporary table: one part."""
        parts, _ = self.name()
        if len(parts) > 1:
            raise self.malformed()
        return parts[0]

    def end(self) -> None:
        """Malformed if anything is left."""
        if self.tokens:
            raise self.malformed()


def _explain(rest: _Rest) -> Command:
    if rest.takes("policy"):
        return ExplainPolicy(sql=rest.text())
    analyze = rest.takes("analyze")
    if rest.text().startswith("(") and rest.tokens[1:2] and rest.tokens[1].says("format"):
        raise rest.malformed()
    return Explain(sql=rest.text(), analyze=analyze)


def _summarize(rest: _Rest) -> Command:
    table, options = _one_table(rest)
    return Summarize(table=table, options=options)


def _describe(rest: _Rest) -> Command:
    table, options = _one_table(rest)
    return Describe(table=table, options=options)


def _one_table(rest: _Rest) -> tuple[str, Options]:
    """``[TABLE] name`` and closing options, to the end."""
    rest.takes("table")
    if rest.tokens and rest.tokens[0].says("select", "from", "with"):
        raise rest.malformed()
    parts, _ = rest.name()
    if len(parts) > 2:
        raise rest.malformed()
    return ".".join(parts), _only_options(rest)


def _show(rest: _Rest) -> Command:
    for what in _SHOWN:
        if rest.takes(what):
            return Show(what=what, options=_only_options(rest))
    near = nearest(rest.tokens[0].text, _SHOWN) if rest.tokens else ""
    raise error("STATEMENT", rest.form.usage, hint=near or rest.form.example)


def _only_options(rest: _Rest) -> Options:
    """Closing options, and nothing before them."""
    if not rest.tokens:
        return Options()
    # Only after something is WITH (…) a closing clause.
    text, options = split_options(f"SHOW {rest.text()}")
    if text != "SHOW":
        raise rest.malformed()
    return options


def _create(rest: _Rest) -> Command:
    replace = rest.takes("or", "replace")
    if not rest.takes("temp"):
        rest.require("temporary")
    rest.require("table")
    name = rest.own_name()
    rest.require("as")
    return CreateTemporary(name=name, sql=rest.text(), replace=replace)


def _drop(rest: _Rest) -> Command:
    rest.require("table")
    if_exists = rest.takes("if", "exists")
    name = rest.own_name()
    rest.end()
    return Drop(name=name, if_exists=if_exists)


def _copy(rest: _Rest) -> Command:
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


def _copied(rest: _Rest) -> str:
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


def _copy_options(rest: _Rest) -> tuple[FileFormat | None, bool]:
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
    "explain": _Form(
        _explain,
        "only EXPLAIN, EXPLAIN ANALYZE and EXPLAIN POLICY are supported",
        "EXPLAIN SELECT …",
    ),
    "summarize": _Form(_summarize, "SUMMARIZE takes the name of one table", "SUMMARIZE visits"),
    "describe": _Form(_describe, "DESCRIBE takes the name of one table", "DESCRIBE visits"),
    "desc": _Form(_describe, "DESC takes the name of one table", "DESC visits"),
    "show": _Form(_show, "SHOW takes PODS, TABLES or GRANTS", "SHOW TABLES"),
    "create": _Form(
        _create,
        "only temporary tables can be created, each from a SELECT",
        "CREATE TEMP TABLE name AS SELECT …",
    ),
    "drop": _Form(_drop, "only temporary tables can be dropped", "DROP TABLE [IF EXISTS] name"),
    "copy": _Form(
        _copy,
        "COPY writes a SELECT, or a table, to a file",
        "COPY (SELECT …) TO 'file' (FORMAT parquet)",
    ),
}
