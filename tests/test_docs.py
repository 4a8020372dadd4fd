"""Documents keep their promises: sizes, links, commands, glossary."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("name", "most"), [("README.md", 120), ("CONTRIBUTING.md", 80)])
def test_front_pages_stay_short(name, most):
    assert len(lines(name)) <= most


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_documents_exist(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"`((?:docs|tests|packaging)/[\w./-]+\.\w+)`", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_named_in_documents_exist(path):
    text = path.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w./-]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", "\n".join(lines("README.md")), re.DOTALL)


def test_the_readme_has_code_to_run():
    assert python_blocks()


@pytest.mark.parametrize("at", range(len(python_blocks()) if (ROOT / "README.md").exists() else 0))
def test_code_of_the_readme_runs(at, tmp_path):
    code = python_blocks()[at]
    if "podsql.connect(" in code:
        compile(code, "README.md", "exec")  # needs a federation of several hosts
        return
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_commands_of_the_readme_exist():
    from typer.testing import CliRunner

    from podsql.cli.app import app

    verbs = set(
        re.findall(r"^\s*podsql ((?:[a-z]+)(?: [a-z]+)?)", "\n".join(lines("README.md")), re.M)
    )
    assert verbs
    groups = {"federation", "relay", "pod", "policy", "key", "audit"}
    for verb in verbs:
        words = verb.split()
        path = words[:2] if words[0] in groups else words[:1]
        result = CliRunner().invoke(app, [*path, "--help"])
        assert result.exit_code == 0, verb


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_changelog_has_an_open_head():
    assert "## Unreleased" in lines("CHANGELOG.md")
