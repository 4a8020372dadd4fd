"""Scenario A12: models with noise over two pods, on one budget with SELECT; replay, resume, refusals."""

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

import podsql
from podsql.errors import Error
from podsql.policy.audit import lines as lines_of

POLICY = """
version = 1
name = "census"
people = "*"
purposes = ["study", "other"]
release = "dp"
allow = ["select", "train"]
[dp]
epsilon_per_query = {each}
epsilon_budget = {budget}
delta = 1e-5
[tables.census.columns]
id = {{ roles = ["entity_key"] }}
age = {{ roles = ["measure"], bounds = [17, 90] }}
hours = {{ roles = ["measure"], bounds = [0, 80] }}
kind = {{ roles = ["dimension"], values = ["private", "self", "state"] }}
married = {{ roles = ["filter"] }}
rich = {{ roles = ["measure", "filter"], bounds = [0, 1] }}
"""
FROM = "FROM (SELECT age, hours, kind, married, rich FROM census)"
LOGISTIC = (
    f"TRAIN MODEL {{}} USING logistic_regression {{}} PREDICT rich {FROM} WITH (privacy = 'dp'{{}})"
)
STEPS = "(rounds = 4)"
LINEAR = "TRAIN MODEL {} USING linear_regression PREDICT hours FROM (SELECT age, kind, married, hours FROM census) WITH (privacy = 'dp'{})"


def people(rows=4000, seed=3):
    """Who is rich, by age, hours, kind of work and marriage, and chance."""
    rng = np.random.default_rng(seed)
    age, hours = rng.integers(17, 91, rows), rng.integers(5, 80, rows)
    kind = rng.choice(["private", "self", "state"], rows)
    married = rng.random(rows) < 0.5
    eta = (age - 50) / 15 + (hours - 40) / 15 + married + (kind == "self") - 1
    rich = (rng.random(rows) < 1 / (1 + np.exp(-eta))).astype(np.int64)
    return {
        "id": np.arange(rows),
        "age": age,
        "hours": hours,
        "kind": kind,
        "married": married,
        "rich": rich,
    }


def serving(folder, rows, **terms):
    path = folder / "policy.toml"
    path.write_text(POLICY.format(**terms))
    cut = int(len(rows["id"]) * 0.6)
    pods = {
        name: {"census": pa.table({k: v[part] for k, v in rows.items()})}
        for name, part in (("north", slice(cut)), ("south", slice(cut, None)))
    }
    return podsql.local(
        pods,
        privacy_unit={"census": "id"},
        policy=path,
        isolation="thread",
        analysts=("ana", "bob"),
    )


@pytest.fixture(scope="module")
def rows():
    return people()


@pytest.fixture(scope="module")
def federation(tmp_path_factory, rows):
    with serving(tmp_path_factory.mktemp("tight"), rows, each=4, budget=4.5) as made:
        yield made


@pytest.fixture(scope="module")
def generous(tmp_path_factory, rows):
    """So much budget that there is next to no noise."""
    with serving(tmp_path_factory.mktemp("generous"), rows, each=1000, budget=1e6) as made:
        yield made.connect(purpose="study")


def charges(federation):
    return [len(pod._releasing._ledger.charges()) for pod in federation.pods.values()]


def design(rows):
    return np.column_stack(
        [
            np.ones(len(rows["id"])),
            rows["age"],
            rows["hours"],
            rows["kind"] == "self",
            rows["kind"] == "state",
            rows["married"],
        ]
    ).astype(float)


def estimates(con, model):
    found = con.execute(f"DESCRIBE MODEL {model}").fetchall()
    return {row[0]: row[1:] for row in found}


def steps_without_noise(x, y, many):
    """The same steps over the pooled rows: their mean after half, which is not yet the maximum."""
    centre, half = np.array([0, 53.5, 40, 0, 0, 0]), np.array([1, 36.5, 40, 1, 1, 1])
    a = (x - centre) / half
    at, taken = np.zeros(6), []
    for _ in range(many):
        at = at + np.linalg.solve(a.T @ a / 4, a.T @ (y - 1 / (1 + np.exp(-a @ at))))
        taken.append(at)
    mean = np.mean(taken[many // 2 :], axis=0)
    slopes = mean / half
    slopes[0] = mean[0] - (mean * centre / half)[1:].sum()
    return slopes


def area(score, target):
    ranks = np.argsort(np.argsort(score)) + 1.0
    ones = target.sum()
    return (ranks[target == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(target) - ones))


def left(con, sql="SELECT count(*) FROM census WITH (privacy = 'dp', epsilon = 0.5)"):
    rows = con.execute(f"EXPLAIN POLICY {sql}").fetch_arrow_table().to_pylist()
    return {row["pod"]: row["epsilon_left"] for row in rows}


def test_a12_a_noisy_model_its_spend_and_the_budget_it_shares_with_select(federation, rows):
    con = federation.connect("ana", purpose="study")
    explained = "\n".join(
        row[0]
        for row in con.execute("EXPLAIN " + LOGISTIC.format("m", STEPS, ", epsilon = 3")).fetchall()
    )
    assert "5 rounds" in explained
    assert "north allow: epsilon 3" in explained
    before = charges(federation)
    assert set(left(con).values()) == {4.5}
    cursor = con.execute(LOGISTIC.format("m", STEPS, ", epsilon = 3"))
    row = cursor.fetch_arrow_table().to_pylist()[0]
    assert cursor.release == "noised"
    assert (row["rounds"], row["pods"], row["dropped"]) == (5, "north, south", None)
    assert 2.9 < row["epsilon"] <= 3.0
    assert row["delta"] == 1e-5
    assert row["n"] != 0
    found = estimates(con, "m")
    assert list(found) == [
        "(intercept)",
        "age",
        "hours",
        "kind=self",
        "kind=state",
        "married",
        "(epsilon)",
        "(delta)",
    ]
    assert all(one[1:] == (None, None, None) for one in found.values())
    assert found["(epsilon)"][0] == row["epsilon"]
    at = np.array([one[0] for name, one in found.items() if name not in ("(epsilon)", "(delta)")])
    assert (
        area(design(rows) @ at, rows["rich"]) > 0.4
    )  # the scenario's; the noise would have to invert it
    # One charge a pod for all rounds; what SELECT has left is what the model left.
    assert charges(federation) == [one + 1 for one in before]
    spent = 4.5 - min(left(con).values())
    assert spent == pytest.approx(row["epsilon"], abs=1e-6)
    shown = con.execute("SHOW BUDGET").fetch_arrow_table().to_pylist()
    assert [one["spent"] for one in shown if one["what"] == "epsilon"] == pytest.approx([spent] * 2)
    con.execute("SELECT count(*) FROM census WITH (privacy = 'dp', epsilon = 0.5)")
    assert 4.5 - min(left(con).values()) > spent
    # The same model again, whoever trains it, costs nothing and is the same.
    before = charges(federation)
    with federation.connect("bob", purpose="study") as bob:
        bob.execute(LOGISTIC.format("same", STEPS, ", epsilon = 3"))
        assert [r[1] for r in bob.execute("DESCRIBE MODEL same").fetchall()] == [
            one[0] for one in found.values()
        ]
    assert charges(federation) == before
    # It stops at the cap, before anything runs; so does SELECT; what was paid for is still answered.
    answered = [pod.desk.answered for pod in federation.pods.values()]
    for refused in (
        LOGISTIC.format("more", STEPS, ", epsilon = 4"),
        LINEAR.format("more", ", epsilon = 4"),
        "SELECT count(*) FROM census WHERE married WITH (privacy = 'dp', epsilon = 4)",
    ):
        with pytest.raises(Error) as caught:
            con.execute(refused)
        assert caught.value.code == "BUDGET"
    assert [pod.desk.answered for pod in federation.pods.values()] == answered
    assert charges(federation) == before
    con.execute(LOGISTIC.format("again", STEPS, ", epsilon = 3"))
    assert estimates(con, "again") == found


class Stopped(Exception):
    """What ends a job in these tests."""


def test_a_resumed_job_does_not_pay_twice_and_ends_as_a_whole_one(federation):
    con = federation.connect("ana", purpose="other")
    text = LOGISTIC.format("{}", "(l2 = 0.5, rounds = 3)", ", epsilon = 1{}")
    before = charges(federation)

    def heard(line):
        if (line.event, line.round) == ("round", 2):
            assert line.n is None
            raise Stopped

    con.on_progress = heard
    with pytest.raises(Stopped):
        con.execute(text.format("parts", ", fresh = true"))
    con.on_progress = None
    job = con.execute("SHOW JOBS").fetchall()[-1][0]
    con.execute(f"RESUME JOB '{job}'")
    assert charges(federation) == [one + 1 for one in before]
    con.execute(text.format("whole", ""))
    again = estimates(con, "whole")
    con.execute(text.format("whole", ""))
    assert estimates(con, "whole") == again
    assert estimates(con, "parts") != again  # new noise
    assert charges(federation) == [one + 2 for one in before]


def test_without_noise_to_speak_of_it_is_the_pooled_fit(generous, rows, tmp_path):
    con, x = generous, design(rows)
    # Each bound is eight standard deviations of what noise is left.
    con.execute(LOGISTIC.format("m", "(rounds = 4)", ""))
    found = [one[0] for one in estimates(con, "m").values()][:6]
    wanted = steps_without_noise(x, rows["rich"], 4)
    assert np.all(np.abs(found - wanted) < 0.4 * sm.Logit(rows["rich"], x).fit(disp=0).bse)
    con.execute(LINEAR.format("m", ""))
    found = [one[0] for one in estimates(con, "m").values()][:5]
    pooled = sm.OLS(rows["hours"], x[:, [0, 1, 3, 4, 5]]).fit()
    assert np.all(np.abs(found - pooled.params) < 0.35 * pooled.bse)
    kept = con.bench.shelf.get("m")
    assert kept.fitted.metrics["deviance"] == pytest.approx(pooled.ssr, rel=0.004)
    assert kept.fitted.n == pytest.approx(4000, abs=5)
    for name in ("m.json", "m.safetensors"):
        con.execute(f"EXPORT MODEL m TO '{tmp_path / name}'")
        con.execute(f"IMPORT MODEL other FROM '{tmp_path / name}'")
        assert estimates(con, "other") == estimates(con, "m")
        assert sorted(con.bench.shelf.get("other").privacy.pods) == ["north", "south"]
    con.execute(
        "TRAIN MODEL m USING ridge_regression (l2 = 1000) PREDICT rich"
        " FROM (SELECT age, married, rich FROM census) WITH (privacy = 'dp')"
    )
    found = [one[0] for one in estimates(con, "m").values()][:3]
    z = x[:, [0, 1, 5]]
    wanted = np.linalg.solve(z.T @ z + np.diag([0, 1000, 1000]), z.T @ rows["rich"])
    assert np.all(np.abs(found - wanted) < [3e-3, 5e-5, 1.5e-3])


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("NOT_SUPPORTED", "USING poisson_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (privacy = 'dp')"),
        ("NOT_SUPPORTED", "USING kmeans (clusters = 2) FROM (SELECT age, hours FROM census) WITH (privacy = 'dp')"),
        ("NOT_SUPPORTED", "USING linear_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (privacy = 'dp', secure_aggregation = true)"),
        ("NOT_SUPPORTED", "USING linear_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (privacy = 'dp', min_pods = 1)"),
        ("OPTION", "USING linear_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (privacy = 'dp', missing = 'refuse')"),
        ("OPTION", "USING linear_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (epsilon = 1)"),
        ("OPTION", "USING logistic_regression (tolerance = 0.01) PREDICT rich FROM (SELECT age, rich FROM census) WITH (privacy = 'dp')"),
        ("DENIED", "USING logistic_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (privacy = 'dp')"),
        ("DENIED", "USING linear_regression PREDICT hours FROM (SELECT age, hours FROM census) WITH (privacy = 'dp', epsilon = 4.5)"),
        ("DENIED", "USING linear_regression PREDICT hours FROM (SELECT age, hours FROM census)"),
    ],
)  # fmt: skip
def test_what_is_not_trained_with_noise_is_refused_and_costs_nothing(federation, code, text):
    con = federation.connect("ana", purpose="other")
    before = charges(federation)
    with pytest.raises(Error) as caught:
        con.execute(f"TRAIN MODEL no {text}")
    assert caught.value.code == code
    assert charges(federation) == before


def test_the_audit_names_the_rounds_and_a_denial_tells_the_rule(federation):
    con = federation.connect("ana", purpose="other")
    with pytest.raises(Error, match="PREDICATE_IN_AGG"):
        con.execute(
            "TRAIN MODEL no USING linear_regression PREDICT hours FROM (SELECT age / hours AS x, hours FROM census) WITH (privacy = 'dp')"
        )
    con.execute(LINEAR.format("m", ", epsilon = 0.25, fresh = true"))
    pod = federation.pods["north"]
    entries = [line.entry for line in lines_of(pod.place / "audit.jsonl")]
    (last,) = [one for one in entries if one.event == "query"][-1:]
    assert (last.decision, last.release, last.rows) == ("allow", "dp", 1)
    assert last.of_a_model == "noisy_gaussian"
    assert pod._releasing._ledger.charges()[-1].request.hex() == last.request_id
