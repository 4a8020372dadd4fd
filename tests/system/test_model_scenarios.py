"""Scenarios A4, A6 (without secure sums), A10 and A18: train over two pods, evaluate elsewhere, predict."""

import numpy as np
import pyarrow as pa
import pytest

import podsql
from podsql.errors import Error

POLICY = """
version = 1
name = "census"
people = "*"
roles = ["analyst", "modeller"]
allow = ["select", "train"]
[tables."*".columns]
id = { roles = ["entity_key", "join_key"] }
"*" = { roles = ["measure", "filter", "dimension"] }
[tables.scored]
release = "rows"
rows = ["id", "age", "hours", "married"]
[tables.scored.columns]
"*" = {}
"""
FEATURES = "age, hours, married"


def people(seed, rows):
    """Who earns much, as a function of age, hours and marriage, and chance."""
    rng = np.random.default_rng(seed)
    age, hours = rng.integers(17, 90, rows), rng.integers(5, 80, rows)
    married = rng.random(rows) < 0.5
    eta = (age - 50) / 20 + (hours - 40) / 15 + married - 1
    target = (rng.random(rows) < 1 / (1 + np.exp(-eta))).astype(np.int64)
    return pa.table(
        {"id": np.arange(rows), "age": age, "hours": hours, "married": married, "target": target}
    )


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    policy = tmp_path_factory.mktemp("census") / "policy.toml"
    policy.write_text(POLICY)
    pods = {
        name: {
            "census": people(seed, rows),
            "census_b": people(seed + 10, rows // 2),
            "scored": people(seed + 20, 50).drop_columns("target"),
        }
        for seed, (name, rows) in enumerate((("north", 900), ("south", 600)))
    }
    tables = ("census", "census_b", "scored")
    with podsql.local(
        pods, privacy_unit=dict.fromkeys(tables, "id"), policy=policy, isolation="thread"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def con(federation):
    with federation.connect() as made:
        made.execute(
            f"TRAIN MODEL income USING logistic_regression PREDICT target FROM (SELECT {FEATURES}, target FROM census)"
        )
        yield made


def areas(con, table):
    cursor = con.execute(f"EVALUATE MODEL income FROM (SELECT {FEATURES}, target FROM {table})")
    return {row[1]: row[3] for row in cursor.fetchall() if row[2] == "auc"}


def test_a_model_of_two_pods_is_good_in_each(con):
    found = areas(con, "census")
    assert list(found) == ["north", "south", "(pooled)"]
    assert min(found.values()) > 0.6


def test_a_model_is_evaluated_on_other_data_without_weights_or_rows_leaving(con):
    shown = con.execute("DESCRIBE MODEL income").fetchall()
    cursor = con.execute(f"EVALUATE MODEL income FROM (SELECT {FEATURES}, target FROM census_b)")
    rows = cursor.fetch_arrow_table().to_pylist()
    assert {row["metric"] for row in rows} == {
        *("n", "mean_target", "mean_prediction", "log_loss", "brier", "deviance"),
        *("accuracy", "auc", "auc_bin_error", "rate"),
    }
    found = {row["pod"]: row["value"] for row in rows if row["metric"] == "auc"}
    assert list(found) == ["north", "south", "(pooled)"]
    assert min(found.values()) > 0.6
    assert {receipt.rows for receipt in cursor.receipt} == {1}
    assert con.execute("DESCRIBE MODEL income").fetchall() == shown


def test_rows_are_predicted_where_they_may_leave_and_counted_where_they_may_not(con):
    rows = con.execute("SELECT id, predict('income') AS p FROM scored").fetchall()
    assert len(rows) == 100
    assert all(0 < p < 1 for _, p in rows)
    with pytest.raises(Error) as caught:
        con.execute("SELECT id, predict('income') AS p FROM census").fetchall()
    assert caught.value.code == "DENIED"
    likely = con.execute("SELECT count(*) FROM census WHERE predict('income') > 0.5")
    assert 0 < likely.fetchall()[0][0] < 1500
    assert likely.plan.disclosure == "additive"
