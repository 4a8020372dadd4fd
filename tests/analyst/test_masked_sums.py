"""SELECT under masks, through real pods: the answer of one database, and nothing of one pod is seen."""

import hashlib
import json

import duckdb
import pytest
from masked_world import failing, forms_of, numbers_in, restart, watched
from msgspec.structs import replace

import podsql
from podsql.messages import Evidence, Result, decode, decode_as
from podsql.planner.fragment import Aggregate, decode_fragment
from podsql.pod.config import SumsSection
from podsql.policy.audit import lines
from podsql.sum_messages import SumMasked, SumRound, SumShares, SumSurvivors, SumUnmask

PODS = ("p0", "p1", "p2", "p3")
MASKS = " WITH (secure_aggregation = true)"
POLICY = """
version = 1
name = "sums"
people = "*"
allow = ["select", "train"]
release = "sdc_local"
[joins]
types = ["inner", "left"]
[output]
min_units = 10
[tables."*".columns]
"*" = {roles = ["dimension", "filter", "measure"]}
ward = {roles = ["dimension", "filter", "join_key"], values = ["a", "b", "c", "nobody"]}
tier = {roles = ["dimension", "filter"], values = ["low", "top"]}
code = {roles = ["dimension", "filter"], values = ["k", "m"]}
floor = {values = [1, 2]}
year = {roles = ["dimension", "filter"], values = [2019, 2020, 2021]}
[tables.loose]
release = "rows"
rows = ["*"]
[tables.loose.columns]
"*" = {}
"""
VISITS = """
SELECT i AS id, p AS pod,
  CASE WHEN p = 3 THEN 'c' WHEN i % 3 = 0 THEN 'a' WHEN i % 7 <> 0 OR p > 0 THEN 'b' END AS ward,
  CASE WHEN p = 1 AND j < 4 THEN 'top' WHEN p <> 1 AND i % 2 = 0 THEN 'top' ELSE 'low' END AS tier,
  CASE WHEN i % 5 = 0 THEN 'other' ELSE 'k' END AS code,
  (20 + i * 37 % 60)::INTEGER AS age,
  ((i * 7919 % 100000 - 300) / 100)::DECIMAL(10, 2) AS price,
  CASE WHEN i % 11 <> 0 THEN 1.0 / (3 + i % 97) + p * 1e6 END AS weight,
  4611686018427387904 - i AS big,
  CASE WHEN p = 2 AND j = 5 THEN 'nan'::DOUBLE ELSE i * 0.5 END AS odd,
  i % 2 = 0 AS flag, (2019 + i % 2)::SMALLINT AS year, j
FROM (SELECT p, j, p * 1000 + j AS i FROM range(4) a(p), range(400) b(j) WHERE j < 301 + 13 * p)
"""


@pytest.fixture(scope="module")
def pooled():
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE visits AS {VISITS}")
        loose = "pod = 0 AND j < 2 OR pod = 2 AND j IN (5, 11)"
        con.execute(f"CREATE TABLE loose AS SELECT * FROM visits WHERE {loose}")
        con.execute("CREATE TABLE three AS SELECT * FROM visits WHERE pod < 3")
        con.execute(
            "CREATE TABLE names AS SELECT * FROM (VALUES ('a', 1), ('b', 2)) t(ward, floor)"
        )
        yield con


@pytest.fixture(scope="module")
def federation(pooled, tmp_path_factory):
    def of(table, pod):
        return pooled.sql(f"SELECT * EXCLUDE pod FROM {table} WHERE pod = {pod}").to_arrow_table()

    pods = {name: {"visits": of("visits", at)} for at, name in enumerate(PODS)}
    for at in range(3):
        pods[f"p{at}"] |= {"three": of("three", at), "loose": of("loose", at)}
    for at in range(2):
        pods[f"p{at}"]["two"] = of("three", at)
    file = tmp_path_factory.mktemp("policy") / "sums.toml"
    file.write_text(POLICY)
    names = pooled.sql("FROM names").to_arrow_table()
    units = {"visits": "id", "three": "id", "two": "id", "loose": "id"}
    with podsql.local(
        pods=pods,
        reference={"names": names},
        privacy_unit=units,
        local_keys={"three": ["id"]},
        policy=file,
        isolation="thread",
    ) as made:
        yield made


@pytest.fixture(scope="module")
def con(federation):
    with federation.connect() as made:
        yield made


BY_WARD = "SELECT ward, count(*), sum(price), sum(weight) FROM visits GROUP BY ward ORDER BY ward"
MANY = "count(*), sum(big), avg(weight), stddev_pop(weight)"


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT {MANY}, sum(age) FILTER (WHERE j > 40) FROM visits",
        "SELECT sum(price), var_pop(age) FROM three WHERE age > 30",
        "SELECT flag, count(DISTINCT id) FROM three GROUP BY flag ORDER BY flag",
        "SELECT age > 50 AS old, flag, count(*) FROM visits GROUP BY ALL ORDER BY 1, 2",
        BY_WARD,
        "SELECT ward, count(*) AS n FROM visits GROUP BY 1 HAVING sum(age) > 9000 ORDER BY n LIMIT 2",
        "SELECT floor, sum(price) FROM visits JOIN names USING (ward) GROUP BY 1 ORDER BY 1",
        "SELECT year, count(*) FROM visits GROUP BY year ORDER BY year",
        "SELECT flag, count(*), sum(age), avg(weight), sum(price) FROM loose GROUP BY flag",
        "SELECT count(*), sum(age), var_pop(weight), sum(weight) FROM loose WHERE age < 0",
        "SELECT 100.0 * sum(CASE WHEN flag THEN age ELSE 0 END) / count(*) FROM visits",
    ],
)
def test_the_answer_is_that_of_one_database(con, pooled, text):
    cursor = con.execute(text + MASKS)
    found, known = cursor.fetchall(), pooled.execute(text).fetchall()
    assert len(found) == len(known) > 0
    for row, wanted in zip(found, known, strict=True):
        for one, other in zip(row, wanted, strict=True):
            assert type(one) is type(other)
            assert one == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other)
    assert cursor.withheld == 0
    assert cursor.release == "exact"
    assert cursor.pods == (PODS[:3] if "three" in text or "loose" in text else PODS)
    assert "under masks" in cursor.explain(text + MASKS)


# -- groups that pods keep back --------------------------------------------------------------------


def test_a_group_that_a_pod_keeps_back_is_withheld_whole_as_without_masks(con, pooled):
    text = "SELECT tier, count(*), sum(age) FROM visits GROUP BY tier"
    plain, masked = con.cursor(), con.cursor()
    plain.execute(text)
    masked.execute(text + MASKS)
    known = pooled.execute(f"{text} HAVING tier = 'low'").fetchall()
    assert masked.fetchall() == plain.fetchall() == known
    assert masked.withheld == plain.withheld == 1
    crossing = "SELECT tier, count(*) * 1.0 / sum(count(*)) OVER () FROM visits GROUP BY tier"
    failing(con, crossing + MASKS, "WITHHELD")
    omitting = f"{crossing} WITH (secure_aggregation = true, withheld = 'omit')"
    assert con.execute(omitting).fetchall() == [("low", 1.0)]


def test_what_a_pod_keeps_back_tells_nothing_of_the_others(con, federation, pooled, monkeypatch):
    """Not even to an analyst who reads the cells that were opened; nor which pod it was."""
    import podsql.engine.sums.groups as own

    opened = []
    read = own.GroupSums.read

    def reading(sums, cells, pods):
        opened.append((sums, list(cells)))
        return read(sums, cells, pods)

    monkeypatch.setattr(own.GroupSums, "read", reading)
    text = "SELECT tier, count(*), sum(age) FROM visits GROUP BY tier"
    for _ in range(2):
        con.execute(text + MASKS)
    others = pooled.execute(
        f"{text.replace('visits', 'visits WHERE pod <> 1')} ORDER BY 1"
    ).fetchall()
    assert opened[0][0].lists == (("low", "top", None),)
    low, top, none = (
        [cells[at * sums.width : (at + 1) * sums.width] for sums, cells in opened]
        for at in range(3)
    )
    assert low[0] == low[1]
    assert low[0][1] > others[0][1]
    for spoiled in (top, none):  # of a pod that keeps something back also what it has none of
        words = [*spoiled[0], *spoiled[1]]
        assert len(set(words)) == len(words)
        assert all(abs(word) > 2**100 for word in words)
    assert len({cells[-1] for _, cells in opened} - {0}) == 2
    entries = {
        pod: [line.entry for line in lines(federation.pods[pod].place / "audit.jsonl")][-1]
        for pod in PODS
    }
    assert {pod for pod, entry in entries.items() if "1 groups kept back" in entry.reason} == {"p1"}
    assert {(entry.rows, entry.withheld) for entry in entries.values()} == {(1, 0)}


def test_rows_outside_the_declared_values_are_a_withheld_group(con, pooled):
    text = "SELECT code, count(*), sum(price) FROM visits GROUP BY code"
    cursor = con.execute(text + MASKS)
    assert cursor.fetchall() == pooled.execute(f"{text} HAVING code = 'k'").fetchall()
    assert cursor.withheld == 1


def test_one_group_that_a_pod_keeps_back_is_no_answer_and_names_no_pod(con):
    for text in (
        "SELECT count(*) FILTER (WHERE j < 3) FROM visits",
        "SELECT sum(age) FROM visits WHERE j > 335",  # of no row in two pods, of few in one
        "SELECT sum(odd) FROM visits",  # not a number at one pod: a figure that no cell holds
    ):
        with watched(con) as seen:
            fault = failing(con, text + MASKS, "WITHHELD")
        assert fault.pod is None
        assert not any(pod in str(fault) for pod in PODS)
        assert SumUnmask in {type(message) for _, message, _ in seen}


def test_a_figure_that_no_cell_holds_is_an_error_where_nothing_is_protected(con):
    failing(con, "SELECT sum(odd) FROM loose" + MASKS, "DATA")


def test_explain_says_that_only_sums_are_opened(con):
    text = "SELECT ward, flag, avg(age) FROM visits GROUP BY ALL" + MASKS
    said = con.cursor().explain(text)
    assert "leaves the pod under masks, for each of 15 declared groups" in said
    assert "only the sum over the pods is opened" in said
    assert "[moments]" not in said
    [stage] = json.loads(con.cursor().explain(text, format="json"))["stages"]
    assert (stage["masked"], stage["gives_away"]) == (True, "additive")
    assert "under masks" in con.cursor().explain(text, format="svg")
    table = con.execute("EXPLAIN POLICY " + text).fetch_arrow_table()
    assert set(table["answer"].to_pylist()) == {"masked"}
    assert table["pod"].to_pylist() == list(PODS)


# -- what the analyst sees -------------------------------------------------------------------------


def test_nothing_that_the_analyst_gets_holds_a_figure_of_one_pod(con, pooled):
    with watched(con) as seen:
        con.execute(BY_WARD)
    plain = b"".join(reply for *_, reply in seen)
    with watched(con) as seen:
        con.execute(BY_WARD + MASKS)
    masked = b"".join(reply for *_, reply in seen)
    messages = [(pod, decode(reply)) for pod, _, reply in seen]
    assert {type(message) for _, message in messages} > {SumMasked, Result}
    told = {}
    for pod, message in messages:
        if isinstance(message, Result):
            assert message.arrow == b""
            evidence = decode_as(Evidence, message.evidence.body)
            told[pod] = (evidence.rows, evidence.withheld, evidence.size)
    assert set(told) == set(PODS)
    assert len(set(told.values())) == 1  # the same of a pod with three groups and of one with one
    numbers = {one for _, message in messages for one in numbers_in(message)}
    by_pod = "SELECT pod, count(*), sum(price), sum(weight) FROM visits GROUP BY pod, ward"
    for row in pooled.execute(by_pod).fetchall():
        assert row[1] not in numbers
        forms = list(forms_of(row[3]))
        assert any(form in plain for form in forms)  # so the search can fail
        assert not any(form in masked for form in forms)


def test_what_left_is_in_each_pods_audit_by_its_hash(con, federation):
    with watched(con) as seen:
        con.execute("SELECT sum(age) FROM visits" + MASKS)
    for pod in PODS:
        [vector] = [
            decode(reply).vector
            for name, message, reply in seen
            if name == pod and isinstance(message, SumShares)
        ]
        last = [line.entry for line in lines(federation.pods[pod].place / "audit.jsonl")][-1]
        assert last.result_hash == hashlib.sha256(vector).hexdigest()
        assert "masked for a sum of 4 pods" in last.reason


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT max(age) FROM visits", "NOT_SUPPORTED"),
        ("SELECT corr(age, weight) FROM visits", "NOT_SUPPORTED"),
        ("SELECT count(DISTINCT id) FROM visits", "NOT_EXACT"),
        ("SELECT median(age) FROM visits", "NOT_EXACT"),
        ("SELECT age FROM visits", "NOT_SUPPORTED"),
        ("SELECT age, count(*) FROM visits GROUP BY age", "NOT_SUPPORTED"),
        ("SELECT upper(ward), count(*) FROM visits GROUP BY 1", "NOT_SUPPORTED"),
        ("SELECT ward || 'x', count(*) FROM visits GROUP BY 1", "NOT_SUPPORTED"),
        ("SELECT ward, tier, count(*) FROM visits GROUP BY ROLLUP (ward, tier)", "NOT_SUPPORTED"),
        ("SELECT count(*) FROM names", "NOT_SUPPORTED"),
        ("SELECT 1", "NOT_SUPPORTED"),
        ("SELECT count(*) FROM visits UNION ALL SELECT count(*) FROM three", "NOT_SUPPORTED"),
        ("SELECT count(*) FROM visits WHERE age > (SELECT avg(age) FROM visits)", "NOT_SUPPORTED"),
        ("SELECT count(*) FROM visits WHERE _pod = 'p0'", "NOT_SUPPORTED"),
        ("SELECT count(*) FILTER (WHERE _pod = 'p0') FROM visits", "NOT_SUPPORTED"),
        ("SELECT _pod, count(*) FROM visits GROUP BY _pod", "NOT_SUPPORTED"),
        ("SELECT count(*) FROM p0.main.visits", "TOO_FEW_PODS"),
        ("SELECT count(*) FROM two", "TOO_FEW_PODS"),
    ],
)
def test_what_cannot_be_summed_under_masks_is_refused_before_a_pod_is_asked(con, text, code):
    with watched(con) as seen:
        fault = failing(con, text + MASKS, code)
    assert fault.hint
    assert not any(type(message).__name__.startswith(("Sum", "Query")) for _, message, _ in seen)


@pytest.mark.parametrize(
    "options",
    [
        "secure_aggregation = 'yes'",
        "colluders = 1",
        "secure_aggregation = true, colluders = 0",
        "secure_aggregation = true, allow_partial = 3",
        "secure_aggregation = true, privacy = 'dp'",
    ],
)
def test_odd_options_are_refused(con, options):
    failing(con, f"SELECT count(*) FROM visits WITH ({options})", "OPTION")


# -- what an analyst may try -----------------------------------------------------------------------


GROUPED = "SELECT ward, sum(age) FROM visits GROUP BY ward" + MASKS


def with_first(fragment, sql):
    """The fragment with another first aggregate."""
    first, *rest = fragment.aggregates
    return replace(fragment, aggregates=(replace(first, sql=sql), *rest))


@pytest.mark.parametrize(
    "change",
    [
        lambda fragment: with_first(fragment, 'sum("visits"."age") FILTER (WHERE _pod = \'p0\')'),
        lambda fragment: replace(fragment, source=f"{fragment.source} WHERE \"_POD\" = 'p0'"),
        lambda fragment: with_first(fragment, 'max("visits"."age")'),
        lambda fragment: replace(fragment, keys=(replace(fragment.keys[0], sql='"visits"."j"'),)),
        lambda fragment: replace(
            fragment, keys=(replace(fragment.keys[0], sql='upper("visits"."ward")'),)
        ),
        lambda fragment: replace(fragment, grouping_sets=((0,), ())),
    ],
)
def test_a_pod_judges_by_itself_what_may_be_summed(con, monkeypatch, change):
    """A client of one's own may send other fragments than the planner does."""
    import podsql.analyst.masked_groups as own

    encode = own.encode_fragment
    with monkeypatch.context() as patched:
        patched.setattr(own, "encode_fragment", lambda fragment: encode(change(fragment)))
        failing(con, GROUPED, "DENIED")
    con.execute(GROUPED)


def test_no_pod_is_asked_something_else_than_the_others(con, monkeypatch):
    """Else all but one could be asked for sums of nothing."""
    import podsql.analyst.masked_groups as own

    ask = own.ask

    def asked(federation, bound, pod, payload, **named):
        sent = decode_as(own.QueryPayload, payload)
        fragment = decode_fragment(sent.fragment)
        assert isinstance(fragment, Aggregate)
        if pod != "p0":
            fragment = replace(fragment, source=f"{fragment.source} WHERE 1 = 0")
        changed = replace(sent, fragment=own.encode_fragment(fragment))
        return ask(federation, bound, pod, own.encode(changed), **named)

    with monkeypatch.context() as patched, watched(con) as seen:
        patched.setattr(own, "ask", asked)
        assert "another statement" in str(failing(con, GROUPED, "SUM_RESTART"))
    assert not {SumSurvivors, SumUnmask} & {type(message) for _, message, _ in seen}


def test_a_table_is_not_summed_with_other_pods_whatever_it_is_joined_to(con):
    """The sum with a pod, less the one without it, is that pod's."""
    con.execute("SELECT count(*) FROM visits" + MASKS)
    fewer = " WITH (secure_aggregation = true, pods = ('p0', 'p1', 'p2'))"
    for text in (
        "SELECT count(*) FROM visits",
        "SELECT sum(age) FROM visits LEFT JOIN names USING (ward)",
    ):
        assert "other pods before" in str(failing(con, text + fewer, "DENIED"))


# -- custodians and lost pods ----------------------------------------------------------------------


def test_custodians_approve_whom_their_pods_sum_with(con, federation, monkeypatch):
    """Scenario A6: refused if a pod has not approved another one, and below the smallest number."""
    text = "SELECT sum(age), count(*) FROM visits" + MASKS
    known = con.execute(text).fetchall()
    sums = federation.pods["p1"].desk._summing

    def terms(**lines):  # of [sums] in its file
        monkeypatch.setattr(sums, "_terms", SumsSection(**lines))

    terms(peers=("p0", "p2"))
    assert "'p3'" in str(failing(con, text, "DENIED"))
    terms(least=5)
    failing(con, text, "TOO_FEW_PODS")
    terms(peers=("p0", "p2", "p3"), least=4)
    assert con.execute(text).fetchall() == known
    terms(colluders=2)
    failing(con, text, "DENIED")
    two = text.replace("true", "true, colluders = 2")
    assert con.execute(two).fetchall() == known


def test_a_pod_that_is_lost_on_the_way_is_an_error_and_no_smaller_sum(con, federation):
    text = "SELECT sum(age), count(*) FROM visits" + MASKS
    known = con.execute(text).fetchall()
    endpoint = con.federation.endpoint
    call = endpoint.call
    asked = []

    def stopping(to, body, **named):
        if isinstance(body, bytes):
            asked.append(type(decode(body)))
            if asked[-1] is SumRound and asked.count(SumRound) == 1:
                federation.pods["p3"].stop()
        return call(to, body, **named)

    endpoint.call = stopping
    try:
        fault = failing(con, text.replace("true", "true, timeout = 40"), "SUM_RESTART")
    finally:
        del endpoint.call
        restart(federation, "p3")
    assert "p3" in str(fault)
    assert "nothing was opened" in str(fault)
    assert not {SumSurvivors, SumUnmask} & set(asked)
    assert con.execute(text).fetchall() == known
