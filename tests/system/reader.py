"""Run by test_resume: reads a large result, kills the relay meanwhile, says what it saw as JSON.

A process of its own, so that its memory is the analyst's and nobody else's.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from podsql.driver import connect


def pids(pattern: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(home: str, total_rows: int, kills: int) -> None:
    (pod,) = pids(f"podsql pod serve --config {home}/north/pod.toml")
    seen = {"rows": 0, "kills": 0, "ids": 0, "wrong": 0, "analyst_mb": 0.0, "pod_mb": 0.0}
    with connect(f"{home}/ana/federation.toml", timeout=800) as con:
        cursor = con.execute("SELECT id, noise FROM t")
        for batch in cursor.fetch_record_batch():
            ids, noise = (column.to_numpy() for column in batch.columns)
            seen["ids"] += int(ids.sum())
            seen["wrong"] += int((noise != (ids * 2654435761) % (1 << 61)).sum())
            seen["rows"] += batch.num_rows
            seen["analyst_mb"] = max(seen["analyst_mb"], rss_mb(os.getpid()))
            seen["pod_mb"] = max(seen["pod_mb"], rss_mb(pod))
            if seen["kills"] < kills and seen["rows"] > total_rows * (seen["kills"] + 1) // (
                kills + 1
            ):
                seen["kills"] += 1
                for relay in pids(f"podsql.relayd {home}"):
                    os.kill(relay, signal.SIGKILL)
        (receipt,) = cursor.receipt
    seen |= {"executed": receipt.executed, "promised": receipt.rows}
    print(json.dumps(seen))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
