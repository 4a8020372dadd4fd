"""Two clinics that did known things: statements allowed, noisy, denied and explained; a freeze, a
revocation, a removal. What the artefacts say is compared with it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.errors import Error
from podsql.pod.control import send

POLICY = """
version = 1
name = "clinics"
text = "Planning of respiratory care."
people = {ana = "*", bob = "*", eve = "*"}
purposes = ["study"]
projects = ["asthma", "heart"]
release = "sdc_local"
[valid]
until = 2099-12-31
[output]
min_units = 10
p_percent = 20
[dp]
epsilon_per_query = 1.0
epsilon_budget = 2.0
delta = 1e-5
[tables.visit.columns]
id = {roles = ["entity_key"]}
town = {roles = ["dimension", "filter"]}
age = {roles = ["measure", "filter"]}
[tables.person]
release = "dp"
[tables.person.columns]
id = {roles = ["entity_key"]}
age = {roles = ["measure", "filter"], bounds = [16, 80]}
"""
GOVERNANCE = """
[projects.asthma]
title = "Asthma admissions by town"
purpose = "Find avoidable admissions"
public_benefit = "Better planning"
lawful_basis = "Art. 6(1)(e)"
funder = "A public funder"
ethics = "REC 26/0001"
duo = ["HMB", "NCU", "TS"]
people = ["ana"]
tables = ["main.visit"]
starts = 2020-01-01
ends = 2099-06-30
[projects.heart]
title = "Hearts, long ago"
ends = 2021-12-31
people = ["bob"]
[people.ana]
full_name = "Dr Ana Example"
organisation = "University of Example"
accreditation = "AR 1234"
trained_until = 2020-06-30
terms_signed = 2020-01-15
[[parties]]
name = "North Hospital"
role = "controller"
contact = "ig@north.example"
[contacts]
data_protection_officer = "dpo@north.example"
breach = "breach@north.example"
[retention]
audit_years = 8
results = "until the project ends"
[data."main.visit"]
description = "One row a visit"
sensitivity = "health data"
[public]
title = "What our data are asked"
"""
GROUPS = "SELECT town, count(*) AS n FROM visit GROUP BY town"
NOISY = "SELECT count(*) AS n, avg(age) AS age FROM person WITH (privacy = 'dp', epsilon = 0.5)"
DENIED = "SELECT count(*) FROM visit WHERE id = 7"
CANARIES = ("canarytown", "canaryname", "730451")
"""In every row: a group key that leaves, a name that does not, and a large number."""


@dataclass(frozen=True)
class Done:
    """What happened, and where pod ``north`` lies."""

    stage: Stage
    config: Path
    opted_out: Path
    groups: int
    """Groups of ``GROUPS`` that left ``north``."""


def people(pod: int) -> pa.Table:
    ids = list(range(pod * 1000, pod * 1000 + 300))
    return pa.table(
        {
            "id": ids,
            "name": [f"canaryname-{i}" for i in ids],
            "town": [f"canarytown-{i % 3 if i % 100 else 9}" for i in ids],
            "age": [20 + i % 50 for i in ids],
            "code": [730451000 + i for i in ids],
        }
    )


@contextmanager
def clinics(home: Path) -> Iterator[Done]:
    """Run it all; the pods run on until the end."""
    opted_out = home / "opted_out.txt"
    opted_out.write_text("# asked to leave\n1\n2\n")
    pods = {}
    for number, name in enumerate(("north", "south")):
        pq.write_table(people(number), home / f"{name}.parquet")
        section = {
            "path": str(home / f"{name}.parquet"),
            "privacy_unit": "id",
            "local_keys": ["id"],
        }
        pods[name] = {
            "main.visit": {**section, "opt_out": str(opted_out)},
            "main.person": section,
        }
    stage = Stage(
        home=home, pods=pods, analysts=("ana", "bob", "eve"), service=False, policy=POLICY
    )
    try:
        stage.build()
        config = home / "north" / "pod.toml"
        (home / "north" / "governance.toml").write_text(GOVERNANCE)
        groups = _ask(stage)
        send(config, "pause")
        send(config, "resume")
        _revoke(stage, "eve")
        (home / "north" / "policy.toml").write_text(POLICY.replace('bob = "*", ', ""))
        send(config, "reload", timeout=60)
        yield Done(stage=stage, config=config, opted_out=opted_out, groups=groups)
    finally:
        stage.close()


def _ask(stage: Stage) -> int:
    told = {"purpose": "study", "timeout": 30}
    with connect(stage.membership("ana"), project="asthma", **told) as ana:
        cursor = ana.execute(GROUPS + " WITH (withheld = 'omit')")
        groups = len(cursor.fetchall())
        ana.execute(NOISY).fetchall()
        with pytest.raises(Error, match="DENIED"):
            ana.execute(DENIED)
        ana.execute(f"EXPLAIN POLICY {DENIED}").fetchall()
    with connect(stage.membership("bob"), project="heart", **told) as bob:
        bob.execute("SELECT avg(age) FROM visit WHERE age > 30").fetchall()
    with connect(stage.membership("eve"), project="asthma", **told) as eve:
        eve.execute("SELECT count(*) FROM visit").fetchall()
    return groups


def _revoke(stage: Stage, name: str) -> None:
    """Revoke at the convener; return when pod ``north`` has noted it."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "podsql",
            "federation",
            "revoke",
            name,
            "--dir",
            str(stage.home / "convener"),
        ],
        check=True,
        capture_output=True,
    )
