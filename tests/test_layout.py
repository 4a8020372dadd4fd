"""The repository's own shape: packages, links, file sizes, service units."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
SOURCES = ("podsql", "planner", "engine", "relay", "policy", "connectors")
BANNED_FILES = {"util", "utils", "helpers", "common", "misc", "base", "manager"}


def subpackages(package: str, folder: str) -> set[str]:
    base = ROOT / folder
    return {
        ".".join([package, *init.parent.relative_to(base).parts])
        for init in base.rglob("__init__.py")
    }


def modules() -> list[Path]:
    return [
        path
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(part.is_symlink() for part in path.parents)
    ]


def test_every_package_is_listed():
    found = {"podsql"}
    for package, folder in SETUPTOOLS["package-dir"].items():
        if package != "podsql":
            found |= subpackages(package, folder)
    assert found == set(SETUPTOOLS["packages"])


def test_every_package_has_its_folder():
    assert set(SETUPTOOLS["package-dir"]) == set(SETUPTOOLS["packages"])
    for folder in SETUPTOOLS["package-dir"].values():
        assert (ROOT / folder / "__init__.py").is_file()


@pytest.mark.parametrize("name", ["connectors", "engine", "planner", "policy", "relay"])
def test_links_show_static_tools_one_package_tree(name):
    link = ROOT / "podsql" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


def test_no_file_is_too_long_to_review():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert not long


def test_no_file_is_named_after_nothing():
    assert not [path for path in modules() if path.stem in BANNED_FILES]


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.read_text(encoding="utf-8").strip()
        and not re.match(r'(#!.*\n)?r?"""\S', path.read_text(encoding="utf-8"))
    ]
    assert not silent


def test_licence_stands_in_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"


def test_constraints_pin_every_dependency_exactly():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for e in project["optional-dependencies"].values() for d in e),
    ]
    names = {re.split(r"[<>=\[ ]", text, maxsplit=1)[0].lower() for text in wanted}
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {
        name.lower() for name, _, version in (line.partition("==") for line in lines) if version
    }
    assert len(pinned) == len(lines), "every line is name==version"
    assert names <= pinned


@pytest.mark.parametrize("unit", ["podsql-pod", "podsql-relay", "podsql-modeller"])
def test_service_units_are_hardened(unit, tmp_path):
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("no systemd-analyze here")
    path = tmp_path / f"{unit}.service"
    shutil.copyfile(ROOT / "packaging" / "systemd" / path.name, path)
    result = subprocess.run(
        [analyse, "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    exposure = re.search(r"exposure level for \S+: (\d+\.\d+)", result.stdout)
    if exposure is None:
        pytest.skip("this systemd-analyze cannot judge a file offline")
    assert float(exposure[1]) <= 2.0
