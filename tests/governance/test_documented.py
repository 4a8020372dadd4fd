"""docs/governance.md shows every artefact, and only commands that exist."""

import re
from pathlib import Path

from typer.testing import CliRunner

from podsql.cli.app import app

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "governance.md").read_text()


def commands() -> set[str]:
    return set(re.findall(r"podsql audit ([a-z-]+)", DOCUMENT))


def test_every_row_of_the_table_of_needs_has_its_section_in_order():
    assert re.findall(r"^### (\d+)\. ", DOCUMENT, re.M) == [str(n) for n in range(1, 19)]
    mapped = [
        int(n) for n in re.findall(r"(?<=[|,] )(\d+) [a-zA-Z]", DOCUMENT.split("## The log")[0])
    ]
    assert sorted(mapped) == list(range(1, 19))


def test_every_command_that_is_shown_exists():
    assert len(commands()) >= 22
    for verb in commands():
        assert CliRunner().invoke(app, ["audit", verb, "--help"]).exit_code == 0, verb


def test_every_verb_is_shown():
    listed = CliRunner().invoke(app, ["audit", "--help"]).output
    verbs = set(re.findall(r"^\W+([a-z-]+)\s{2,}[A-Z]", listed, re.M)) - {"help"}
    assert "dpia" in verbs
    assert verbs - {"--help"} <= commands()
