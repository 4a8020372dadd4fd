"""What the tests here share: wheels of podsql and all it needs, and an environment made of them."""

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of this run that all its workers see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, filled by the first worker that asks; the others wait for it."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder.with_suffix(".made")
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def wheels(shared) -> Path:
    """podsql and everything it needs, as wheels: the bundle an offline site would get."""
    return made_once(shared / "wheels", build_wheels)


def build_wheels(folder: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
            "--wheel-dir", folder, "--constraint", ROOT / "constraints.txt", f"{ROOT}[demo]",
        ],
        check=True,
        cwd=folder,
        timeout=280,
    )  # fmt: skip


@pytest.fixture(scope="session")
def installed(wheels, shared) -> Path:
    """The ``podsql`` command of an environment outside the repository.

    From a folder of wheels with hashes, without a network and with nothing else in the environment.
    """
    home = made_once(shared / "installed", lambda home: install(wheels, home))
    return home / "env" / "bin" / "podsql"


def install(wheels: Path, home: Path) -> None:
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    (home / "requirements.txt").write_text("\n".join(lines) + "\n")
    venv.create(home / "env", with_pip=False)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", home / "env" / "bin" / "python", "install",
            "--quiet", "--disable-pip-version-check", "--no-compile", "--no-index",
            "--find-links", wheels, "--require-hashes", "-r", home / "requirements.txt",
        ],
        check=True,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PIP_CONFIG_FILE": os.devnull},
        timeout=200,
    )  # fmt: skip
