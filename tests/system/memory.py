"""Which process serves a stage's policies, and every readable byte of a process."""

import re
import subprocess
from pathlib import Path

from podsql.demo.stage import Stage


def service_pid(stage: Stage) -> int:
    """The policy service's process."""
    pattern = f"policy serve --federation {stage.access}"
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


def memory(pid: int) -> bytes:
    """What process ``pid`` holds now."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(\S*)", line)
            if place is None or place[3] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            start, end = int(place[1], 16), int(place[2], 16)
            file.seek(start)
            try:
                parts.append(file.read(end - start))
            except OSError:
                continue  # a mapping that went away, or a guard page
    return b"".join(parts)
