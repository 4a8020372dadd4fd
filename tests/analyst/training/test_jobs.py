"""Training jobs: checkpoints that restore bit for bit, states that nothing changes, what is shown."""

import datetime as dt
import threading
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

import podsql
from podsql.analyst.training.jobs import Jobs
from podsql.analyst.training.recorded import (
    Job,
    Line,
    given_parameters,
    kept_parameters,
)

COUNT = 900
SECRET = 61.4375
MODELS = {
    "logistic_regression": "PREDICT ill FROM (SELECT age, dose, ill FROM people WHERE age < ?)",
    "poisson_regression": "PREDICT visits FROM (SELECT age, dose, visits FROM people WHERE age < ?)",
    "linear_regression": "PREDICT age FROM (SELECT dose, ill, age FROM people WHERE age < ?)",
    "cox_regression": "PREDICT days, ill FROM (SELECT age, dose, days, ill FROM people WHERE age < ?)",
    "kmeans (clusters = 3, tolerance = 0.05)": (
        "FROM (SELECT age, dose FROM people WHERE age < ?)"
    ),
    "pca": "FROM (SELECT age, dose, visits FROM people WHERE age < ?)",
}


class Stopped(Exception):
    """What ends a job in these tests, as a fault of a caller's own would."""


@pytest.fixture(scope="module")
def federation():
    draw = np.random.default_rng(3)
    age = np.concatenate([draw.normal(centre, 4, COUNT // 3) for centre in (30, 45, 58)])
    dose = draw.gamma(2.0, 1e-3, COUNT)
    table = pa.table(
        {
            "id": np.arange(COUNT),
            "age": age,
            "dose": dose,
            "days": draw.integers(1, 40, COUNT),
            "ill": (draw.random(COUNT) < 1 / (1 + np.exp(2 - 0.05 * age))).astype(int),
            "visits": draw.poisson(np.exp(0.01 * age)),
        }
    )
    pods = {f"p{place}": {"people": table.slice(place * 300, 300)} for place in range(3)}
    with podsql.local(pods=pods, privacy_unit={"people": "id"}) as made:
        yield made


@pytest.fixture
def con(federation):
    with federation.connect() as made:
        yield made


def train(con, model, family="logistic_regression", heard=None, closing=""):
    con.on_progress = heard
    return con.execute(f"TRAIN MODEL {model} USING {family} {MODELS[family]} {closing}", [SECRET])


def stop_after(round_):
    def heard(line):
        if (line.event, line.round) == ("round", round_):
            raise Stopped

    return heard


def jobs(con):
    return [row[0] for row in con.execute("SHOW JOBS").fetchall()]


def state(con, job):
    (found,) = (row[3] for row in con.execute("SHOW JOBS").fetchall() if row[0] == job)
    return found


@pytest.mark.parametrize("family", MODELS)
def test_a_job_stopped_after_every_round_comes_to_the_same_bits(con, family):
    rounds = train(con, "whole", family).fetchone()[4]
    with pytest.raises(Stopped):
        train(con, "parts", family, stop_after(1))
    job = jobs(con)[-1]
    for round_ in range(2, rounds + 1):
        assert state(con, job) == "waiting"
        con.on_progress = stop_after(round_)
        with pytest.raises(Stopped):
            con.execute(f"RESUME JOB '{job}'")
    con.on_progress = None
    con.execute(f"RESUME JOB '{job}'")
    log = con.execute(f"SHOW JOB '{job}'").fetchall()
    assert [row[2] for row in log if row[1] == "round"] == [*range(1, rounds + 1)]
    whole, parts = (con.bench.shelf.get(name).fitted for name in ("whole", "parts"))
    assert repr(parts) == repr(whole)
    assert state(con, job) == "finished"


def test_where_the_rounds_began_is_part_of_the_job(con):
    train(con, "first")
    text = "TRAIN MODEL {} USING logistic_regression " + MODELS["logistic_regression"]
    con.execute(text.format("whole") + " FROM MODEL first", [SECRET])
    con.on_progress = stop_after(1)
    with pytest.raises(Stopped):
        con.execute(text.format("parts") + " FROM MODEL first", [SECRET])
    con.execute("DROP MODEL first")
    con.on_progress = None
    con.execute(f"RESUME JOB '{jobs(con)[-1]}'")
    whole, parts = (con.bench.shelf.get(name).fitted for name in ("whole", "parts"))
    assert repr(parts) == repr(whole)


def test_a_cancelled_job_ends_for_good(con):
    other = []

    def heard(line):
        if (line.event, line.round) == ("round", 2):
            text = f"CANCEL JOB '{line.job}'"
            one = threading.Thread(target=lambda: other.append(con.execute(text).rowcount))
            one.start()
            one.join()

    with pytest.raises(podsql.Error) as caught:
        train(con, "never", heard=heard)
    assert (caught.value.code, other) == ("CANCELLED", [1])
    job = jobs(con)[-1]
    assert state(con, job) == "cancelled"
    assert "never" not in con.bench.shelf.names()
    for text in (f"RESUME JOB '{job}'", f"CANCEL JOB '{job}'"):
        with pytest.raises(podsql.Error) as caught:
            con.execute(text)
        assert caught.value.code == "CANCELLED"
    assert con.execute(f"SHOW JOB '{job}'").fetchall()[-1][1] == "cancelled"


def test_a_cancelled_statement_leaves_a_job_that_goes_on(con):
    cursor = con.cursor()
    con.on_progress = lambda line: cursor.cancel() if line.round == 2 else None
    with pytest.raises(podsql.Error) as caught:
        cursor.execute(
            f"TRAIN MODEL later USING logistic_regression {MODELS['logistic_regression']}", [SECRET]
        )
    job = cursor.statement_id.hex()
    assert caught.value.code == "CANCELLED"
    assert job in caught.value.hint
    assert state(con, job) == "waiting"
    con.on_progress = None
    assert con.execute(f"RESUME JOB '{job}'").fetchone()[0] == "later"


def test_what_cannot_be_trained_fails_and_is_not_resumed(con):
    with pytest.raises(podsql.Error) as caught:
        con.execute(
            "TRAIN MODEL no USING logistic_regression PREDICT old "
            "FROM (SELECT age, dose, age > 40 AS old FROM people)"
        )
    job, shown = jobs(con)[-1], con.execute("SHOW JOBS").fetchall()[-1]
    assert (shown[3], shown[8].split(":")[0]) == ("failed", caught.value.code)
    with pytest.raises(podsql.Error) as caught:
        con.execute(f"RESUME JOB '{job}'")
    assert caught.value.code == "MODEL_STATE"
    assert state(con, job) == "failed"


def test_a_statement_that_is_refused_at_once_is_no_job(con):
    before = jobs(con)
    with pytest.raises(podsql.Error):
        train(con, "m", closing="WITH (min_pods = 0)")
    with pytest.raises(podsql.Error, match="min_pods"):
        train(con, "m", closing="WITH (min_pods = 4)")
    with pytest.raises(podsql.Error):
        train(con, "m", closing="WITH (round_timeout = 'soon')")
    assert jobs(con) == before


def test_a_job_whose_time_is_over_waits(con):
    with pytest.raises(podsql.OperationalError) as caught:
        train(con, "slow", closing="WITH (timeout = 0.000001)")
    assert caught.value.code == "TIMEOUT"


def test_other_data_than_the_earlier_rounds_had_is_a_conflict(con):
    with pytest.raises(Stopped):
        train(con, "parts", heard=stop_after(2))
    job = jobs(con)[-1]
    con.bench.jobs.change(
        job, lambda old: replace(old, data_versions={**old.data_versions, "p1": "another"})
    )
    con.on_progress = None
    with pytest.raises(podsql.OperationalError) as caught:
        con.execute(f"RESUME JOB '{job}'")
    assert (caught.value.code, caught.value.pod) == ("CONFLICT", "p1")
    assert state(con, job) == "failed"


def test_the_log_tells_each_round_and_no_value(con):
    cursor = train(con, "shown")
    job = cursor.statement_id.hex()
    rounds = cursor.fetchone()[4]
    log = con.execute(f"SHOW JOB '{job[:10]}'")
    names = [column[0] for column in log.description]
    assert names == [
        "at", "event", "round", "n", "objective", "change", "seconds", "pods", "note"
    ]  # fmt: skip
    rows = log.fetchall()
    assert [row[1] for row in rows] == ["started", *["round"] * rounds, "finished"]
    assert {row[3] for row in rows if row[1] == "round"} == {int(rows[1][3])}
    assert {row[7] for row in rows} == {"p0, p1, p2"}
    assert str(SECRET) not in repr(rows)
    objective = [row[4] for row in rows if row[4] is not None]
    assert objective == sorted(objective, reverse=True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SHOW JOB '0123456789abcdef0123456789abcdef'", "UNKNOWN_JOB"),
        ("RESUME JOB 'xyz'", "UNKNOWN_JOB"),
        ("CANCEL JOB '%'", "UNKNOWN_JOB"),
        ("SHOW JOB", "STATEMENT"),
        ("SHOW JOB 12", "STATEMENT"),
        ("SHOW JOBS 'all'", "STATEMENT"),
        ("RESUME 'a'", "STATEMENT"),
        ("CANCEL JOB ''", "STATEMENT"),
    ],
)
def test_what_is_wrong_is_said(con, text, code):
    with pytest.raises(podsql.Error) as caught:
        con.execute(text)
    assert caught.value.code == code


def test_parameters_come_back_exactly():
    values = (
        None, True, False, 7, -(2**100), 0.1, float("-inf"), 5e-324, "a'b\u2028", Decimal("1.50"),
        dt.date(2026, 2, 28), dt.datetime(2026, 2, 28, 1, 2, 3, 4),
        dt.datetime(2026, 2, 28, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        dt.time(1, 2, 3), dt.timedelta(days=-3, microseconds=7), uuid.UUID(int=5),
    )  # fmt: skip
    back = given_parameters(kept_parameters(values))
    assert back == values
    assert list(map(type, back)) == list(map(type, values))
    with pytest.raises(podsql.Error) as caught:
        kept_parameters([object()])
    assert caught.value.code == "PARAMETERS"


# -- the folder of jobs --------------------------------------------------------------------------


def job(number=1, state="running"):
    return Job(
        id=f"{number:032x}",
        model="m",
        family="pca",
        statement="",
        parameters=(),
        timeout=60.0,
        purpose="",
        project="",
        federation="f",
        state=state,
        pods=("north",),
        columns=("age",),
        start=(),
        started=number,
    )


def nothing():
    pass


@pytest.fixture(params=["in memory", "in a folder"])
def shelf(request, tmp_path):
    return Jobs(None if request.param == "in memory" else tmp_path / "jobs")


@pytest.mark.parametrize("over", ["finished", "failed", "cancelled"])
def test_nothing_changes_a_job_that_has_ended(shelf, over):
    hold = shelf.add(job(), nothing)
    shelf.change(hold.job, lambda old: replace(old, state=over))
    hold.release()
    kept = shelf.get(hold.job)
    for act in (
        lambda: shelf.change(hold.job, lambda old: replace(old, state="running")),
        lambda: shelf.cancel(hold.job, 1),
        lambda: shelf.take(hold.job, nothing),
    ):
        with pytest.raises(podsql.Error) as caught:
            act()
        assert caught.value.code == ("CANCELLED" if over == "cancelled" else "MODEL_STATE")
    assert shelf.get(hold.job) == kept
    assert kept.state == over


def test_one_works_on_a_job_at_a_time(shelf):
    hold = shelf.add(job(), nothing)
    for act in (lambda: shelf.add(job(), nothing), lambda: shelf.take(hold.job, nothing)):
        with pytest.raises(podsql.Error) as caught:
            act()
        assert caught.value.code == "CONFLICT"
    assert shelf.get(hold.job).state == "running"
    hold.release()
    assert shelf.get(hold.job).state == "waiting"
    shelf.take(hold.job, nothing)[1].release()


def test_another_process_cancels_what_this_one_works_on(tmp_path):
    here, there = Jobs(tmp_path), Jobs(tmp_path)
    hold = here.add(job(), nothing)
    assert there.get(hold.job).state == "running"
    assert there.cancel(hold.job[:31], 5).ended == 5
    with pytest.raises(podsql.Error) as caught:
        here.change(hold.job, lambda old: replace(old, rounds=3))
    assert caught.value.code == "CANCELLED"
    assert here.get(hold.job).rounds == 0
    hold.release()


def test_the_first_digits_name_a_job_unless_several_begin_so(shelf):
    for number in (1, 2, 3):
        shelf.add(job(number), nothing).release()
    assert [one.started for one in shelf.all()] == [1, 2, 3]
    assert shelf.get(f"{2:032x}").started == 2
    with pytest.raises(podsql.Error, match="3 jobs begin"):
        shelf.get("0000")


def test_a_line_that_was_cut_short_is_no_line(tmp_path):
    kept = Jobs(tmp_path)
    hold = kept.add(job(), nothing)
    line = Line(job=hold.job, model="m", at=1, event="round", round=1)
    kept.note(hold, line)
    hold.release()
    with (tmp_path / f"{hold.job}.log").open("ab") as log:
        log.write(b'{"job":"')
    assert kept.lines(hold.job) == (line,)
    _, hold = kept.take(hold.job, nothing)
    kept.note(hold, line)
    hold.release()
    assert kept.lines(hold.job) == (line, line)
    (tmp_path / f"{hold.job}.json").write_bytes(b"{")
    with pytest.raises(podsql.Error) as caught:
        kept.get(hold.job)
    assert caught.value.code == "DATA"
