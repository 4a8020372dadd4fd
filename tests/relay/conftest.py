"""A small federation and a relay core fed by hand (``relay_world.py``)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from relay_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
