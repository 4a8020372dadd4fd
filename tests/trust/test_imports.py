"""What the trust modules load: the relay daemon imports them, so neither Arrow nor an engine."""

import subprocess
import sys

MODULES = [
    "keys",
    "signing",
    "cards",
    "manifest",
    "invite",
    "noise",
    "session",
    "sealing",
    "arrow_layout",
]


def test_trust_modules_load_neither_arrow_nor_duckdb_nor_sockets() -> None:
    imports = "\n".join(f"import podsql.relay.{name}" for name in MODULES)
    check = "import sys; print(*sorted({'pyarrow', 'duckdb', 'zmq', 'fcntl', 'pwd'} & set(sys.modules)))"
    baseline = subprocess.run(
        [sys.executable, "-c", f"import subprocess, tempfile\n{check}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = subprocess.run(
        [sys.executable, "-c", f"import subprocess, tempfile\n{imports}\n{check}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == baseline.stdout
