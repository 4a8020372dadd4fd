"""``podsql pod check`` finds what would stop the pod, without a network."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podsql.findings import worst
from podsql.pod.checking import check_pod


@pytest.fixture
def folder(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "age": [30, 40]}), tmp_path / "v.parquet")
    return tmp_path


def found(folder, text: str):
    (folder / "pod.toml").write_text(text)
    return check_pod(folder / "pod.toml")


def states(findings, check: str) -> list[str]:
    return [f.state for f in findings if f.check == check]


def test_data_and_policy_are_checked_even_before_the_pod_has_joined(folder):
    findings = found(folder, '[tables.visits]\npath = "v.parquet"\nprivacy_unit = "id"\n')
    assert states(findings, "membership") == ["failed"]
    assert states(findings, "policy") == ["ok"]
    assert any("main.visits: 2 rows" in f.text for f in findings)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("[tables.visits]\n", "configuration"),
        ('[tables.visits]\npath = "absent.parquet"\n', "data"),
        ('[tables.visits]\npath = "v.parquet"\nprivacy_unit = "nobody"\n', "data"),
        ('[tables.visits]\npath = "v.parquet"\n[policy]\npreset = "strictest"\n', "policy"),
        ('[tables.visits]\npath = "v.parquet"\n[policy]\nfile = "absent.toml"\n', "policy"),
    ],
)
def test_what_would_stop_the_pod_is_a_failure_with_a_next_step(folder, text, check):
    findings = found(folder, text)
    assert worst(findings) == "failed"
    assert "failed" in states(findings, check)


def test_a_clause_this_version_does_not_enforce_is_named(folder):
    (folder / "mine.toml").write_text('version = 1\nname = "mine"\norgs = ["uni-x"]\n')
    text = '[tables.visits]\npath = "v.parquet"\n[policy]\nfile = "mine.toml"\n'
    (finding,) = [f for f in found(folder, text) if f.check == "policy"]
    assert "not enforced" in finding.text
    assert finding.next


@pytest.mark.parametrize("preset", ["open", "standard", "strict", "dp"])
def test_every_preset_is_enforced_whole(folder, preset):
    text = f'[tables.visits]\npath = "v.parquet"\n[policy]\npreset = "{preset}"\n'
    assert states(found(folder, text), "policy") == ["ok"]


def test_a_missing_file_has_no_traceback(tmp_path):
    (finding,) = check_pod(tmp_path / "pod.toml")
    assert finding.state == "failed"
