"""pandas is loaded by no process of ours that does not use it, where it is installed."""

import subprocess
import sys

import pytest


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd="/",
    )
    return set(done.stdout.split())


USE = "import pyarrow.dataset; pyarrow.table({'a': [1]})\n"
OUT = "from podsql.engine.no_pandas import leave_pandas_out; leave_pandas_out()\n"


def test_arrow_is_used_without_pandas():
    assert "pandas" in loaded_after(USE), "or there is nothing to leave out"
    assert "pandas" not in loaded_after(OUT + USE)


@pytest.mark.parametrize("entry", ["engine.zygote", "engine.importer", "pod.daemon", "driver"])
def test_importing_a_process_loads_no_pandas(entry):
    assert "pandas" not in loaded_after(f"import podsql.{entry}")


def test_who_asks_for_pandas_gets_it_and_arrow_takes_its_frames():
    frames = "import pandas, pyarrow; pyarrow.Table.from_pandas(pandas.DataFrame({'a': [1]}))"
    assert "pandas" in loaded_after(f"{OUT}{USE}{frames}")
