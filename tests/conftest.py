"""The order of test files: the longest first, so that no worker is left alone with one at the end;
and no test is judged by how long it takes.

Files that are not named here follow in random order; within a file the order stays random.
"""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

HERE = Path(__file__).parent
LONGEST_FIRST = (
    "suites/test_tpch_policy.py",
    "analyst/training/test_masked.py",
    "analyst/training/test_train.py",
    "analyst/training/test_jobs.py",
    "system/test_training_survives.py",
    "policy/test_fuzz_gate.py",
    "system/test_usefulness.py",
    "differential/test_equal_or_refused.py",
    "page/test_browser.py",
    "system/test_wheel.py",
    "system/test_bad_input.py",
    "differential/test_random_statements.py",
    "policy/noise/test_noise.py",
    "system/test_pod_obeys.py",
    "system/test_attack_lists.py",
    "policy/test_isolation.py",
    "system/test_sequences.py",
    "system/test_resume.py",
    "system/test_three_hosts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the named files to the front."""
    place = {HERE / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
