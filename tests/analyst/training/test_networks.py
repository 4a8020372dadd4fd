"""``TRAIN MODEL … USING mlp`` over two pods against the same rounds in plain torch, and what is refused."""

import json

import numpy as np
import pytest
import torch

from podsql.analyst.training.network_rounds import update_of
from podsql.engine.training.networks import first_weights
from podsql.errors import Error
from podsql.planner.fragment import Feature, TorchStep
from podsql.planner.training.local_steps import seed_at

GRANT = ('"train"]', '"train", "networks"]')
MLP = (
    "TRAIN MODEL {name} USING mlp (hidden = [6], rounds = {rounds}, epochs = 2, lr = 0.2, batch = 64,"
    " seed = 3{more}) PREDICT late FROM (SELECT age, dose, stay > 15 AS late FROM patients)"
)
ROUNDS = 5


@pytest.fixture(scope="module")
def con(federate, columns, others):
    """In processes, where the sandbox is; of two tables of patients."""
    return federate("open", {"patients": columns, "lonely": others}, GRANT, isolation="process")


def exported(con, name, tmp_path):
    path = tmp_path / f"{name}.json"
    con.execute(f"EXPORT MODEL {name} TO '{path}' (OVERWRITE)")
    return json.loads(path.read_text())["fitted"]


def by_torch(fitted, sites_of, rounds, epochs=2, batch=64, rate=0.2, seed=3, hidden=6):
    """The same rounds by a plain loop over torch's own modules, pod after pod; weights and loss."""
    centre, scale = (np.array(fitted["parameters"][name]) for name in ("centre", "scale"))
    sites = []
    for pod in ("north", "south"):
        rows = sites_of[pod]
        x, y = np.column_stack([rows["age"], rows["dose"]]), rows["stay"] > 15
        order = np.lexsort((y, x[:, 1], x[:, 0]))
        x = ((x - centre) / scale)[order].astype(np.float32)
        sites.append(
            (pod, torch.from_numpy(x), torch.from_numpy(y[order].astype(np.float32))[:, None])
        )
    net = torch.nn.Sequential(
        torch.nn.Linear(2, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1)
    )
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    at = np.frombuffer(first_weights((2, hidden, 1), seed), "<f4").copy()

    def put(weights):
        torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), net.parameters())

    for number in range(rounds):
        total = np.zeros(len(at))
        for pod, x, y in sites:
            put(at)
            descent = torch.optim.SGD(net.parameters(), lr=rate)
            step = TorchStep(module="", source="", state=b"", seed=seed, number=number)
            draw = torch.Generator().manual_seed(seed_at(step, pod))
            for _ in range(epochs):
                for part in torch.randperm(len(x), generator=draw).split(batch):
                    descent.zero_grad()
                    loss(net(x[part]), y[part]).backward()
                    descent.step()
            ours = torch.nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
            total += len(x) * (ours.astype(np.float64) - at)
        at = (at + total / sum(len(x) for _, x, _ in sites)).astype("<f4")
    put(at)
    with torch.no_grad():
        losses = [len(x) * loss(net(x), y).item() for _, x, y in sites]
    return at, sum(losses) / sum(len(x) for _, x, _ in sites)


def test_the_model_is_that_of_the_same_rounds_in_plain_torch(con, columns, scopes, tmp_path):
    [answer] = (
        con.execute(MLP.format(name="m", rounds=ROUNDS, more="")).fetch_arrow_table().to_pylist()
    )
    assert (answer["n"], answer["family"]) == (1600, "mlp")
    fitted = exported(con, "m", tmp_path)
    weights, loss = by_torch(fitted, scopes(columns), ROUNDS)
    assert np.array_equal(np.array(fitted["parameters"]["weights"], "<f4"), weights)
    assert fitted["metrics"]["loss"] == pytest.approx(loss, rel=1e-6)
    assert fitted["trace"][-1] < fitted["trace"][0]
    # again, to the same bits; another seed is another model
    con.execute(MLP.format(name="again", rounds=ROUNDS, more=""))
    assert exported(con, "again", tmp_path)["parameters"] == fitted["parameters"]
    con.execute(MLP.format(name="other", rounds=ROUNDS, more="").replace("seed = 3", "seed = 4"))
    assert exported(con, "other", tmp_path)["parameters"] != fitted["parameters"]


def test_a_network_foretells_in_sql_what_it_does_in_torch(con, tmp_path):
    con.execute(MLP.format(name="p", rounds=2, more=", activation = 'tanh'"))
    fitted = exported(con, "p", tmp_path)["parameters"]
    rows = con.execute(
        "SELECT age, dose, predict('p') AS p, predict('p', 'linear') AS z FROM patients ORDER BY id"
    ).fetch_arrow_table()
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)
    ).double()
    torch.nn.utils.vector_to_parameters(torch.tensor(fitted["weights"]).double(), net.parameters())
    x = np.column_stack([rows["age"].to_numpy(), rows["dose"].to_numpy()])
    x = (x - fitted["centre"]) / fitted["scale"]
    with torch.no_grad():
        z = net(torch.from_numpy(x))[:, 0]
    assert np.allclose(rows["z"].to_numpy(), z.numpy(), atol=1e-12)
    assert np.allclose(rows["p"].to_numpy(), torch.sigmoid(z).numpy(), atol=1e-12)
    # NULL is NULL, also behind a function that leaves NULL out
    con.execute(MLP.format(name="r", rounds=1, more=""))
    [[none]] = con.execute(
        "SELECT predict('r') FROM (SELECT NULL::DOUBLE AS age, 1.0 AS dose)"
    ).fetchall()
    assert none is None
    # the file has the weights as a tensor, and comes back
    path = tmp_path / "p.safetensors"
    con.execute(f"EXPORT MODEL p TO '{path}'")
    con.execute(f"IMPORT MODEL back FROM '{path}'")
    assert exported(con, "back", tmp_path)["parameters"] == fitted
    terms = con.execute("DESCRIBE MODEL p").fetch_arrow_table().to_pylist()
    assert len(terms) == len(fitted["weights"])
    assert terms[1]["term"] == "layer 1, unit 1: age"
    # a mean of predictions is computed by the pods
    [[mean]] = con.execute("SELECT avg(predict('p')) FROM patients").fetchall()
    assert mean == pytest.approx(float(torch.sigmoid(z).mean()), rel=1e-12)


def test_networks_of_one_layer_are_linear_models_that_are_described_and_evaluated(con):
    con.execute(
        "TRAIN MODEL line USING linear_network (rounds = 60, batch = 0, lr = 0.3)"
        " PREDICT stay FROM (SELECT age, dose, stay FROM patients)"
    )
    con.execute(
        "TRAIN MODEL exact USING linear_regression PREDICT stay FROM (SELECT age, dose, stay FROM patients)"
    )
    terms, wanted = (
        con.execute(f"DESCRIBE MODEL {name}").fetch_arrow_table() for name in ("line", "exact")
    )
    assert terms["term"].to_pylist() == wanted["term"].to_pylist()
    assert np.allclose(terms["estimate"].to_numpy(), wanted["estimate"].to_numpy(), rtol=1e-4)
    assert terms["std_error"].null_count == 3
    con.execute(
        "TRAIN MODEL odds USING logistic_network (rounds = 80, batch = 0, lr = 2, l2 = 0)"
        " PREDICT died FROM (SELECT age, dose, died FROM patients)"
    )
    con.execute(
        "TRAIN MODEL glm USING logistic_regression PREDICT died FROM (SELECT age, dose, died FROM patients)"
    )
    found, best = (
        {
            (row["pod"], row["metric"]): row["value"]
            for row in con.execute(
                f"EVALUATE MODEL {name} FROM (SELECT age, dose, died FROM patients)"
            ).fetch_arrow_table().to_pylist()
        }
        for name in ("odds", "glm")
    )  # fmt: skip
    assert found["(pooled)", "log_loss"] == pytest.approx(best["(pooled)", "log_loss"], rel=1e-4)
    assert found["(pooled)", "auc"] == pytest.approx(best["(pooled)", "auc"], abs=1e-3)


def test_classes_that_a_pod_lacks_and_a_pod_without_rows(con, tmp_path):
    con.execute(
        "TRAIN MODEL sites USING mlp (hidden = [8], rounds = 3, lr = 0.3) PREDICT site FROM"
        " (SELECT age, dose, site FROM patients WHERE _pod <> 'north' OR site <> 'icu')"
    )
    fitted = exported(con, "sites", tmp_path)
    assert fitted["targets"] == ["site=home", "site=ward", "site=icu"]
    rows = con.execute(
        "SELECT predict('sites') AS c, predict('sites', 'probability_1') AS p,"
        " predict('sites', 'probability_2') + predict('sites', 'probability_3') AS q FROM patients"
    ).fetch_arrow_table()
    assert set(rows["c"].to_pylist()) <= {1, 2, 3}
    assert np.allclose(rows["p"].to_numpy() + rows["q"].to_numpy(), 1)
    for strategy in ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi"):
        con.execute(
            f"TRAIN MODEL lone USING mlp (rounds = 2, strategy = '{strategy}') PREDICT stay"
            " FROM (SELECT age, dose, stay FROM lonely WHERE _pod = 'north' OR age < -1000)"
        )
        assert exported(con, "lone", tmp_path)["n"] == 900


def test_a_job_that_was_stopped_goes_on_to_the_same_bits(con, tmp_path):
    class Stopped(Exception):
        pass

    lines = []

    def stop(line):
        lines.append(line)
        if line.event == "round" and line.round == 4:
            raise Stopped

    con.on_progress = stop
    try:
        with pytest.raises(Stopped):
            con.execute(MLP.format(name="part", rounds=ROUNDS, more=", strategy = 'fedadam'"))
    finally:
        con.on_progress = None
    con.execute(f"RESUME JOB '{lines[0].job}'")
    con.execute(MLP.format(name="whole", rounds=ROUNDS, more=", strategy = 'fedadam'"))
    resumed, whole = (exported(con, name, tmp_path) for name in ("part", "whole"))
    assert resumed["parameters"] == whole["parameters"]
    assert resumed["trace"] == whole["trace"]


def test_no_more_rounds_are_asked_once_the_loss_stands(con, tmp_path):
    con.execute(MLP.format(name="early", rounds=50, more=", patience = 2, tolerance = 0.5"))
    assert exported(con, "early", tmp_path)["rounds"] < 12


def test_what_a_network_does_not_do_is_refused_by_name(con):
    sql = MLP.format(name="no", rounds=1, more="")
    for text, code in [
        (f"{sql} WITH (secure_aggregation = true)", "NOT_SUPPORTED"),
        (f"{sql} WITH (privacy = 'dp')", "NOT_SUPPORTED"),
        (f"{sql} FROM MODEL early", "NOT_SUPPORTED"),
        (MLP.format(name="no", rounds=1, more=", strategy = 'median'"), "TOO_FEW_PODS"),
        (MLP.format(name="no", rounds=1, more=", depth = 3"), "OPTION"),
        (sql.replace("[6]", "[400, 600]"), "OPTION"),
        (sql.replace("PREDICT late", "PREDICT late, dose"), "STATEMENT"),
        (sql.replace("lr = 0.2", "lr = 900").replace("PREDICT late", "PREDICT dose"), "OVERFLOW"),
    ]:
        with pytest.raises(Error) as caught:
            con.execute(text)
        assert caught.value.code == code, text
    con.execute(sql.replace("[6]", "[40, 40, 40]"))
    with pytest.raises(Error) as caught:
        con.execute("SELECT predict('no') FROM patients")
    assert caught.value.code == "NOT_SUPPORTED"
    with pytest.raises(Error) as caught:
        con.execute("EVALUATE MODEL no FROM (SELECT age, dose, stay > 15 AS late FROM patients)")
    assert caught.value.code == "NOT_SUPPORTED"


def test_explain_tells_what_leaves_and_what_each_policy_says(con, federate, columns):
    sql = "EXPLAIN " + MLP.format(name="m", rounds=7, more="")
    lines = [row[0] for row in con.execute(sql).fetchall()]
    assert "layers of 2, 6, 1; fedavg" in lines
    assert "  leaves each pod, one row: n, dropped, the loss, 25 weights" in lines
    assert lines.count("  north allow (trial)") == 2
    # a right of its own: models alone do not give it
    other = federate("open", {"patients": columns})
    with pytest.raises(Error) as caught:
        other.execute(MLP.format(name="m", rounds=1, more=""))
    assert (caught.value.code, caught.value.pod) == ("DENIED", "north")


def test_where_rows_may_not_leave_the_least_number_of_people_stands_behind_a_round(
    federate, columns
):
    limits = (
        'name = "guarded"',
        'name = "guarded"\nnetworks = {min_units = 700, rounds = 3}\n'
        "output = {caps = {per_day = 9999, total = 9999}}",
    )
    con = federate("guarded", {"patients": columns}, GRANT, limits)
    sql = (
        "TRAIN MODEL m USING logistic_network (rounds = {rounds}) PREDICT died"
        " FROM (SELECT age, dose, smoker, died FROM patients)"
    )
    # 960 and 640 people
    with pytest.raises(Error) as caught:
        con.execute(sql.format(rounds=1))
    assert caught.value.code == "WITHHELD"
    assert "south" in caught.value.message
    assert "north" not in caught.value.message
    one = "(SELECT age, dose, smoker, died FROM patients WHERE _pod = 'north')"
    con.execute(sql.format(rounds=1).replace("(SELECT age, dose, smoker, died FROM patients)", one))
    # one round and a last look are gone, of three
    with pytest.raises(Error) as caught:
        con.execute(
            sql.format(rounds=9).replace("(SELECT age, dose, smoker, died FROM patients)", one)
        )
    assert caught.value.code == "QUOTA"
    assert "rounds of networks" in caught.value.message


def test_an_update_that_would_spoil_the_model_names_its_pod():
    step = TorchStep(
        module="",
        source="",
        state=b"",
        features=(Feature("", ""),),
        targets=(Feature("", ""),),
    )
    good = {"n": 3, "dropped": 0, "loss": 0.5, "weights": np.zeros(2, "<f4").tobytes()}
    assert update_of("north", good, step).n == 3
    for odd in (
        {"n": -1},
        {"n": None},
        {"dropped": -1},
        {"loss": float("nan")},
        {"loss": None},
        {"weights": None},
        {"weights": b"\0" * 4},
        {"weights": np.zeros(2, "<f8").tobytes()},
        {"weights": np.array([0, np.nan], "<f4").tobytes()},
        {"weights": np.array([np.inf, 0], "<f4").tobytes()},
    ):
        with pytest.raises(Error) as caught:
            update_of("north", {**good, **odd}, step)
        assert (caught.value.code, caught.value.pod) == ("DATA", "north"), odd
