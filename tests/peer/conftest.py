"""Lets the tests here share their small federation, link and hostile relay."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
