"""The runner of public test files, over a file of our own."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from logic import main
from logic_file import Skipped, read

FILE = """# name: ours
require vector_size 512

statement ok
CREATE TABLE t (a INTEGER, b VARCHAR);

foreach n 1 2 3

statement ok
INSERT INTO t VALUES (${n}, 'x'), (NULL, 'y');

endloop

statement ok
CREATE TABLE lists AS SELECT [1, 2] AS l;

statement ok
CREATE VIEW v AS SELECT * FROM t;

query IT nosort label
SELECT b, count(a) FROM t GROUP BY b ORDER BY b
----
x\t3
y\t0

query I
SELECT a FROM t WHERE a IS NOT NULL LIMIT 1
----
1

query I
SELECT l FROM lists
----
[1, 2]

query I
SELECT * FROM v
----

statement error
SELECT c FROM t
----
Binder Error

query I
SELECT 1
----
1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ours.test").write_text(FILE)
    (tmp_path / "other.slt").write_text("require json\n\nstatement ok\nCREATE TABLE t (a INT)\n")
    return tmp_path


def test_selects_are_counted_by_what_became_of_them(folder, capsys):
    assert main([str(folder), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == 1
    assert found["skipped"] == {"require json": 1}
    assert found["selects"] == {"over tables": 3, "not a table": 1, "no table": 1}
    assert found["modes"]["groups"]["exact"] == 1
    assert found["modes"]["groups"]["refused"] == 2
    rows = found["modes"]["rows"]
    assert rows["refused"] == 1
    assert rows["exact"] + rows.get("undefined", 0) == 2
    assert found["wrong"] == []


def test_a_folder_without_files_is_no_success(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "0 files" in capsys.readouterr().out


def test_loops_are_written_out_and_what_is_not_understood_skips_the_file(tmp_path):
    file = tmp_path / "a.test"
    file.write_text("loop i 0 2\n\nquery I\nSELECT ${i}\n----\n0\n\nendloop\n")
    assert [record.sql for record in read(file)] == ["SELECT 0", "SELECT 1"]
    file.write_text("skipif duckdb\nquery I\nSELECT 1\n\nonlyif duckdb\nquery I\nSELECT 2\n")
    assert [record.sql for record in read(file)] == ["SELECT 2"]
    file.write_text("concurrentloop i 0 2\n\nstatement ok\nSELECT 1\n\nendloop\n")
    with pytest.raises(Skipped, match="concurrentloop"):
        read(file)
