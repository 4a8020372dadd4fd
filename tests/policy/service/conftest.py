"""What the tests of the policy service share: a store, its orders and a clock that tests set."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from service_desk import ServiceDesk


@pytest.fixture
def desk(tmp_path):
    made = ServiceDesk(tmp_path / "policy.sqlite")
    yield made
    made.close()
