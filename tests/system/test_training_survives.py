"""TRAIN MODEL over real processes that are killed: the model is that of a run that nothing disturbed.

Every comparison is of the numbers as they are written to the model's file, byte by byte.
"""

import os
import signal
import subprocess
import sys
import threading

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.analyst.training.jobs import Jobs
from podsql.cli.app import run
from podsql.demo.stage import Stage

ROWS = 600
PODS = ("north", "south", "west")
TRAIN = (
    "TRAIN MODEL {} USING logistic_regression PREDICT ill "
    "FROM (SELECT age, dose, ill FROM visits WHERE age > ?)"
)
ANALYST = """
import sys
import podsql

def heard(line):
    if line.event == "round" and line.round == 3:
        print(line.job, flush=True)
        sys.stdin.read()

with podsql.connect(sys.argv[1]) as con:
    con.on_progress = heard
    con.execute(sys.argv[2], [20.5])
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    home = tmp_path_factory.mktemp("survives")
    draw = np.random.default_rng(11)
    pods = {}
    for place, name in enumerate(PODS):
        age = draw.normal(45 + 6 * place, 11, ROWS)
        dose = draw.gamma(2.0, 1e-3, ROWS)
        eta = -1 + 0.05 * (age - 50) + 300 * (dose - 2e-3)
        ill = (draw.random(ROWS) < 1 / (1 + np.exp(-eta))).astype(int)
        table = pa.table(
            {"id": np.arange(ROWS) + ROWS * place, "age": age, "dose": dose, "ill": ill}
        )
        path = home / f"{name}.parquet"
        pq.write_table(table, path)
        pods[name] = {"main.visits": {"path": str(path), "privacy_unit": "id"}}
    made = Stage(home=home, pods=pods, preset="open", service=False)
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def con(stage):
    with podsql.connect(stage.analyst) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(stage):
    with podsql.connect(stage.analyst) as con:
        con.execute(TRAIN.format("undisturbed"), [20.5])
    return numbers(stage, "undisturbed")


def numbers(stage, model):
    """What the file of ``model`` says of the fit, as it is written."""
    text = (stage.analyst.parent / "models" / f"{model}.json").read_bytes()
    return bytes(msgspec.json.decode(text, type=dict[str, msgspec.Raw])["fitted"])


def pids(pattern):
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def kill_pod(stage, name):
    for pid in pids(f"podsql pod serve --config {stage.home}/{name}/pod.toml"):
        os.kill(pid, signal.SIGKILL)


def in_round_three(con, act):
    """Call ``act`` between the second round and the third; the steps that were told."""
    steps = []

    def heard(line):
        steps.append((line.event, line.round))
        if (line.event, line.round) == ("round", 2):
            act()

    con.on_progress = heard
    return steps


def test_a_pod_killed_in_round_three_and_restarted_changes_no_bit(stage, con, undisturbed):
    back = threading.Thread(target=stage.serve_pod, args=("south",))

    def act():
        kill_pod(stage, "south")
        back.start()

    steps = in_round_three(con, act)
    con.execute(TRAIN.format("pod_back"), [20.5])
    back.join()
    assert [round_ for event, round_ in steps if event == "round"][:3] == [1, 2, 3]
    assert numbers(stage, "pod_back") == undisturbed


def test_a_relay_killed_in_round_three_changes_no_bit(stage, con, undisturbed):
    def act():
        relays = pids(f"podsql.relayd {stage.home}")
        assert relays
        for relay in relays:
            os.kill(relay, signal.SIGKILL)

    steps = in_round_three(con, act)
    con.execute(TRAIN.format("relay_back"), [20.5])
    assert ("round", 3) in steps
    assert numbers(stage, "relay_back") == undisturbed


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_analyst_stopped_in_round_three_resumes(stage, undisturbed, how):
    model = f"resumed_{how.name.lower()}"
    with subprocess.Popen(
        [sys.executable, "-c", ANALYST, stage.analyst, TRAIN.format(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as analyst:
        job = analyst.stdout.readline().strip()
        with pytest.raises(podsql.Error, match="somebody works on this job"):
            Jobs(stage.analyst.parent / "jobs").take(job, lambda: None)
        analyst.send_signal(how)
        assert analyst.wait(30) != 0
    assert not (stage.analyst.parent / "models" / f"{model}.json").exists()
    with podsql.connect(stage.analyst) as con:
        states = {row[0]: row[3:5] for row in con.execute("SHOW JOBS").fetchall()}
        assert states[job] == ("waiting", 3)
        steps = []
        con.on_progress = lambda line: steps.append((line.event, line.round))
        con.execute(f"RESUME JOB '{job}'")
        assert steps[:2] == [("resumed", 3), ("round", 4)]
        with pytest.raises(podsql.Error) as caught:
            con.execute(f"RESUME JOB '{job}'")
        assert caught.value.code == "MODEL_STATE"
    assert numbers(stage, model) == undisturbed


def test_without_min_pods_a_lost_pod_leaves_a_job_that_resumes(stage, con, undisturbed):
    steps = in_round_three(con, lambda: kill_pod(stage, "west"))
    with pytest.raises(podsql.OperationalError) as caught:
        con.execute(f"{TRAIN.format('lost')} WITH (round_timeout = 2)", [20.5])
    job = con.execute("SHOW JOBS").fetchall()[-1]
    assert caught.value.code in ("POD_LOST", "TIMEOUT")
    assert caught.value.pod == "west"
    assert job[3:5] == ("waiting", 2)
    assert job[0] in caught.value.hint
    stage.serve_pod("west")
    con.execute(f"RESUME JOB '{job[0][:8]}'")
    assert [round_ for event, round_ in steps if event == "round"][:4] == [1, 2, 3, 4]
    assert numbers(stage, "lost") == undisturbed


def test_with_min_pods_a_model_of_the_others_is_trained_from_the_first_round(
    stage, con, undisturbed
):
    con.execute(f"{TRAIN.format('others')} WITH (pods = ('north', 'south'))", [20.5])
    steps = in_round_three(con, lambda: kill_pod(stage, "west"))
    try:
        row = con.execute(
            f"{TRAIN.format('fewer')} WITH (round_timeout = 2, min_pods = 2)", [20.5]
        ).fetchone()
        with pytest.raises(podsql.OperationalError, match="min_pods") as caught:
            con.execute(f"{TRAIN.format('none')} WITH (round_timeout = 2, min_pods = 3)", [20.5])
    finally:
        stage.serve_pod("west")
    assert row[-1] == "north, south"
    told = [event for event, _ in steps]
    assert told[told.index("restarted") + 1] == "round"
    assert numbers(stage, "fewer") == numbers(stage, "others") != undisturbed
    assert caught.value.code == "PODS_MISSING"


def test_a_job_does_not_go_on_over_other_data(stage, con):
    path = stage.home / "west.parquet"
    before = path.read_bytes()

    def act():
        raise KeyboardInterrupt

    in_round_three(con, act)
    with pytest.raises(KeyboardInterrupt):
        con.execute(TRAIN.format("other_data"), [20.5])
    job = con.execute("SHOW JOBS").fetchall()[-1][0]
    kill_pod(stage, "west")
    try:
        pq.write_table(pq.read_table(path).slice(1), path)
        stage.serve_pod("west")
        with pytest.raises(podsql.OperationalError) as caught:
            con.execute(f"RESUME JOB '{job}'")
    finally:
        kill_pod(stage, "west")
        path.write_bytes(before)
        stage.serve_pod("west")
    assert (caught.value.code, caught.value.pod) == ("CONFLICT", "west")
    assert con.execute("SHOW JOBS").fetchall()[-1][3] == "failed"


def test_the_command_line_writes_rows_and_json_lines(stage, capsys, undisturbed):
    text = TRAIN.format("by_command").replace("?", "20.5")
    arguments = ["sql", text, "--json", "--progress", "json", "--federation", str(stage.analyst)]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    (row,) = msgspec.json.decode(out)
    steps = [msgspec.json.decode(line) for line in err.splitlines() if line.startswith("{")]
    assert [step["event"] for step in steps] == ["started", *["round"] * row["rounds"], "finished"]
    assert {step["n"] for step in steps if step["event"] == "round"} == {row["n"]}
    assert numbers(stage, "by_command") == undisturbed
