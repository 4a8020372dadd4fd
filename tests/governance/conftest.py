"""What the tests here share: a small federation that did known things."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from clinics import Done, clinics


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Iterator[Done]:
    with clinics(tmp_path_factory.mktemp("governed")) as made:
        yield made
