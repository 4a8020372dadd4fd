"""``python -m benchmarks [--format table|json] [NAME …]``: run all benchmarks, or those named."""

import argparse
import importlib
import json
import sys

from benchmarks.rows import Row, table

NAMES = (
    "start",
    "relay",
    "stream",
    "gate",
    "decisions",
    "tpch",
    "small_query",
    "analysts",
    "distance",
    "many_pods",
    "shared_keys",
    "secure_sums",
    "training",
    "idle",
)


def main() -> int:
    """Run and print; the exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}")
    rows: list[Row] = []
    for name in asked.names or NAMES:
        sys.stderr.write(f"measuring {name} …\n")
        rows += importlib.import_module(f"benchmarks.{name}").run()
    if asked.format == "json":
        sys.stdout.write(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    else:
        sys.stdout.write(table(rows) + "\n")
    return 0


sys.exit(main())
