"""The public surface of ``podsql`` and its packages is what they say it is."""

import importlib
import tomllib
from pathlib import Path

import pytest

import podsql
from podsql import errors
from podsql.cli.exits import EXITS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]


def test_everything_exported_can_be_had():
    for name in podsql.__all__:
        assert getattr(podsql, name) is not None


def test_exports_are_sorted_and_single():
    def kind(name: str) -> tuple[bool, bool, str]:
        """Constants, classes, the rest."""
        return (not name.isupper(), not name[0].isupper(), name)

    assert list(podsql.__all__) == sorted(set(podsql.__all__), key=kind)


def test_pep_249_names_its_globals_and_errors():
    assert podsql.apilevel == "2.0"
    assert podsql.paramstyle == "qmark"
    assert podsql.threadsafety in (1, 2, 3)
    tree = {
        "Error": Exception,
        "InterfaceError": podsql.Error,
        "DatabaseError": podsql.Error,
        "DataError": podsql.DatabaseError,
        "OperationalError": podsql.DatabaseError,
        "IntegrityError": podsql.DatabaseError,
        "InternalError": podsql.DatabaseError,
        "ProgrammingError": podsql.DatabaseError,
        "NotSupportedError": podsql.DatabaseError,
        "PolicyError": podsql.ProgrammingError,
    }
    for name, parent in tree.items():
        assert issubclass(getattr(podsql, name), parent)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_files_stay_small_and_export_what_they_list(package):
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert len(Path(module.__file__).read_text().splitlines()) <= 120
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name)


def test_the_version_is_that_of_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert podsql.__version__ == project["version"]


def test_every_error_code_has_an_exit_code():
    assert set(EXITS) == set(errors.CODES)


def test_errors_say_code_and_hint():
    fault = errors.error("DENIED", "not allowed", hint="ask", pod="north")
    assert str(fault) == "DENIED: not allowed (pod 'north')\nhint: ask"
    assert isinstance(fault, podsql.PolicyError)
