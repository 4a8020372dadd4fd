"""Release ``sdc_merged`` through real pods: thresholds on the total, and nobody sees one pod's people."""

import json
from dataclasses import replace as with_fields
from itertools import count

import duckdb
import pytest
from masked_world import failing, numbers_in, watched
from msgspec.structs import replace

import podsql
from podsql.messages import Evidence, Result, decode, decode_as, encode
from podsql.pod.config import SumsSection
from podsql.policy.audit import lines
from podsql.sum_messages import SumRound, SumShares, SumTotals, SumUnmask

PODS = ("p0", "p1", "p2", "p3", "p4")
MASKS = " WITH (secure_aggregation = true)"
PROJECTS = [f"project-{at}" for at in range(40)]
POLICY = """
version = 1
name = "totals"
people = "*"
projects = [{PROJECTS}]
allow = ["select"]
release = "sdc_merged"
[output]
min_units = 10
[tables."*".columns]
"*" = {roles = ["dimension", "filter", "measure"]}
kind = {roles = ["dimension", "filter"], values = ["often", "rare", "few", "one", "big", "nobody"]}
"""
PATIENTS = """
SELECT p * 1000 + j AS id, p AS pod, (20 + j % 50)::INTEGER AS age, j % 2 = 0 AS flag,
  CASE WHEN j < 3 THEN 'rare' WHEN j = 3 AND p < 4 THEN 'few' WHEN p = 0 AND j < 30 THEN 'one'
       WHEN p = 1 AND j < 30 OR j = 30 AND p IN (2, 3) THEN 'big' ELSE 'often' END AS kind
FROM range(5) a(p), range(200) b(j)
"""


@pytest.fixture(scope="module")
def pooled():
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE patients AS {PATIENTS}")
        # Ten people have come twice.
        again = "FROM patients UNION ALL FROM patients WHERE id % 100 = 50"
        con.execute(f"CREATE TABLE visits AS {again}")
        yield con


@pytest.fixture(scope="module")
def federation(pooled, tmp_path_factory):
    file = tmp_path_factory.mktemp("policy") / "totals.toml"
    file.write_text(POLICY.replace("{PROJECTS}", json.dumps(PROJECTS)[1:-1]))
    pods = {
        name: {
            **{
                table: pooled.sql(
                    f"SELECT * EXCLUDE pod FROM {table} WHERE pod = {at}"
                ).to_arrow_table()
                for table in ("patients", "visits")
            },
            "everywhere": pooled.sql(f"SELECT 1 AS id, {at} AS age").to_arrow_table(),
        }
        for at, name in enumerate(PODS)
    }
    with podsql.local(
        pods=pods,
        privacy_unit={"patients": "id", "visits": "id", "everywhere": "id"},
        local_keys={"patients": ["id"], "visits": ["id"]},
        policy=file,
        isolation="thread",
    ) as made:
        yield made


NUMBERS = count()


@pytest.fixture
def con(federation):
    """Of a project that was answered nothing so far."""
    with federation.connect(project=PROJECTS[next(NUMBERS)]) as made:
        yield made


BY_KIND = "SELECT kind, count(*) FROM patients GROUP BY kind"
ALL = "SELECT count(*) FROM patients"
SHOWN = " HAVING kind IN ('rare', 'often') ORDER BY kind"


def scope_of(con):
    return f"totals/{con.project}"


def past_of(federation, pod):
    return federation.pods[pod].desk._releasing._past


# -- what is answered ------------------------------------------------------------------------------


def test_a_rare_group_is_answered_and_one_below_the_minimum_is_not(con, federation, pooled):
    cursor = con.execute(f"{BY_KIND} ORDER BY kind{MASKS}")
    known = pooled.execute(BY_KIND + SHOWN).fetchall()
    assert cursor.fetchall() == known
    assert ("rare", 15) in known  # three people at each of five pods: none could let them out
    assert cursor.withheld == 1
    assert cursor.release == "exact"
    # Not the total beside them, which less these groups would tell of the others.
    failing(con, ALL + MASKS, "WITHHELD")
    failing(con, ALL + " WHERE kind <> 'rare'" + MASKS, "WITHHELD")
    # The same again is the same, and takes no room.
    remembered = len(past_of(federation, "p0").load(scope_of(con)))
    assert con.execute(f"{BY_KIND} ORDER BY kind{MASKS}").fetchall() == known
    assert len(past_of(federation, "p0").load(scope_of(con))) == remembered == 1
    people = f"SELECT kind, count(DISTINCT id), count(*) FROM patients GROUP BY kind{SHOWN}"
    assert con.execute(people + MASKS).fetchall() == pooled.execute(people).fetchall()
    # A condition that leaves out few of the people of a group that was shown.
    failing(con, ALL + " WHERE kind = 'rare' AND age > 20" + MASKS, "WITHHELD")
    entry = [line.entry for line in lines(federation.pods["p3"].place / "audit.jsonl")][-1]
    assert (entry.release, entry.rows) == ("sdc_merged", 1)
    assert "0 groups on the total, masked for a sum of 5 pods" in entry.reason


@pytest.mark.parametrize(
    "text",
    [
        ALL,
        f"{ALL} WHERE age > 30",
        "SELECT flag, count(*), count(DISTINCT id) FROM patients GROUP BY flag ORDER BY flag",
        "SELECT age > 40 AS old, count(*) FROM patients WHERE kind = 'often' GROUP BY ALL ORDER BY 1",
    ],
)
def test_the_answer_is_that_of_one_database(con, pooled, text):
    cursor = con.execute(text + MASKS)
    assert cursor.fetchall() == pooled.execute(text).fetchall()
    assert cursor.withheld == 0
    assert cursor.pods == PODS


def test_after_the_total_no_groups_that_leave_out_few_of_it(con):
    assert con.execute(ALL + MASKS).fetchall() == [(1000,)]
    assert con.execute(BY_KIND + MASKS).fetchall() == []
    assert (
        con.cursor().execute("SELECT flag, count(*) FROM patients GROUP BY flag" + MASKS).fetchall()
    )


def test_rows_are_not_counted_beside_people_where_few_have_several(con, pooled):
    people = "SELECT flag, count(DISTINCT id) FROM visits GROUP BY flag ORDER BY flag"
    assert con.execute(people + MASKS).fetchall() == pooled.execute(people).fetchall()
    assert con.execute("SELECT count(DISTINCT id) FROM visits" + MASKS).fetchall() == [(1000,)]
    failing(con, "SELECT count(*) FROM visits" + MASKS, "WITHHELD")


def test_more_pods_in_league_are_reckoned_with(con, pooled):
    two = " WITH (secure_aggregation = true, colluders = 2)"
    # Fifteen people less those of two pods are nine.
    assert [kind for kind, _ in con.execute(BY_KIND + two).fetchall()] == ["often"]


def test_explain_says_who_is_behind_a_cell(con):
    said = con.cursor().explain(BY_KIND + MASKS)
    assert "if 10 people or more are behind it at all pods together" in said
    table = con.execute("EXPLAIN POLICY " + BY_KIND + MASKS).fetch_arrow_table()
    assert set(table["answer"].to_pylist()) == {"masked"}


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        BY_KIND,
        "SELECT age FROM patients",
        "SELECT sum(age) FROM patients" + MASKS,
        "SELECT avg(age) FROM patients" + MASKS,
        "SELECT count(age) FROM patients" + MASKS,
        "SELECT count(*) FILTER (WHERE flag) FROM patients" + MASKS,
        "SELECT count(*) FROM patients JOIN everywhere USING (id)" + MASKS,
        "SELECT count(*) FROM everywhere" + MASKS,  # one person at five pods counts for five
        "SELECT age, count(*) FROM patients GROUP BY age" + MASKS,
    ],
)
def test_what_has_no_rule_on_the_total_is_refused_before_a_pod_is_asked(con, text):
    with watched(con) as seen:
        assert failing(con, text, "NOT_SUPPORTED").hint
    assert not any(type(message).__name__.startswith(("Sum", "Query")) for _, message, _ in seen)


@pytest.mark.parametrize(
    "change",
    [
        lambda fragment: replace(
            fragment, aggregates=(replace(fragment.aggregates[0], sql='count("patients"."age")'),)
        ),
        lambda fragment: replace(
            fragment,
            aggregates=(replace(fragment.aggregates[0], sql="count(*) FILTER (WHERE flag)"),),
        ),
        lambda fragment: replace(fragment, masked=False),
    ],
)
def test_a_pod_judges_by_itself_what_may_be_on_the_total(con, monkeypatch, change):
    import podsql.analyst.masked_groups as own

    coded = own.encode_fragment
    with monkeypatch.context() as patched:
        patched.setattr(own, "encode_fragment", lambda fragment: coded(change(fragment)))
        failing(con, ALL + MASKS, "DENIED")
    con.execute(ALL + MASKS)


@pytest.mark.parametrize("units", [0, 9])
def test_no_sum_with_a_lower_threshold_than_a_pods_own(con, monkeypatch, units):
    """Nor one in which nobody judges: what a pod brings there was not judged by itself either."""
    import podsql.analyst.masked_groups as own

    lead = own.lead
    asking = []

    def leading(*args, **named):
        rounds = named["rounds"] if units else 1
        asking.append(named["units"])
        leader = lead(*args, **(named | {"units": units, "rounds": rounds}))
        if not units:
            leader.sum_by_total = leader.sum
        return leader

    with monkeypatch.context() as patched, watched(con) as seen:
        patched.setattr(own, "lead", leading)
        failing(con, ALL + MASKS, "DENIED")
    assert asking == [10]
    assert not any(isinstance(message, SumUnmask) for _, message, _ in seen)


# -- who learns what -------------------------------------------------------------------------------


def test_the_analyst_reads_no_total_of_people_and_nobody_who_kept_a_group_back(
    con, federation, pooled, monkeypatch
):
    from podsql.analyst.leading import Leader
    from podsql.engine.sums.groups import GroupSums

    back, read, opened = Leader._bring_back, GroupSums.read, []

    def bringing(leader, found, asked, deadline):
        opened.append(found.parts[0].units())
        back(leader, found, asked, deadline)

    def reading(sums, cells, pods):
        opened.append(list(cells))
        return read(sums, cells, pods)

    monkeypatch.setattr(Leader, "_bring_back", bringing)
    monkeypatch.setattr(GroupSums, "read", reading)
    with watched(con) as seen:
        for _ in range(2):
            con.execute(BY_KIND + MASKS)
    hidden, figures = [*opened[:2], *opened[3:5]], [opened[2], opened[5]]
    for words in hidden:  # uniform: also the zeros, and the same of the same statement
        assert sum(abs(word) > 2**115 for word in words) > 0.99 * len(words)
        assert len(set(words)) == len(words)
    assert len({word for words in hidden for word in words}) == sum(map(len, hidden))
    shown = [value for words in figures for value in words if abs(value) < 2**100]
    known = {number for _, number in pooled.execute(BY_KIND + SHOWN).fetchall()}
    assert set(shown) == {0, *known}
    told = {}
    for pod, _, reply in seen:
        message = decode(reply)
        if isinstance(message, Result):
            assert message.arrow == b""
            evidence = decode_as(Evidence, message.evidence.body)
            told.setdefault(pod, []).append((evidence.rows, evidence.withheld, evidence.size))
    assert set(told) == set(PODS)
    assert len({tuple(one) for one in told.values()}) == 1  # of whoever has the people of a group
    numbers = {one for *_, reply in seen for one in numbers_in(decode(reply))}
    for row in pooled.execute("SELECT count(*) FROM patients GROUP BY pod, kind").fetchall():
        assert row[0] < 10 or row[0] not in numbers


# -- what a coordinator may try --------------------------------------------------------------------


def changed(con, monkeypatch, change):
    """The coordinator sends ``change(message)`` in place of each message to a pod."""
    call = con.federation.endpoint.call

    def calling(to, body, **named):
        sent = body
        if isinstance(body, bytes):
            sent = encode(change(to.name, decode(body)))
        return call(to, sent, **named)

    monkeypatch.setattr(con.federation.endpoint, "call", calling, raising=False)


def more(vector, at):
    """Ten people more in one cell."""
    low = int.from_bytes(vector[8 * at : 8 * at + 8], "little")
    return vector[: 8 * at] + ((low + 10) % 2**64).to_bytes(8, "little") + vector[8 * at + 8 :]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("victims", [PODS, ("p2",)])
def test_a_coordinator_that_brings_back_other_totals_opens_nothing(
    con, pooled, monkeypatch, number, victims
):
    def change(pod, message):
        if isinstance(message, SumTotals) and message.round == number and pod in victims:
            return replace(message, vector=more(message.vector, 3))
        return message

    with monkeypatch.context() as patched, watched(con) as seen:
        changed(con, patched, change)
        assert "other totals" in str(failing(con, BY_KIND + MASKS, "BAD_MESSAGE"))
    rounds = [message.round for _, message, _ in seen if isinstance(message, SumRound)]
    assert max(rounds) == number
    assert con.execute(BY_KIND + MASKS).fetchall()


def test_a_coordinator_that_leaves_out_a_step_opens_nothing(con, monkeypatch):
    from podsql.analyst.leading import Leader

    told = []

    def change(pod, message):
        told.append(message)
        return message

    with monkeypatch.context() as patched:
        changed(con, patched, change)
        patched.setattr(Leader, "_bring_back", lambda *_: None)
        failing(con, BY_KIND + MASKS, "SUM_RESTART")
    assert not any(isinstance(one, SumShares) and one.round == 2 for one in told)
    con.execute(BY_KIND + MASKS)


def test_a_table_leaves_on_the_total_of_the_same_pods_for_ever(con, federation):
    con.execute(ALL + MASKS)
    fewer = " WITH (secure_aggregation = true, pods = ('p0', 'p1', 'p2', 'p3'))"
    assert "other pods before" in str(failing(con, ALL + fewer, "DENIED"))
    desks = [pod.desk for pod in federation.pods.values()]
    kept = [desk.holding for desk in desks]
    for desk in desks:
        desk.replace(with_fields(desk.holding, data_version="of the next day"))
    try:  # with one pod fewer, what did not change would show its part
        assert "other pods before" in str(failing(con, ALL + fewer, "DENIED"))
    finally:
        for desk, holding in zip(desks, kept, strict=True):
            desk.replace(holding)
    desk = federation.pods["p0"].desk
    desk._summing._terms, kept = SumsSection(least=4), desk._summing._terms
    try:
        assert "least" in str(failing(con, ALL + MASKS, "DENIED"))
    finally:
        desk._summing._terms = kept


# -- what pods remember ----------------------------------------------------------------------------


def test_a_statement_that_was_given_up_on_the_way_is_forgotten_and_one_that_left_never(
    con, federation, monkeypatch
):
    class Stopped(Exception):
        pass

    def change(pod, message):
        if isinstance(message, SumRound) and message.round == 3 and pod == "p2":
            raise Stopped
        return message

    with monkeypatch.context() as patched:
        changed(con, patched, change)
        with pytest.raises(Stopped):
            con.execute(BY_KIND + MASKS)
    scope = scope_of(con)
    given_up = past_of(federation, "p0").names(scope)
    assert len(given_up) == 1
    assert not past_of(federation, "p0").settled(scope)
    # As if one pod had failed before it knew of the statement.
    with federation.pods["p4"].desk._releasing._ledger.transaction() as db:
        db.execute("DELETE FROM past WHERE scope = ?", [scope])
    con.execute(ALL + MASKS)
    for pod in PODS:
        names = past_of(federation, pod).names(scope)
        assert len(names) == 1
        assert set(names) == past_of(federation, pod).settled(scope)
        assert given_up[0] not in names
    with federation.pods["p4"].desk._releasing._ledger.transaction() as db:
        db.execute("DELETE FROM past WHERE scope = ?", [scope])
    assert "does not remember earlier answers" in str(failing(con, BY_KIND + MASKS, "CONFLICT"))


def test_what_left_on_totals_and_what_pods_judged_alone_are_not_mixed(con, federation):
    """A custodian who changes the release does not open what neither rule would let out."""
    con.execute(ALL + MASKS)
    with federation.pods["p1"].desk._releasing._ledger.transaction() as db:
        db.execute("INSERT INTO cell VALUES (?, ?, ?)", [scope_of(con), b"one", b""])
    assert "judged by the pods alone" in str(failing(con, ALL + MASKS, "DENIED"))


@pytest.mark.parametrize("word", [2**63, -100])
def test_a_pod_that_brings_garbage_spoils_a_sum_and_reads_nothing(con, monkeypatch, word):
    """To the others its totals are none that people give, so nobody brings figures."""
    from podsql.pod.totalling import Totalling

    first, pods = Totalling.first, []

    def lying(own):
        pods.append(own)
        return [word, *first(own)[1:]] if len(pods) == 1 else first(own)

    with monkeypatch.context() as patched, watched(con) as seen:
        patched.setattr(Totalling, "first", lying)
        failing(con, BY_KIND + MASKS, "BAD_MESSAGE")
    assert len(pods) == len(PODS)
    assert not any(isinstance(one, SumShares) and one.round > 1 for _, one, _ in seen)
    con.execute(BY_KIND + MASKS)
