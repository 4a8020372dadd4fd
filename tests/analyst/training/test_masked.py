"""TRAIN MODEL under masks, through real pods: the plain fit bit for bit, or nothing of one pod is seen."""

import dataclasses
import hashlib
import os

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from masked_world import (
    configured,
    failing,
    forms_of,
    numbers_in,
    of_file,
    restart,
    severed,
    watched,
)
from msgspec.structs import replace

import podsql
from podsql.analyst.leading import PodsLost
from podsql.analyst.statement import Statement
from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.analyst.training.rounds import Rounds, added
from podsql.engine.merge import Merger
from podsql.engine.sums.coordinator import Coordinator
from podsql.engine.training.fitting import Round
from podsql.errors import error
from podsql.messages import (
    Done,
    Evidence,
    Failed,
    Result,
    decode,
    decode_as,
    encode,
    sum_request,
)
from podsql.planner.fragment import Split
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
TABLES = ("people", "guests", "wards", "homes", "farms", "towns")
"""Of the same rows: a table is summed with one set of pods."""
PODS = tuple(f"p{place}" for place in range(len(SIZES)))
MASKS = " WITH (secure_aggregation = true)"
MOMENTS = Round(family="moments")
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


def drifted(table, at):
    """Pods of one table have other types of a column; one of them lacks another column."""
    kind = (pa.int32(), pa.int64(), pa.int16(), pa.int32())[at]
    made = pa.table(
        {
            "id": table["id"],
            "x": table["visits"].cast(kind),
            "y": table["age"],
            "z": table["income"],
        }
    )
    return made if at else made.drop_columns("z")


@pytest.fixture(scope="module")
def table():
    return people()


@pytest.fixture(scope="module")
def federation(table):
    starts = (0, *np.cumsum(SIZES))
    pods = {
        name: dict.fromkeys(TABLES, table.slice(start, size))
        for name, start, size in zip(PODS, starts, SIZES, strict=False)
    }
    for at, name in enumerate(PODS):
        pods[name]["drifted"] = drifted(pods[name]["people"], at)
    units = dict.fromkeys((*TABLES, "drifted"), "id")
    with podsql.local(pods=pods, privacy_unit=units, policy="standard", isolation="thread") as made:
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
    select = f"FROM (SELECT age, dose, {target} FROM people)"
    text = f"TRAIN MODEL {{}} USING {kind} PREDICT {target} {select}"
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
        podsql.local(
            pods=pods, policy="open", analysts=("ana", "ben"), isolation="thread"
        ) as other,
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


def prepared_rounds(con, text="SELECT age, dose, ill FROM people", target="ill", pods=None):
    statement = Statement(federation=con.federation, sql="TRAIN …", timeout=60)
    statement.forget_offers()  # pods may have been restarted
    bound = con.federation.bind("", "", deadline=statement.deadline + 1e9)
    design = plan_design(text, [target], bound.training, pods=pods)
    masking = Masking(colluders=1)
    return MaskedRounds(statement, bound, design, masking, seconds=60.0)


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
                prepared_rounds(con).sums(MOMENTS)


def test_a_job_is_about_one_statement_its_pods_and_figures(con, monkeypatch):
    import podsql.analyst.training.masked_rounds as own

    with monkeypatch.context() as patched:
        patched.setattr(own, "sum_about", lambda *_: bytes(32))
        with pytest.raises(podsql.Error, match="another statement"):
            prepared_rounds(con).sums(MOMENTS)
    asked = prepared_rounds(con)
    asked.sums(MOMENTS)
    # Another design for a job that is under way: same names and cells, other columns.
    again = prepared_rounds(con, "SELECT income, dose, ill FROM people")
    again._leaders = asked._leaders
    again._statement = asked._statement
    with pytest.raises(podsql.Error) as caught:
        again.sums(MOMENTS)
    assert caught.value.code == "CONFLICT"


class Singling(MaskedRounds):
    """Asks p0 something else than the others: its figures were told by two such sums."""

    def __init__(self, honest, change):
        self.__dict__ |= honest.__dict__
        self._change = change

    def _exchange(self, stage, pod, leader):
        if pod == "p0":
            stage = dataclasses.replace(stage, fragment=self._change(stage.fragment))
        return super()._exchange(stage, pod, leader)


BINOMIAL = Round(family="binomial", centre=(0.0, 0.0), scale=(1.0, 1.0), state=(0.1, 0.0, 0.0))
CHANGES = {
    "coefficients": (BINOMIAL, lambda step: replace(step, state=(0.5, *step.state[1:]))),
    "scale": (BINOMIAL, lambda step: replace(step, scale=(2.0, *step.scale[1:]))),
    "columns": (BINOMIAL, lambda step: replace(step, features=step.features[::-1])),
    "rows": (BINOMIAL, lambda step: replace(step, split=Split(2, False))),
    "centre": (MOMENTS, lambda step: replace(step, centre=(1.0, 1.0), scale=(1.0, 1.0))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_pod_that_is_asked_otherwise_than_the_others_adds_up_with_nobody(con, change):
    asked, otherwise = CHANGES[change]
    assert prepared_rounds(con).sums(asked)["n"] == COUNT
    singling = Singling(prepared_rounds(con), otherwise)
    sums, code = {}, ""
    with watched(con) as seen:
        try:
            sums = singling.sums(asked)
        except podsql.Error as fault:
            code = fault.code
    # It did bring figures, under masks that the others' do not take off.
    brought = {pod for pod, _, reply in seen if isinstance(decode(reply), SumMasked)}
    assert brought == set(PODS)
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

TRAIN = "TRAIN MODEL gone USING logistic_regression PREDICT ill FROM (SELECT age, ill FROM people)"
BRIEF = " WITH (secure_aggregation = true, round_timeout = 5, min_pods = 3)"


def sums(con, table, pods=PODS, **named):
    """The sums of the first round over ``pods``, under masks."""
    return prepared_rounds(con, f"SELECT age, ill FROM {table}", pods=pods, **named).sums(MOMENTS)


def plain_sums(con, table, pods=PODS):
    asked = prepared_rounds(con, f"SELECT age, ill FROM {table}", pods=pods)
    rounds = Rounds(asked._statement, Merger(), asked.bound, asked._design, seconds=60.0)
    return added(rounds.by_pod(MOMENTS))


def test_a_pod_lost_before_its_figures_came_leaves_nothing_and_the_others_may_go_on(con):
    """At every step, with the message or with its answer; over one table, so that no loss leaves a trace."""
    for kind in (SumStart, SumKeys, SumRound, SumShares):
        for after in (False, True):
            with severed(con, "p3", kind, after=after) as sent, pytest.raises(PodsLost) as caught:
                sums(con, "guests")
            assert caught.value.pods == {"p3"}
            assert not {SumSurvivors, SumUnmask} & set(map(type, sent))
    few = PODS[:3]
    assert sums(con, "guests", few) == plain_sums(con, "guests", few)
    with pytest.raises(podsql.Error, match="other pods before"):
        sums(con, "guests")


def test_a_pod_lost_after_its_figures_came_is_in_the_sum_and_no_sum_is_without_it(con):
    known = plain_sums(con, "people")
    for kind in (SumSurvivors, SumUnmask):
        for after in (False, True):
            with severed(con, "p3", kind, after=after):
                assert sums(con, "people") == known
    with pytest.raises(podsql.Error, match="other pods before"):
        sums(con, "people", PODS[:3])
    assert sums(con, "people") == known


def test_a_pod_signs_no_list_of_figures_that_did_not_leave(con, federation, monkeypatch):
    """Its audit is full: the figures were masked, and stay."""
    sent, call = [], con.federation.endpoint.call

    def full(_):
        raise error("POD_FAILED", "the disk is full")

    def noting(to, body, **named):
        if to.name == "p0" and isinstance(body, bytes):
            sent.append(decode(body))
        return call(to, body, **named)

    with monkeypatch.context() as patched:
        patched.setattr(con.federation.endpoint, "call", noting)
        patched.setattr(federation.pods["p0"].desk._audit, "append", full)
        with pytest.raises(podsql.Error):
            sums(con, "people")
    [last] = [one for one in sent if isinstance(one, SumShares)]
    reply = ask(con, "p0", SumSurvivors(last.job, last.round, PODS, ()))
    assert isinstance(reply, Failed)
    assert (reply.code, "did not leave" in reply.message) == ("BAD_MESSAGE", True)


def test_a_round_that_is_held_back_is_not_opened_beside_its_successor(con):
    """The coordinator has all masked figures of four pods, then opens the sum of three of them."""
    endpoint = con.federation.endpoint
    call, held = endpoint.call, {}

    def hold(to, body, **named):
        if isinstance(body, bytes) and isinstance(message := decode(body), SumSurvivors):
            held[to.name] = message
            return named["on_reply"](error("POD_LOST", "held back"))
        return call(to, body, **named)

    endpoint.call = hold
    try:
        with pytest.raises(podsql.Error, match="nothing was opened"):
            sums(con, "wards")
    finally:
        endpoint.call = call
    assert sorted(held) == list(PODS)
    few = PODS[:3]
    sums(con, "wards", few)
    for pod in few:
        refused(con, pod, held[pod], "DENIED")


def at_second(con, sql, act=lambda: None):
    """Train, and ``act`` after the second round, once; whether it was."""
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


def train_without(con, sql, pod):
    """Train; from the second round on ``pod`` is gone."""
    gone = []
    with severed(con, pod, when=lambda: bool(gone)):
        return at_second(con, sql, lambda: gone.append(True))


def test_a_job_goes_on_without_a_pod_that_is_lost_before_a_sum_was_opened(con):
    text = TRAIN.replace("people", "homes")
    with severed(con, "p3", SumShares):
        row = con.execute(text + BRIEF).fetchone()
    assert (row[2], row[-1]) == (COUNT - SIZES[3], ", ".join(PODS[:3]))
    known = described(con, "gone")
    con.execute(text + " WITH (pods = ('p0', 'p1', 'p2'))")
    assert described(con, "gone") == known


def test_a_job_waits_for_a_pod_that_is_lost_once_a_sum_was_opened(con):
    """Whatever ``min_pods`` says: the first rounds without it would tell its figures."""
    con.execute(TRAIN)
    known = described(con, "gone")
    con.execute("DROP MODEL gone")
    with pytest.raises(podsql.Error, match="'p3'") as caught:
        train_without(con, TRAIN + BRIEF, "p3")
    assert caught.value.code == "PODS_MISSING"
    assert "were opened" in str(caught.value)
    failing(con, "DESCRIBE MODEL gone", "UNKNOWN_MODEL")
    job, _, _, state, *_ = con.execute("SHOW JOBS").fetchall()[-1]
    assert state == "waiting"
    with severed(con, "p3"):
        assert "were opened" in str(failing(con, f"RESUME JOB '{job}'", "PODS_MISSING"))
    con.execute(f"RESUME JOB '{job}'")
    assert described(con, "gone") == known


def test_with_fewer_pods_beside_a_sum_of_all_if_all_custodians_say_so(con, federation):
    text = TRAIN.replace("people", "farms")
    with of_file(federation, *PODS, least=3):
        row = train_without(con, text + BRIEF, "p3")
        assert (row[2], row[-1]) == (COUNT - SIZES[3], ", ".join(PODS[:3]))
        known = described(con, "gone")
        con.execute(text + " WITH (pods = ('p0', 'p1', 'p2'))")
        assert described(con, "gone") == known


def test_the_custodian_of_the_pod_that_is_left_out_must_say_so_too(con, federation):
    with of_file(federation, *PODS[:3], least=3):
        sums(con, "towns")
        with pytest.raises(podsql.Error, match="other pods before"):
            sums(con, "towns", PODS[:3])


def test_a_pod_that_was_restarted_between_rounds_goes_on_with_another_job(con, federation):
    con.execute(TRAIN)
    known = described(con, "gone")
    assert at_second(con, TRAIN + MASKS, lambda: restart(federation, "p2"))[-1] == ", ".join(PODS)
    assert described(con, "gone") == known
    with pytest.raises(podsql.Error, match="other pods before"):  # from its ledger
        sums(con, "people", ("p0", "p2", "p3"))


def test_a_custodian_may_let_models_be_trained_under_masks_only(con, federation):
    with configured(federation, "p1", required=True):
        assert "secure_aggregation" in str(failing(con, TRAIN, "DENIED"))
        assert con.execute(TRAIN + MASKS).fetchone()[2] == COUNT
        assert con.execute("SELECT count(*) FROM people").fetchone() == (COUNT,)


def test_a_custodian_names_whom_the_pod_sums_with(con, federation):
    with of_file(federation, "p1", peers=("p0", "p2")):
        failing(con, TRAIN + MASKS, "DENIED")
    with of_file(federation, "p1", colluders=2):
        failing(con, TRAIN + MASKS, "DENIED")
        text = TRAIN + " WITH (secure_aggregation = true, colluders = 2)"
        assert con.execute(text).fetchone()[2] == COUNT


def test_columns_of_other_types_are_asked_alike_and_columns_that_a_pod_lacks_are_not(con):
    text = "TRAIN MODEL m USING linear_regression PREDICT y FROM (SELECT x, {} AS y FROM drifted)"
    plain = con.execute(text.format("y")).fetchone()
    known = described(con, "m")
    assert con.execute(text.format("y") + MASKS).fetchone() == plain
    assert described(con, "m") == known
    lacking = text.format("coalesce(z, x)")
    assert "lack" in str(failing(con, lacking + MASKS, "NOT_SUPPORTED"))
    assert "lack" in str(failing(con, f"EXPLAIN {lacking}{MASKS}", "NOT_SUPPORTED"))


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
