"""TRAIN MODEL under masks, through real pods: the plain fit bit for bit, or nothing of one pod is seen."""

import dataclasses
import hashlib
import os

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from masked_world import configured, failing, forms_of, numbers_in, restart, watched
from msgspec.structs import replace

import podsql
from podsql.analyst.statement import Statement
from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.engine.sums.coordinator import Coordinator
from podsql.engine.training.fitting import Round
from podsql.messages import Done, Evidence, Failed, Result, decode, decode_as, encode, sum_request
from podsql.planner.masking import Masking
from podsql.planner.training.designing import plan_design
from podsql.policy.audit import lines
from podsql.sum_messages import (
    SumJob,
    SumKeyed,
    SumKeys,
    SumMasked,
    SumMember,
    SumPart,
    SumRound,
    SumShares,
    SumStart,
    SumSurvivors,
    SumUnmask,
)

SIZES = (701, 811, 907, 1009)
COUNT = sum(SIZES)
PODS = tuple(f"p{place}" for place in range(len(SIZES)))
MASKS = " WITH (secure_aggregation = true)"
SELECT = "FROM (SELECT age, dose, income, sex = 'm' AS male, {} FROM people)"


def people():
    draw = np.random.default_rng(11)
    site = np.repeat(range(len(SIZES)), SIZES)
    age = draw.normal(45 + 4 * site, 12)
    dose = draw.gamma(2.0, 1e-3, COUNT)
    income = draw.normal(4e4 - 3e3 * site, 9e3)
    male = draw.integers(0, 2, COUNT)
    eta = -1 + 0.03 * (age - 50) + 200 * (dose - 2e-3) - 2e-5 * (income - 4e4) + 0.5 * male
    return pa.table(
        {
            "id": np.arange(COUNT),
            "age": age,
            "dose": dose,
            "income": income,
            "sex": np.where(male == 1, "m", "f"),
            "ill": (draw.random(COUNT) < 1 / (1 + np.exp(-eta))).astype(int),
            "visits": draw.poisson(np.exp(0.1 + 0.01 * (age - 50))),
            "mass": pa.array([None if i % 50 == 0 else float(i % 7) for i in range(COUNT)]),
            "days": draw.exponential(np.exp(1 - 0.02 * (age - 50))),
            "rare": np.where(site == 3, 1000.0, age),
        }
    )


@pytest.fixture(scope="module")
def table():
    return people()


@pytest.fixture(scope="module")
def federation(table):
    starts = (0, *np.cumsum(SIZES))
    pods = {
        name: {"people": table.slice(start, size)}
        for name, start, size in zip(PODS, starts, SIZES, strict=False)
    }
    with podsql.local(pods=pods, privacy_unit={"people": "id"}, policy="standard") as made:
        yield made
        for pod in made.pods.values():
            pod.stop()


@pytest.fixture(scope="module")
def con(federation):
    with federation.connect() as made:
        yield made


def described(con, name):
    return con.execute(f"DESCRIBE MODEL {name}").fetchall()


@pytest.fixture
def seen(con):
    """What the analyst asked and was answered since."""
    with watched(con) as listed:
        yield listed


# -- what comes out --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("linear_regression", "ill"),
        ("logistic_regression", "ill"),
        ("poisson_regression", "visits"),
    ],
)
def test_a_masked_fit_is_the_plain_one_to_the_last_bit(con, kind, target):
    text = f"TRAIN MODEL {{}} USING {kind} PREDICT {target} {SELECT.format(target)}"
    plain = con.execute(text.format("m")).fetchone()
    known = described(con, "m")
    for _ in range(2 if kind == "linear_regression" else 1):
        assert con.execute(text.format("m") + MASKS).fetchone() == plain
        assert described(con, "m") == known


def test_a_masked_fit_equals_the_pooled_one(con, table):
    con.execute(
        f"TRAIN MODEL m USING logistic_regression PREDICT ill {SELECT.format('ill')}{MASKS}"
    )
    male = (np.array(table["sex"].to_pylist()) == "m").astype(float)
    columns = [table[name].to_numpy() for name in ("age", "dose", "income")]
    given = sm.add_constant(np.column_stack([*columns, male]))
    fit = sm.Logit(table["ill"].to_numpy(), given).fit(disp=0)
    rows = described(con, "m")
    assert np.allclose([row[1] for row in rows], fit.params, rtol=1e-8, atol=1e-10)
    assert np.allclose([row[2] for row in rows], fit.bse, rtol=1e-8, atol=1e-10)


def test_rows_that_are_left_out_come_from_the_sum(con):
    text = "TRAIN MODEL m USING linear_regression PREDICT age FROM (SELECT mass, age FROM people)"
    with pytest.raises(podsql.Error, match=rf"{-(-COUNT // 50)} of {COUNT} rows") as caught:
        con.execute(text + MASKS)
    assert caught.value.code == "DATA"
    row = con.execute(text + " WITH (secure_aggregation = true, missing = 'drop')").fetchone()
    assert row[2:4] == (COUNT - -(-COUNT // 50), -(-COUNT // 50))


# -- what the analyst sees -------------------------------------------------------------------------


def test_nothing_that_the_analyst_gets_holds_a_figure_of_one_pod(con, seen):
    text = f"TRAIN MODEL m USING logistic_regression PREDICT ill {SELECT.format('ill')}"
    con.execute(text)
    rows = {}
    for pod, _, reply in seen:
        if isinstance(message := decode(reply), Result):
            table = pa.ipc.open_stream(message.arrow).read_all()
            rows.setdefault(pod, []).extend(table.to_pylist())
    plain = b"".join(reply for *_, reply in seen)
    seen.clear()
    con.execute(text + MASKS)
    masked = b"".join(reply for *_, reply in seen)
    assert {type(decode(reply)) for *_, reply in seen} > {SumMasked, Result}
    assert len(masked) > 20_000
    numbers = set()
    for *_, reply in seen:
        message = decode(reply)
        numbers |= set(numbers_in(message))
        if isinstance(message, Result):
            assert message.arrow == b""
            evidence = decode_as(Evidence, message.evidence.body)
            numbers |= set(numbers_in(replace(evidence, micros=0, size=0)))
    assert sorted(rows) == list(PODS)
    for pod, size in zip(PODS, SIZES, strict=True):
        assert rows[pod][0]["n"] == size
        assert size not in numbers
        # Whole numbers stand in bytes by chance; the sums of products are none.
        figures = {one for row in rows[pod] for one in row.values() if not float(one).is_integer()}
        assert len(figures) > 50
        for figure in figures:
            forms = list(forms_of(figure))
            assert any(form in plain for form in forms)  # so the search can fail
            assert not any(form in masked for form in forms)


def test_what_left_is_in_each_pods_audit_by_its_hash(con, federation, seen):
    con.execute(
        f"TRAIN MODEL m USING linear_regression PREDICT visits {SELECT.format('visits')}{MASKS}"
    )
    # What an earlier job left behind may be answered late: it is no part of this one.
    shares = [(pod, one, reply) for pod, one, reply in seen if isinstance(one, SumShares)]
    job = shares[-1][1].job
    for pod in PODS:
        vectors = [
            decode(reply).vector
            for name, message, reply in shares
            if name == pod and message.job == job
        ]
        found = [line.entry for line in lines(federation.pods[pod].place / "audit.jsonl")]
        last = [one for one in found if one.event == "query"][-len(vectors) :]
        assert [one.result_hash for one in last] == [
            hashlib.sha256(vector).hexdigest() for vector in vectors
        ]
        assert all("masked for a sum of 4 pods" in one.reason for one in last)


# -- who may not, and what is kept back ------------------------------------------------------------


def test_two_pods_have_no_sum(con):
    text = f"TRAIN MODEL m USING linear_regression PREDICT ill {SELECT.format('ill')}"
    failing(con, f"{text} WITH (secure_aggregation = true, pods = ('p0', 'p1'))", "TOO_FEW_PODS")


@pytest.mark.parametrize(
    "settings",
    [
        "secure_aggregation = 1",
        "secure_aggregation = true, colluders = 0",
        "secure_aggregation = true, colluders = 1.5",
        "secure_aggregation = false, colluders = 1",
    ],
)
def test_odd_settings_are_refused(con, settings):
    text = f"TRAIN MODEL m USING linear_regression PREDICT ill {SELECT.format('ill')}"
    failing(con, f"{text} WITH ({settings})", "OPTION")


def test_a_pod_that_keeps_its_part_ends_the_sum(con, seen):
    text = "TRAIN MODEL m USING linear_regression PREDICT ill FROM (SELECT age, ill FROM people WHERE {})"
    fault = failing(con, text.format("rare >= 99") + MASKS, "WITHHELD")
    assert "'p" in str(fault)
    asked = {type(message) for _, message, _ in seen}
    assert SumRound in asked
    assert not asked & {SumSurvivors, SumUnmask}


def test_what_the_gate_denies_is_denied_under_masks_too(con):
    text = "TRAIN MODEL m USING linear_regression PREDICT income FROM (SELECT age, id = 7 AS odd, income FROM people)"
    failing(con, text + MASKS, "DENIED")


def test_the_same_tables_are_not_summed_with_other_pods(con):
    """The sum with a pod, less the one without it, is that pod's."""
    text = f"TRAIN MODEL m USING linear_regression PREDICT ill {SELECT.format('ill')}"
    con.execute(text + MASKS)
    fewer = f"{text} WITH (secure_aggregation = true, pods = ('p0', 'p1', 'p2'))"
    assert "other pods before" in str(failing(con, fewer, "DENIED"))


# -- what a coordinator may not do -----------------------------------------------------------------


def told(con, *, pods=PODS, about=bytes(32), cells=9, colluders=1):
    cards = {card.name: card for card in con.federation.pods()}
    return SumJob(
        nonce=os.urandom(32),
        about=about,
        members=tuple(SumMember(pod, cards[pod].identity) for pod in pods),
        colluders=colluders,
        word=128,
        parts=(SumPart(cells, 0),),
        rounds=9,
    )


def ask(con, pod, message):
    [card] = [card for card in con.federation.pods() if card.name == pod]
    return decode(con.federation.endpoint.call_wait(card, encode(message), timeout=20))


def refused(con, pod, message, code):
    reply = ask(con, pod, message)
    assert isinstance(reply, Failed), reply
    assert reply.code == code, reply


def meet(con, job):
    keys = [ask(con, pod, SumStart(encode(job))).key for pod in PODS]
    digest = Coordinator(job).job.digest
    for pod in PODS:
        assert isinstance(ask(con, pod, SumKeys(digest, tuple(keys))), Done)
    return digest


def test_a_pod_refuses_jobs_that_are_too_small_or_of_strangers(con):
    refused(con, "p0", SumStart(encode(told(con, pods=PODS[:2]))), "TOO_FEW_PODS")
    job = told(con)
    stranger = replace(job, members=(SumMember("p00", os.urandom(32)), *job.members))
    stranger = replace(stranger, members=tuple(sorted(stranger.members, key=lambda m: m.name)))
    refused(con, "p0", SumStart(encode(stranger)), "DENIED")


def test_a_pod_does_nothing_twice(con):
    digest = meet(con, told(con))
    refused(con, "p0", SumKeys(digest, ()), "REPLAY")
    ask(con, "p0", SumRound(digest, 2))
    refused(con, "p0", SumRound(digest, 2), "REPLAY")
    refused(con, "p0", SumRound(digest, 1), "REPLAY")
    refused(con, "p0", SumRound(bytes(32), 3), "SUM_RESTART")


def test_a_job_belongs_to_the_analyst_who_began_it(con, table):
    pods = {name: {"people": table.slice(at * 500, 500)} for at, name in enumerate(PODS)}
    with (
        podsql.local(pods=pods, policy="open", analysts=("ana", "ben")) as other,
        other.connect("ana") as ana,
        other.connect("ben") as ben,
    ):
        job = told(ana)
        assert isinstance(ask(ana, "p0", SumStart(encode(job))), SumKeyed)
        digest = Coordinator(job).job.digest
        refused(ben, "p0", SumRound(digest, 1), "SUM_RESTART")


def test_a_statement_that_is_cancelled_in_a_round_opens_nothing(con, monkeypatch):
    asked = []
    cursor = con.cursor()
    endpoint = con.federation.endpoint
    call = endpoint.call

    def watched(to, body, **named):
        if isinstance(body, bytes):
            asked.append(type(decode(body)))
            if asked[-1] is SumRound:
                cursor.cancel()
        return call(to, body, **named)

    monkeypatch.setattr(endpoint, "call", watched)
    assert failing(cursor, TRAIN + MASKS, "CANCELLED")
    assert SumRound in asked
    assert not {SumSurvivors, SumUnmask} & set(asked)


def prepared_rounds(con, text="SELECT age, dose, ill FROM people", target="ill"):
    statement = Statement(federation=con.federation, sql="TRAIN …", timeout=20)
    bound = con.federation.bind("", "", deadline=statement.deadline + 1e9)
    design = plan_design(text, [target], bound.training)
    masking = Masking(colluders=1)
    return MaskedRounds(statement, bound, design, masking, seconds=20.0)


def test_a_request_is_of_no_use_in_another_job_or_round(con, monkeypatch):
    """Its id is made of both, so a pod finds no sum that it is for."""
    import podsql.analyst.training.masked_rounds as own

    for wrong in (
        lambda job, number, pod: sum_request(bytes(32), number, pod),
        lambda job, number, pod: sum_request(job, number + 2, pod),
        lambda job, number, pod: os.urandom(16),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(own, "sum_request", wrong)
            with pytest.raises(podsql.Error, match="no round of a sum"):
                prepared_rounds(con).sums(Round(family="moments"))


def test_a_job_is_about_one_statement_its_pods_and_figures(con, monkeypatch):
    import podsql.analyst.training.masked_rounds as own

    with monkeypatch.context() as patched:
        patched.setattr(own, "sum_about", lambda *_: bytes(32))
        with pytest.raises(podsql.Error, match="another statement"):
            prepared_rounds(con).sums(Round(family="moments"))
    asked = prepared_rounds(con)
    asked.sums(Round(family="moments"))
    # Another design for a job that is under way: same names and cells, other columns.
    again = prepared_rounds(con, "SELECT income, dose, ill FROM people")
    again._leaders = asked._leaders
    again._statement = asked._statement
    with pytest.raises(podsql.Error) as caught:
        again.sums(Round(family="moments"))
    assert caught.value.code == "CONFLICT"


class Singling(MaskedRounds):
    """Asks p0 something else than the others: its figures were told by two such sums."""

    def __init__(self, honest, **odd):
        self.__dict__ |= honest.__dict__
        self._odd = odd

    def _exchange(self, stage, pod, leader):
        if pod == "p0":
            stage = dataclasses.replace(stage, fragment=replace(stage.fragment, **self._odd))
        return super()._exchange(stage, pod, leader)


def test_a_pod_that_is_asked_otherwise_than_the_others_adds_up_with_nobody(con):
    for asked, odd in (
        (Round(family="moments"), {"centre": (1.0, 1.0), "scale": (1.0, 1.0)}),
        (Round(family="binomial", state=(0.0, 0.0, 0.0)), {"state": (0.5, 0.0, 0.0)}),
    ):
        assert prepared_rounds(con).sums(asked)["n"] == COUNT
        sums, code = {}, ""
        try:
            sums = Singling(prepared_rounds(con), **odd).sums(asked)
        except podsql.Error as fault:
            code = fault.code
        assert code in ("", "BAD_RESULT")
        assert bool(code) != bool(sums)
        assert all(abs(one) > 1e20 for one in sums.values())


def test_pods_that_lack_a_column_are_not_summed_with_the_others():
    """They would be asked something else."""
    whole = {"id": range(50), "x": [float(i % 7) for i in range(50)], "y": [1.0, 2.0] * 25}
    pods = {name: {"t": pa.table(whole)} for name in PODS[:3]}
    pods["p3"] = {"t": pa.table({"id": range(50), "y": [1.0, 2.0] * 25})}
    text = "TRAIN MODEL m USING linear_regression PREDICT y FROM (SELECT x, y FROM t) WITH ({})"
    with podsql.local(pods=pods, policy="open", isolation="thread") as made, made.connect() as con:
        masked = "missing = 'drop', secure_aggregation = true"
        assert "p3" in str(failing(con, text.format(masked), "NOT_SUPPORTED"))
        assert con.execute(text.format(f"{masked}, pods = ('p0', 'p1', 'p2')")).fetchone()[2] == 150


# -- pods that are lost ----------------------------------------------------------------------------

TRAIN = f"TRAIN MODEL gone USING logistic_regression PREDICT ill {SELECT.format('ill')}"


BRIEF = " WITH (secure_aggregation = true, round_timeout = 5)"


def train(con, sql, act):
    """Train, and ``act`` after the second round, once."""
    done = []

    def heard(line):
        if (line.event, line.round) == ("round", 2) and not done:
            done.append(True)
            act()

    con.on_progress = heard
    try:
        return con.execute(sql).fetchone()
    finally:
        con.on_progress = None
        assert done


def test_a_pod_that_was_restarted_between_rounds_goes_on_with_another_job(con, federation):
    con.execute(TRAIN)
    known = described(con, "gone")
    assert train(con, TRAIN + MASKS, lambda: restart(federation, "p2"))[-1] == ", ".join(PODS)
    assert described(con, "gone") == known


def test_a_pod_that_is_lost_ends_the_statement_and_leaves_a_job(con, federation):
    con.execute(TRAIN)
    known = described(con, "gone")
    con.execute("DROP MODEL gone")
    try:
        with pytest.raises(podsql.Error, match="'p3'") as caught:
            train(con, TRAIN + BRIEF, federation.pods["p3"].stop)
    finally:
        restart(federation, "p3")
    assert caught.value.code == "PODS_MISSING"
    failing(con, "DESCRIBE MODEL gone", "UNKNOWN_MODEL")
    job = con.execute("SHOW JOBS").fetchall()[-1][0]
    con.execute(f"RESUME JOB '{job}'")
    assert described(con, "gone") == known


def test_with_fewer_pods_only_if_statement_and_custodians_say_so(con, federation):
    """That statements alone do not suffice is in ``test_the_same_tables_are_not_summed…``."""
    try:
        with configured(federation, *PODS[:3], least=3):
            fewer = TRAIN + BRIEF.replace(")", ", min_pods = 3)")
            row = train(con, fewer, federation.pods["p3"].stop)
            assert (row[2], row[-1]) == (COUNT - SIZES[3], ", ".join(PODS[:3]))
            known = described(con, "gone")
            con.execute(TRAIN + " WITH (pods = ('p0', 'p1', 'p2'))")
            assert described(con, "gone") == known
    finally:
        restart(federation, "p3")


def test_a_custodian_may_let_models_be_trained_under_masks_only(con, federation):
    with configured(federation, "p1", required=True):
        assert "secure_aggregation" in str(failing(con, TRAIN, "DENIED"))
        assert con.execute(TRAIN + MASKS).fetchone()[2] == COUNT
        assert con.execute("SELECT count(*) FROM people").fetchone() == (COUNT,)


def test_a_custodian_names_whom_the_pod_sums_with(con, federation):
    with configured(federation, "p1", peers=("p0", "p2")):
        failing(con, TRAIN + MASKS, "DENIED")
    with configured(federation, "p1", colluders=2):
        failing(con, TRAIN + MASKS, "DENIED")
        text = TRAIN + " WITH (secure_aggregation = true, colluders = 2)"
        assert con.execute(text).fetchone()[2] == COUNT


# -- how well a model foretells rows ---------------------------------------------------------------


def test_an_evaluation_under_masks_is_of_all_pods_together(con):
    select = "SELECT age, visits, ill = 0 AS well, ill = 1 AS sick FROM people"
    for name, kind in (
        ("calls", "linear_regression PREDICT visits FROM (SELECT age, visits FROM people)"),
        ("fates", f"naive_bayes PREDICT well, sick FROM ({select.replace('visits, ', '')})"),
    ):
        con.execute(f"TRAIN MODEL {name} USING {kind}")
    text = f"EVALUATE MODEL calls, fates FROM ({select})"
    plain = con.execute(text).fetchall()
    masked = con.execute(text + MASKS).fetchall()
    pooled = [row for row in masked if row[1] == "(pooled)"]
    unseen = {"mae", "accuracy"}
    unseen |= {f"{one}: {name}" for one in ("recall", "precision") for name in ("well", "sick")}
    assert {row[2] for row in pooled if row[3] is None} == unseen
    assert [row for row in pooled if row[2] not in unseen] == [
        row for row in plain if row[1] == "(pooled)" and row[2] not in unseen
    ]
    hidden = [row for row in masked if row[1] != "(pooled)"]
    assert [*dict.fromkeys(row[1] for row in hidden)] == list(PODS)
    assert {row[3:] for row in hidden} == {(None,) * 6}
