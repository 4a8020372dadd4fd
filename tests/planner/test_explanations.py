"""Plans as JSON and as a picture: a stable shape, well-formed XML, nothing that is not text."""

import json
import sys
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
from splits import build

from podsql.planner.catalog import Catalog
from podsql.planner.drawing import draw
from podsql.planner.explaining import explain_text
from podsql.planner.explanation import (
    AnswerColumn,
    Explanation,
    Leaving,
    StageShown,
    explain_json,
    explanation,
)
from podsql.planner.fragment import Disclosure
from podsql.planner.measured import PodRun, Run, StageRun, size_text, time_text
from podsql.planner.plan import Plan
from podsql.planner.planning import plan

SVG = "{http://www.w3.org/2000/svg}"
STATEMENTS = (
    "SELECT sex, count(*) AS n, stddev(w), min(price) FROM visits GROUP BY sex",
    "SELECT sex, ok, sum(age) FROM visits GROUP BY ROLLUP (sex, ok)",
    "SELECT id FROM visits ORDER BY age DESC LIMIT 10",
    "SELECT a.n, b.n FROM (SELECT count(*) AS n FROM visits) a, (SELECT count(*) AS n FROM labs) b",
    "SELECT sum(age) FROM visits WHERE _pod = 'nowhere'",
    "SELECT 1 AS one",
)


@pytest.fixture(scope="module")
def catalog():
    federation = build("random", seed=1, size=4)
    federation.close()
    return federation.catalog


def run_of(made: Plan) -> Run:
    """As if every pod had sent three rows."""
    stages = tuple(
        StageRun(
            stage=stage.name,
            micros=5_321,
            pods=tuple(
                PodRun(pod=pod, rows=3, bytes=1_304, micros=912, release="exact")
                for pod in stage.pods
            ),
        )
        for stage in made.stages
        if stage.pods
    )
    return Run(
        stages=stages, merge_micros=812, rows=1, release="rounded", withheld=2, missing=("omega",)
    )


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def test_the_json_shape_is_the_documented_one(catalog):
    made = plan(STATEMENTS[0], catalog)
    shown = json.loads(explain_json(explanation(made, catalog, run_of(made))))
    assert list(shown) == [
        "schema",
        "stages",
        "final",
        "answer",
        "run",
        "gives_away",
        "instead",
    ]
    assert shown["schema"] == "podsql/explain/1"
    (stage,) = shown["stages"]
    assert list(stage) == [
        "name",
        "kind",
        "pods",
        "why",
        "reads",
        "per",
        "leaves",
        "grouping_sets",
        "order",
        "first",
        "noise",
        "merge",
        "gives_away",
        "waits_for",
        "same_as",
        "masked",
    ]
    assert stage["leaves"][0] == {
        "name": "k0",
        "type": "VARCHAR",
        "class": "distinct",
        "sql": '"visits"."sex"',
    }
    assert list(shown["answer"][0]) == ["name", "type"]
    assert list(shown["run"]) == [
        "stages",
        "merge_micros",
        "rows",
        "release",
        "withheld",
        "missing",
    ]
    assert list(shown["run"]["stages"][0]) == ["stage", "micros", "pods"]
    assert list(shown["run"]["stages"][0]["pods"][0]) == [
        "pod",
        "rows",
        "bytes",
        "micros",
        "release",
    ]


def test_every_name_of_the_json_shape_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "statements.md").read_text(encoding="utf-8")
    for shape in (Explanation, StageShown, Leaving, AnswerColumn, Run, StageRun, PodRun):
        for field in msgspec.structs.fields(shape):
            assert f"`{field.encode_name}`" in page


def test_json_says_what_kind_of_rows_leave(catalog):
    grouped, _, rows = (explanation(plan(sql, catalog), catalog) for sql in STATEMENTS[:3])
    assert (grouped.stages[0].kind, grouped.stages[0].per) == ("aggregate", "group")
    assert (rows.stages[0].kind, rows.stages[0].per, rows.stages[0].first) == ("rows", "row", 10)
    assert rows.stages[0].order == ("c1 desc nulls last",)
    assert rows.run is None


@pytest.mark.parametrize("sql", STATEMENTS)
@pytest.mark.parametrize("measured", [False, True])
def test_a_picture_names_pods_classes_and_the_answer(sql, measured, catalog):
    made = plan(sql, catalog)
    shown = explanation(made, catalog, run_of(made) if measured else None)
    said = texts(draw(shown))
    for stage in shown.stages:
        assert {stage.name, *stage.pods} <= set(said)
        assert {column.disclosure for column in stage.leaves} <= set(said)
    assert {column.name for column in shown.answer} <= set(said)
    assert measured == any("merged in" in text for text in said)


def test_a_picture_stays_inside_its_frame_however_many_pods_and_columns(catalog):
    made = plan(f"SELECT {', '.join(f'sum(age + {n})' for n in range(30))} FROM visits", catalog)
    shown = explanation(made, catalog)
    many = msgspec.structs.replace(shown.stages[0], pods=tuple(f"p{n}" for n in range(1000)))
    svg = draw(msgspec.structs.replace(shown, stages=(many,)))
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert x + float(box.get("width", 0)) <= width
        assert y + float(box.get("height", 0)) <= height
    assert "and 994 more" in texts(svg)


def test_a_picture_has_a_light_and_a_dark_colour_for_every_class(catalog):
    svg = draw(explanation(plan("SELECT 1", catalog), catalog))
    light, _, dark = svg.partition("@media (prefers-color-scheme:dark)")
    for disclosure in get_args(Disclosure):
        assert f".f-{disclosure}," in light
        assert f".f-{disclosure}," in dark


@given(st.text())
def test_no_name_leaves_its_text(name):
    column = AnswerColumn(name=name, type=name)
    svg = draw(Explanation(stages=(), final="", answer=(column,), run=None))
    root = ElementTree.fromstring(svg)
    kinds = {node.tag.removeprefix(SVG) for node in root.iter()}
    assert kinds <= {"svg", "style", "defs", "marker", "path", "rect", "text", "title", "circle"}
    assert all(char.isprintable() or char == "\n" for char in svg)


def test_text_says_what_each_pod_sent_and_what_the_merge_took(catalog):
    made = plan("SELECT count(*) FROM visits", catalog)
    text = explain_text(made, catalog, run_of(made))
    assert "  took 5.3 ms until the last pod had answered\n" in text
    assert "    alpha  3 rows, 1.3 kB, 912 µs at the pod, exact\n" in text
    assert "took 812 µs: 1 row, rounded, at least 2 groups withheld, without omega\n" in text
    assert explain_text(made, catalog) == "\n".join(
        line for line in text.splitlines() if "took" not in line and "at the pod" not in line
    )


def test_a_stage_that_no_pod_answers_says_so(catalog):
    made = plan("SELECT sum(age) FROM visits WHERE _pod = 'nowhere'", catalog)
    assert "  ran at no pod" in explain_text(made, catalog, run_of(made))


def test_a_plan_without_tables_asks_no_pod():
    nothing = Catalog(version="", tables={}, pods=())
    made = Plan(statement="", stages=(), final="SELECT 1", columns=(), tables=())
    assert explain_text(made, nothing).startswith("no pod is asked")


def test_sizes_and_times_are_for_people():
    assert [size_text(n) for n in (999, 1_000, 2_340_000, 5 * 10**12)] == [
        "999 B",
        "1.0 kB",
        "2.3 MB",
        "5000.0 GB",
    ]
    assert [time_text(n) for n in (7, 1_500, 2_500_000)] == ["7 µs", "1.5 ms", "2.5 s"]
