"""Lets the tests here share their federation with policy services."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
