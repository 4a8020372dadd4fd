"""Patients of two clinics, one row each, and a policy under which they may be read and trained on."""

import numpy as np
import pyarrow as pa
import pytest

import podsql

OPEN = """
version = 1
name = "trial"
people = "*"
roles = ["analyst", "modeller"]
release = "rows"
allow = ["select", "train"]
[joins]
types = ["inner", "left", "cross"]
[tables."*"]
rows = ["*"]
[tables."*".columns]
site = { values = ["home", "ward", "icu"] }
"*" = {}
"""
GUARDED = """
version = 1
name = "guarded"
people = "*"
roles = ["analyst", "modeller"]
allow = ["select", "train"]
[tables."*".columns]
id = { roles = ["entity_key", "join_key"] }
age = { roles = ["measure"] }
"*" = { roles = ["measure", "filter", "dimension"] }
"""
POLICIES = {"open": OPEN, "guarded": GUARDED}
ROWS = 1600


def patients(seed=3, rows=ROWS):
    """Columns by name: the outcome depends on age, dose and site."""
    rng = np.random.default_rng(seed)
    age, dose = rng.normal(60, 12, rows), rng.gamma(2.0, 1.0, rows)
    site = rng.choice(["home", "ward", "icu"], rows, p=[0.5, 0.3, 0.2])
    eta = (age - 60) / 15 - 0.4 * dose + (site == "icu") * 1.1
    return {
        "id": np.arange(rows),
        "age": age,
        "dose": dose,
        "site": site,
        "smoker": rng.random(rows) < 0.3,
        "died": (rng.random(rows) < 1 / (1 + np.exp(-eta))).astype(np.int64),
        "stay": 5 + age / 10 + dose + rng.normal(0, 1.5, rows),
        "visits": rng.poisson(np.exp(eta / 3)),
        "cost": rng.gamma(3.0, np.exp(eta / 4) / 3),
    }


def parts(columns, share=0.6):
    """The rows of the two pods."""
    cut = int(len(columns["id"]) * share)
    low = {name: values[:cut] for name, values in columns.items()}
    return {"north": low, "south": {name: values[cut:] for name, values in columns.items()}}


@pytest.fixture(scope="module")
def columns():
    return patients()


@pytest.fixture(scope="module")
def others():
    """Other people of the same kind."""
    return patients(seed=11, rows=1500)


@pytest.fixture(scope="module")
def scopes():
    """The rows of each pod, and of both together as an answer names them."""

    def scopes(columns):
        return {**parts(columns), "(pooled)": columns}

    return scopes


@pytest.fixture(scope="module")
def federate(tmp_path_factory):
    """A connection to a federation of two pods under one of ``POLICIES``, and what is changed in it."""

    def federate(policy, tables, *changes, isolation="thread"):
        path = tmp_path_factory.mktemp("policy") / "policy.toml"
        text = POLICIES[policy]
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        pods = {"north": {}, "south": {}}
        for name, values in tables.items():
            for pod, rows in parts(values).items():
                pods[pod][name] = pa.table(rows)
        federation = podsql.local(
            pods,
            privacy_unit=dict.fromkeys(tables, "id"),
            policy=path,
            isolation=isolation,
        )
        opened.append(federation)
        return federation.connect()

    opened = []
    yield federate
    for one in opened:
        one.close()
