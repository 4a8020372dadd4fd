"""Pods and a coordinator in one process (``sum_world.py``)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
