"""What the tests here share: wheels of podsql and all it needs, and an environment made of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """podsql and everything it needs, as wheels: the bundle an offline site would get."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
            "--wheel-dir", folder, "--constraint", ROOT / "constraints.txt", f"{ROOT}[demo]",
        ],
        check=True,
        cwd=folder,
        timeout=280,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def installed(wheels, tmp_path_factory) -> Path:
    """The ``podsql`` command of an environment outside the repository: the README's first command."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", home / "env"], check=True, timeout=120)
    subprocess.run(
        [
            home / "env" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-index", "--find-links", wheels, "podsql",
        ],
        check=True,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PIP_CONFIG_FILE": os.devnull},
        timeout=200,
    )  # fmt: skip
    return home / "env" / "bin" / "podsql"
