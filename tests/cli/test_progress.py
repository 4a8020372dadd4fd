"""How far a training job is, as the command line shows it."""

import contextlib
import os
import pty
import sys

import msgspec
import pytest

from podsql.analyst.training.recorded import Line
from podsql.cli.progress import Progress, shown

JOB = "5e0c" * 8
ROUND = Line(
    job=JOB, model="m", at=1, event="round", round=3, n=900, objective=4773.6287, change=1.6e-5,
    seconds=0.25, pods=("north", "south"),
)  # fmt: skip
LOST = Line(job=JOB, model="m", at=2, event="waiting", round=3, note="POD_LOST \x1b[31msouth")


def test_each_step_is_a_json_line(capsys):
    with shown(Progress.JSON) as step:
        step(ROUND)
        step(LOST)
    out, err = capsys.readouterr()
    assert out == ""
    assert [msgspec.json.decode(line, type=Line) for line in err.splitlines()] == [ROUND, LOST]
    assert "\x1b" not in err


@pytest.mark.parametrize("form", [Progress.AUTO, Progress.NONE])
def test_a_log_gets_no_steps(capsys, form):
    with shown(form) as step:
        step(ROUND)
    assert capsys.readouterr() == ("", "")


def test_who_interrupts_is_told_how_it_goes_on(capsys):
    def interrupt():
        with shown(Progress.NONE) as step:
            step(ROUND)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert f"RESUME JOB '{JOB}' goes on after round 3" in capsys.readouterr().err


def _all_of(terminal: int) -> str:
    """What a closed terminal was sent: it comes in pieces, and its end is an error (EIO)."""
    seen = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            seen += part
    return seen.decode()


def test_a_terminal_gets_one_line_that_changes(monkeypatch):
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with shown(Progress.AUTO) as step:
            step(ROUND)
            step(LOST)
    seen = _all_of(ours)
    os.close(ours)
    assert "\\x1b[31msouth" in seen
    assert "\x1b[31msouth" not in seen
