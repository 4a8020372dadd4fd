"""What reaches a terminal, and what a script sees of an error."""

import contextlib
import io
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.cli.exits import exit_code
from podsql.cli.tables import Format, write_result
from podsql.cli.terminal import put, report, visible
from podsql.errors import CODES, error

ESCAPE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\u200b"


@given(st.text())
def test_attack_75_no_control_or_direction_character_survives(text):
    """attack 75: terminal escape sequences in foreign text."""
    shown = visible(text)
    assert all(
        unicodedata.category(char)[0] in "LMNPS" or unicodedata.category(char) == "Zs"
        for char in shown
    )


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_plain_text_is_shown_as_it_is(text):
    assert visible(text) == text


def test_attack_75_cells_column_names_and_errors_are_escaped(capsys):
    """attack 75: in cells, names and error texts."""
    table = pa.table({ESCAPE: [ESCAPE, None], "n": [1, 2]})
    write_result(table.to_reader(), Format.TABLE, None)
    put(ESCAPE)
    report(error("DENIED", ESCAPE, hint=ESCAPE, pod=ESCAPE))
    streams = capsys.readouterr()
    for stream in (streams.out, streams.err):
        assert "\x1b" not in stream
        assert "\x07" not in stream
        assert "\x9b" not in stream
        assert "\r" not in stream
        assert "\u202e" not in stream


def drawn(table: pa.Table, limit: int) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        write_result(table.to_reader(), Format.TABLE, None, limit=limit)
    return out.getvalue()


def test_markup_in_cells_is_text():
    assert "[bold]x[/bold]" in drawn(pa.table({"a": ["[bold]x[/bold]"]}), 10)


def test_a_table_says_what_it_leaves_out():
    table = pa.Table.from_batches(pa.table({"a": list(range(10))}).to_batches(max_chunksize=2))
    shown = drawn(table, 3)
    assert "7 more rows" in shown
    assert [line.strip() for line in shown.splitlines() if line.strip().isdigit()] == [
        "0",
        "1",
        "2",
    ]


def test_a_wide_table_leaves_no_column_out():
    wide = pa.table({f"column{n}": ["x" * 60] for n in range(9)})
    shown = drawn(wide, 3)
    assert all(name in shown for name in wide.column_names)
    assert shown.count("x" * 60) == 9


def test_no_rows_are_a_table_too():
    assert "a" in drawn(pa.table({"a": pa.array([], pa.int64())}), 3)


def test_null_and_text_null_differ_in_json(capsys):
    write_result(pa.table({"a": [None, "NULL"]}).to_reader(), Format.JSON, None)
    assert capsys.readouterr().out == '[{"a": null}, {"a": "NULL"}]\n'


@pytest.mark.parametrize("form", [Format.CSV, Format.PARQUET, Format.ARROW])
def test_results_in_files_read_back_equal(form, tmp_path):
    import pyarrow.csv
    import pyarrow.ipc
    import pyarrow.parquet

    table = pa.table({"a": pa.array([1, 2, 3], pa.int64()), "b": ["x", "y", ESCAPE]})
    path = tmp_path / "result"
    assert write_result(table.to_reader(max_chunksize=2), form, path) == 3
    match form:
        case Format.CSV:
            read = pyarrow.csv.read_csv(
                path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
            )
        case Format.PARQUET:
            read = pyarrow.parquet.read_table(path)
        case _:
            with pyarrow.ipc.open_stream(path.read_bytes()) as reader:
                read = reader.read_all()
    assert read.equals(table)


def test_errors_say_code_message_and_hint(capsys):
    report(error("NO_PODS", "no pod offers it", hint="podsql doctor"))
    assert capsys.readouterr().err == "NO_PODS: no pod offers it\nhint: podsql doctor\n"


def test_exit_codes_are_those_of_the_design():
    assert exit_code("SYNTAX") == 2
    assert exit_code("RELAY_KEY") == 3
    assert exit_code("DENIED") == 4
    assert exit_code("PODS_MISSING") == 5
    assert exit_code("TIMEOUT") == 6
    assert exit_code("A_NEWER_CODE") == 1
    assert all(1 <= exit_code(code) <= 6 for code in CODES)
