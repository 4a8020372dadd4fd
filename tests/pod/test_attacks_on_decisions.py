"""Hostile, dead and slow policy services, and analysts who measure: attacks 46 to 50 at a real pod."""

import statistics
import threading
import time

import pytest
from served import ANSWER, COUNT, VISITS, code_of, served

from podsql.analyst.asking import ask
from podsql.analyst.statement import Statement
from podsql.errors import Error
from podsql.messages import (
    Failed,
    QueryPayload,
    RequestHead,
    decode,
    decode_as,
    encode,
    query_hash,
)
from podsql.planner.fragment import encode_fragment
from podsql.pod.daemon import Pod
from podsql.policy.decisions import TRIES, TRY_SECONDS
from podsql.policy.service.store import search_decisions
from podsql.relay.signing import sign
from podsql.service_messages import (
    Decision,
    DecisionReply,
    DecisionRequest,
    Grant,
    GrantsReply,
    GrantsRequest,
)


def unless_deciding(act):
    """An honest service but for its decisions."""

    def answer(service, request):
        if isinstance(decode(request.body), DecisionRequest):
            act(service, request)
        else:
            service.serve(request)

    return answer


def hangs(service, request):
    """Takes the call and says nothing."""


def drips(service, request):
    """Answers each call, a little too late."""
    timer = threading.Timer(TRY_SECONDS + 0.3, service.serve, [request])
    timer.daemon = True
    timer.start()


def babbles(service, request):
    request.reply(encode(GrantsReply(grants=(), nonce=b"")))


@pytest.mark.parametrize(
    ("act", "reason"),
    [(hangs, "no answer in time"), (drips, "no answer in time"), (babbles, "did not decide")],
    ids=["hangs", "drips", "babbles"],
)
def test_attack_46_a_service_that_gives_no_usable_answer_lets_nothing_run(act, reason):
    with served(services=(), hostile={"rogue": unless_deciding(act)}) as federation:
        federation.allow(service="rogue")
        with federation.connect() as con:
            con.federation.bind("", "", deadline=time.monotonic() + 10)
            began = time.monotonic()
            assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
            took = time.monotonic() - began
        assert took < TRIES * TRY_SECONDS + 3
        if act is not babbles:
            assert took >= TRIES * TRY_SECONDS - 0.1
        (line,) = federation.events("query")
        assert (line.entry.decision, line.entry.reason) == ("deny", reason)
        pod = federation.pods["north"]
        assert not pod._book.knows(bytes.fromhex(line.entry.request_id))
        assert pod.desk.answered == 0


def test_attack_47_a_decision_of_an_earlier_request_allows_no_other():
    first: list[bytes] = []

    def replays(service, request):
        if not first:
            first.append(encode(service.answer(request.peer, request.body)))
        request.reply(first[0])

    with served(services=(), hostile={"rogue": unless_deciding(replays)}) as federation:
        federation.allow(service="rogue")
        with federation.connect() as con:
            assert con.execute(COUNT).fetchall() == ANSWER
            assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
            assert federation.events("query")[-1].entry.reason == "decided another request"


POLICY = """
version = 1
name = "ceiling"
people = {ana = "*"}
purposes = ["cohort"]
[tables.visits.columns]
patient = {roles = ["entity_key"]}
sex = {roles = ["dimension", "filter"]}
"""


def gives_all(service, request):
    """Grants and allows everything to everybody, as rows, truly signed."""
    asked, seed = decode(request.body), service._seed
    now = time.time_ns() // 1_000_000
    if isinstance(asked, GrantsRequest):
        grant = Grant(
            grant_id="all", analyst=asked.analyst, pod="*", tables=("*",), purpose="*",
            project="*", release="rows", since=now - 1000, until=now + 60_000,
        )  # fmt: skip
        signed = sign("grant", encode(grant), seed)
        request.reply(encode(GrantsReply(grants=(signed,), nonce=asked.nonce)))
    elif isinstance(asked, DecisionRequest):
        head = decode_as(RequestHead, asked.head.body)
        decision = Decision(
            query_hash=query_hash(head), nonce=asked.nonce, pod=head.pod, allow=True, reason="",
            release="rows", expires=now + 30_000,
        )  # fmt: skip
        request.reply(encode(DecisionReply(decision=sign("decision", encode(decision), seed))))
    else:
        service.serve(request)


@pytest.fixture
def ceiling(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def test_attack_49_a_service_that_allows_everything_stays_under_the_file(ceiling):
    with (
        served(services=(), hostile={"rogue": gives_all}, policy=ceiling) as federation,
        federation.connect(purpose="cohort") as con,
        federation.connect("bob", purpose="cohort") as bob,
    ):
        assert con.execute(COUNT).fetchall() == ANSWER
        for over in ("SELECT patient, sex FROM visits", "SELECT avg(age) FROM visits"):
            assert code_of(con, over) in ("DENIED", "UNKNOWN_COLUMN", "NOT_EXACT", "NOT_SUPPORTED")
        assert code_of(bob, COUNT) == "UNKNOWN_TABLE"
        con.purpose = "marketing"
        assert code_of(con, COUNT) == "UNKNOWN_TABLE"
        con.purpose = "cohort"
        # Also without a planner that keeps to the offer.
        for old, new in ((b"sex", b"age"), (b"visits", b"secret")):
            assert raw(con, lambda f, old=old, new=new: f.replace(old, new)).code == "DENIED"


def test_attack_49_a_second_service_must_sign_too(ceiling):
    with (
        served(services=("access",), hostile={"rogue": gives_all}, policy=ceiling) as federation,
        federation.connect(purpose="cohort") as con,
    ):
        assert code_of(con, COUNT) == "UNKNOWN_TABLE"
        federation.allow(release="sdc_local")
        assert con.execute(COUNT).fetchall() == ANSWER
        assert federation.events("query")[-1].entry.release == "sdc_local"


def raw(con, change, tables=None) -> Error:
    """How a request ends whose fragment was changed on its way from the planner."""
    statement = Statement(federation=con.federation, sql=COUNT, purpose=con.purpose)
    plan, bound = statement.bound()
    fragment = change(encode_fragment(plan.stages[0].fragment))
    payload = encode(QueryPayload(fragment=fragment, statement="?"))
    exchange = ask(
        con.federation,
        bound,
        "north",
        payload,
        request_id=statement.statement_id,
        statement_id=statement.statement_id,
        tables=tables or plan.tables,
        purpose=con.purpose,
        project="",
        pods=("north",),
        schema=None,
        max_rows=10,
        deadline=time.monotonic() + 20,
    )
    exchange.start()
    with pytest.raises(Error) as caught:
        exchange.answer()
    return caught.value


PAIRS = 120


def test_attack_50_a_table_without_a_grant_and_one_that_is_not_there_take_the_same_way():
    """The same words, one question to the service each, and no time that tells them apart."""
    with served(extra={"secret": VISITS["north"]}) as federation, federation.connect() as con:
        federation.allow(tables=["visits"])
        assert con.execute(COUNT).fetchall() == ANSWER
        store = federation.tenants["access"]._store

        def denied(name: bytes) -> Error:
            return raw(
                con,
                lambda fragment: fragment.replace(b"visits", name),
                tables=(f"main.{name.decode()}",),
            )

        secret, absent = denied(b"secret"), denied(b"absent")
        said = [Failed(fault.code, fault.message, fault.hint) for fault in (secret, absent)]
        assert said[0] == said[1]
        assert said[0].code == "DENIED"
        asked = {one.tables for _, one in search_decisions(store.database, limit=2)}
        assert asked == {("main.secret",), ("main.absent",)}
        times: dict[bytes, list[float]] = {b"secret": [], b"absent": []}
        for number in range(PAIRS):
            for name in sorted(times, reverse=number % 2 == 0):
                began = time.perf_counter()
                denied(name)
                times[name].append(time.perf_counter() - began)
        one, other = (statistics.median(found) for found in times.values())
        assert max(one, other) < 1.25 * min(one, other)


DP = """
version = 1
name = "census"
people = "*"
release = "dp"
[dp]
epsilon_per_query = 1.0
epsilon_budget = 5.0
delta = 1e-5
[tables.visits.columns]
patient = {roles = ["entity_key"]}
sex = {roles = ["dimension"], values = ["f", "m"]}
"""


def test_attack_48_an_id_is_charged_once_also_after_a_restart(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(DP)
    sql = f"{COUNT} WITH (privacy = 'dp', epsilon = 1, delta = 1e-5, fresh = true)"
    with served(policy=policy) as federation, federation.connect() as con:
        federation.allow()
        pod = federation.pods["north"]
        cursor = con.execute(sql)
        first = cursor.fetchall()
        assert con.attach(cursor.statement_id, sql).fetchall() == first
        assert len(pod._releasing._ledger.charges()) == 1
        with pytest.raises(Error) as caught:
            con.attach(cursor.statement_id, sql.replace("count(*)", "count(sex)"))
        assert caught.value.code == "CONFLICT"
        pod.stop()
        again = Pod(pod.config, pod.place, pod.membership)
        again.start()
        try:
            with pytest.raises(Error) as caught:
                con.attach(cursor.statement_id, sql)
            assert caught.value.code == "EXPIRED_RESULT"
            assert len(again._releasing._ledger.charges()) == 1
        finally:
            again.stop()
