"""``make assurance``: run the tests that ``assurance.toml`` names, and write how each ended.

Not a test. The outcome of a parametrised test is the worst of its parameters.
"""

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from podsql.governance.assurance import Run, cases

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "podsql" / "governance" / "assurance_run.json"
LIBRARIES = ("duckdb", "sqlglot", "pyarrow", "pyzmq", "pynacl", "cryptography", "msgspec", "opendp")
WORST = ("passed", "skipped", "failed")


def main() -> int:
    """Run, write, say; 1 if a test failed."""
    tests = list(dict.fromkeys(test for case in cases() for test in case.tests))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:randomly",
                f"--junitxml={report}",
                *tests,
            ],
            cwd=ROOT,
            check=False,
        )
        found = outcomes(ElementTree.parse(report).getroot())
    run = Run(
        version=importlib.metadata.version("podsql"),
        day=datetime.now(UTC).date().isoformat(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        outcomes={test: found.get(test, "failed") for test in sorted(tests)},
    )
    PLACE.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    return int("failed" in run.outcomes.values())


def outcomes(report: ElementTree.Element) -> dict[str, str]:
    """Test to its worst outcome."""
    found: dict[str, str] = {}
    for case in report.iter("testcase"):
        path = case.get("classname", "").replace(".", "/") + ".py"
        test = f"{path}::{case.get('name', '').partition('[')[0]}"
        ended = {child.tag for child in case}
        outcome = (
            "failed"
            if ended & {"failure", "error"}
            else "skipped"
            if "skipped" in ended
            else "passed"
        )
        found[test] = max(outcome, found.get(test, "passed"), key=WORST.index)
    return found


if __name__ == "__main__":
    sys.exit(main())
