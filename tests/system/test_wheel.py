"""The built wheel in an empty environment, from a folder of wheels with hashes and no network."""

import json
import os
import subprocess
import zipfile

import pytest


def test_the_wheel_holds_every_package_and_no_links(wheels):
    (wheel,) = wheels.glob("podsql-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        links = [
            i.filename for i in archive.infolist() if (i.external_attr >> 16) & 0o170000 == 0o120000
        ]
    assert links == []
    for part in (
        "engine/pool.py",
        "planner/rules/bind_tables.py",
        "policy/presets/standard.toml",
        "policy/service/page/templates/base.html",
        "policy/service/page/static/page.css",
        "py.typed",
    ):
        assert f"podsql/{part}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"podsql"}


def test_it_installs_without_a_network_and_runs_the_demo(installed, tmp_path):
    done = subprocess.run(
        [installed, "demo", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    statements = json.loads(done.stdout)["statements"]
    assert len(statements) >= 6
    keys = {"sql", "rows", "equal", "ms", "bytes_per_pod", "refused"}
    assert all(set(statement) - {"auc", "pooled_auc"} == keys for statement in statements)
    (trained,) = [one for one in statements if "auc" in one]
    assert trained["equal"]
    assert trained["auc"] == pytest.approx(trained["pooled_auc"], rel=1e-8)
    assert all(statement["equal"] or statement["refused"] for statement in statements)
    # Under the preset standard, the policy service asked: what the demo shows stays answered.
    assert sum(statement["refused"] is None for statement in statements) >= 5
    assert all(statement["refused"] != "WITHHELD" for statement in statements)
