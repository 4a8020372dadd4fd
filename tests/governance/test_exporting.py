"""Exports parse back, whatever a statement holds, and one event is one line."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.governance.exporting import ENTERPRISE, FORMS, exporter
from podsql.policy.audit import Entry, Line

NASTY = "SELECT 'a|b=c\\d]\"\nx' -- \x1b[31m\r\n\u2028end"


def line(**fields) -> Line:
    entry = Entry(
        time=1_770_000_000_123,
        event="query",
        **{"decision": "deny", "reason": "PURPOSE", "analyst": "ana", **fields},
    )
    return Line(number=7, previous="0" * 64, entry=entry, hash="a" * 64)


def written(form, one, statements=True):
    text = exporter(form, pod="north", version="0.1.0", statements=statements)(one)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    return text


def read_cef(text):
    head = re.split(r"(?<!\\)(?:\\\\)*\|", text, maxsplit=7)
    assert len(head) == 8
    fields, rest = {}, head[7]
    marks = list(re.finditer(r"(?:^| )([A-Za-z0-9]+)=", rest))
    marks = [m for m in marks if not rest[: m.end() - 1].endswith("\\")]
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        raw = rest[mark.end() : following.start() if following else len(rest)]
        fields[mark[1]] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), raw)
    return head[:7], fields


SYSLOG = re.compile(
    r"<(\d+)>1 (\S+) (\S+) (\S+) (\S+) (\S+) \[(\S+)((?: [!-<>-~]+=\"(?:\\.|[^\"\\\]])*\")*)\] (.*)"
)


def read_syslog(text):
    found = SYSLOG.fullmatch(text)
    assert found is not None
    pairs = re.findall(r' ([^\s=]+)="((?:\\.|[^"\\\]])*)"', found[8])
    return found, {key: re.sub(r"\\(.)", r"\1", value) for key, value in pairs}


def test_json_lines_are_the_logs_own():
    one = line(statement=NASTY)
    text = written("jsonl", one, statements=False)
    assert text.isascii()
    assert msgspec.json.decode(text, type=Line) == one


def test_cef_parses_back():
    head, fields = read_cef(written("cef", line(statement=NASTY, tables=("main.a", "main.b"))))
    assert head == ["CEF:0", "podsql", "pod", "0.1.0", "query", "statement denied", "5"]
    assert (fields["suser"], fields["reason"], fields["act"]) == ("ana", "PURPOSE", "deny")
    assert fields["rt"] == "1770000000123"
    labels = {fields[f"cs{n}Label"]: fields[f"cs{n}"] for n in range(1, 7) if f"cs{n}" in fields}
    assert labels["tables"] == "main.a,main.b"
    assert labels["lineHash"] == "a" * 64
    assert labels["statement"].startswith("SELECT 'a|b=c\\d]\"\nx'")


def test_syslog_parses_back():
    found, fields = read_syslog(written("syslog", line(statement=NASTY)))
    assert found[1] == str(13 * 8 + 5)
    assert found[2] == "2026-02-02T02:40:00.123Z"
    assert found.group(3, 4, 5, 6) == ("north", "podsql", "-", "query")
    assert found[7] == f"podsql@{ENTERPRISE}"
    assert (fields["number"], fields["decision"], fields["analyst"]) == ("7", "deny", "ana")
    assert fields["statement"].startswith("SELECT 'a|b=c\\d]\"")


@pytest.mark.parametrize("form", ["cef", "syslog"])
def test_a_statement_leaves_only_when_asked(form):
    assert "SELECT" not in written(form, line(statement=NASTY), statements=False)


@settings(max_examples=100, deadline=None)
@given(purpose=st.text(), statement=st.text())
def test_no_text_breaks_a_line_or_a_field(purpose, statement):
    one = line(purpose=purpose, statement=statement)
    _, fields = read_syslog(written("syslog", one))
    shown = "".join(c if c.isprintable() else " " for c in purpose)
    assert fields.get("purpose", "") == shown
    head, _ = read_cef(written("cef", one))
    assert head[0] == "CEF:0"


def test_every_form_writes_events_of_the_pod_itself():
    for form in FORMS:
        one = line(decision="none", reason="", analyst="")
        assert exporter(form, pod="north", version="1", statements=True)(one)
