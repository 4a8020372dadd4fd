"""Which walls this kernel puts around the processes that run SQL: tried out in a child.

Rule to keep: the child restricts itself exactly as an engine does, and nothing else runs there.
"""

import subprocess
import sys
from typing import Final

import msgspec

from podsql.engine.sandbox import SandboxReport

SECONDS: Final = 20.0
_PROBE: Final = """
import sys
from pathlib import Path
import msgspec
from podsql.engine.sandbox import restrict
report = restrict(readable=[Path(sys.prefix)], memory_mb=512, cpu_seconds=10)
sys.stdout.buffer.write(msgspec.json.encode(report))
"""


def probe_sandbox() -> SandboxReport | None:
    """The layers that hold here; None if a process could not restrict itself."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, timeout=SECONDS, check=True
        )
        return msgspec.json.decode(done.stdout, type=SandboxReport)
    except (subprocess.SubprocessError, msgspec.MsgspecError):
        return None
