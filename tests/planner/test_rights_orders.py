"""GRANT, REVOKE and the like: how each is written, what is understood, what is refused and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.errors import Error
from podsql.planner.plan import Options
from podsql.planner.rights_orders import RightsOrder, ShowRights, Terms
from podsql.planner.statements import Show, classify, has_result
from podsql.times import DAY_MS, end_of_day

END_OF_JANUARY = 1_801_440_000_000  # 2027-02-01T00:00Z


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        (
            "GRANT SELECT ON visits TO ana",
            RightsOrder(act="grant", tables=("visits",), analyst="ana"),
        ),
        (
            "/* x */ grant select on visits, main.labs , visits to \"ana b\" with (pod = 'north',\n"
            " purpose = 'x', project = 'p', until = '2027-01-31', release = 'dp', review = true,"
            " reason = 'it''s', service = access, timeout = 3) -- done\n;",
            RightsOrder(
                act="grant",
                tables=("visits", "main.labs"),
                analyst="ana b",
                terms=Terms(
                    pod="north",
                    purpose="x",
                    project="p",
                    until=END_OF_JANUARY,
                    release="dp",
                    review=True,
                    reason="it's",
                    service="access",
                    timeout=3.0,
                ),
            ),
        ),
        (
            "GRANT SELECT ON *, clinic.*, 'main.v*' TO 'ana'",
            RightsOrder(act="grant", tables=("*", "clinic.*", "main.v*"), analyst="ana"),
        ),
        (
            "REVOKE SELECT ON visits FROM ps1abc WITH (pod = 'north')",
            RightsOrder(
                act="revoke", tables=("visits",), analyst="ps1abc", terms=Terms(pod="north")
            ),
        ),
        ("REVOKE GRANT 'a1b2'", RightsOrder(act="revoke", grant_id="a1b2")),
        (
            "REVOKE GRANT a1b2 WITH (service = 'access')",
            RightsOrder(act="revoke", grant_id="a1b2", terms=Terms(service="access")),
        ),
        (
            "REQUEST ACCESS ON visits WITH (reason = 'study 7', release = 'rows')",
            RightsOrder(
                act="ask", tables=("visits",), terms=Terms(reason="study 7", release="rows")
            ),
        ),
        ("WITHDRAW REQUEST 12;", RightsOrder(act="withdraw", request=12)),
        ("SHOW GRANTS", Show(what="grants", options=Options())),
        ("SHOW GRANTS FOR ME", ShowRights(what="grants")),
        ("SHOW GRANTS FOR EVERYBODY", ShowRights(what="grants", everybody=True)),
        ("SHOW REQUESTS", ShowRights(what="requests")),
        (
            "show requests for everybody with (service = 'a')",
            ShowRights(what="requests", everybody=True, terms=Terms(service="a")),
        ),
        ("SHOW BUDGET", Show(what="budget", options=Options())),
    ],
)
def test_an_order_is_read(sql, command):
    assert classify(sql) == command
    assert has_result(sql)


@pytest.mark.parametrize(
    ("sql", "at"),
    [
        ("GRANT", "column 6"),
        ("GRANT INSERT ON visits TO ana", "column 7"),
        ("GRANT SELECT visits TO ana", "column 14"),
        ("GRANT SELECT ON TO ana", "column 20"),
        ("GRANT SELECT ON visits", "column 23"),
        ("GRANT SELECT ON visits,\n  TO ana", "line 2, column 6"),
        ("GRANT SELECT ON visits FROM ana", "column 24"),
        ("GRANT SELECT ON visits TO", "column 26"),
        ("GRANT SELECT ON visits TO ana, ben", "column 30"),
        ("GRANT SELECT ON visits TO ana WITH", "column 35"),
        ("GRANT SELECT ON visits TO ana WITH pod = 'x'", "column 36"),
        ("GRANT SELECT ON visits TO ana WITH (pod = 'x'", "column 43"),
        ("GRANT SELECT ON visits TO ana (pod = 'x')", "column 31"),
        ("GRANT SELECT ON a.b.c TO ana", "column 20"),
        ("GRANT SELECT ON '' TO ana", "column 17"),
        ("GRANT SELECT ON visits TO ?", "column 27"),
        ("GRANT SELECT ON visits TO 'ana", "column 27"),
        ("GRANT SELECT ON (SELECT 1) TO ana", "column 17"),
        ("REVOKE visits FROM ana", "column 8"),
        ("REVOKE SELECT ON visits TO ana", "column 25"),
        ("REVOKE GRANT", "column 13"),
        ("REVOKE GRANT 12", "column 14"),
        ("REQUEST visits", "column 9"),
        ("REQUEST ACCESS", "column 15"),
        ("REQUEST ACCESS ON visits TO ana", "column 26"),
        ("WITHDRAW REQUEST", "column 17"),
        ("WITHDRAW REQUEST twelve", "column 18"),
        ("WITHDRAW REQUEST 1.5", "column 18"),
        ("WITHDRAW REQUEST 0", "column 18"),
        ("WITHDRAW REQUEST 99999999999999999999", "column 18"),
        ("WITHDRAW REQUEST 12 13", "column 21"),
        ("SHOW GRANTS FOR", "column 16"),
        ("SHOW GRANTS FOR ana", "column 17"),
        ("SHOW REQUESTS OF ana", "column 15"),
    ],
)
def test_what_cannot_be_read_says_from_where_and_how_it_is_written(sql, at):
    with pytest.raises(Error) as caught:
        classify(sql)
    assert caught.value.code == "SYNTAX"
    assert f"{at}:" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ("purpos = 'x'", "'purpose'"),
        ("untill = '2027-01-31'", "'until'"),
        ("servce = 'x'", "'service'"),
        ("release = 'row'", "'rows'"),
        ("release = 'sdc'", "sdc_local"),
        ("release = 1", "sdc_local"),
        ("until = '31.01.2027'", ""),
        ("until = '2027-02-30'", ""),
        ("until = '20270131'", ""),
        ("until = '2027-W05-1'", ""),
        ("until = '2027-1-31'", ""),
        ("until = '2027-01-31T00:00:00'", ""),
        ("until = '２０２７-01-31'", ""),
        ("until = 2027", ""),
        ("until = ''", ""),
        ("review = 'yes'", ""),
        ("pod = ''", ""),
        ("pod = 1", ""),
        ("pod = ('a', 'b')", ""),
        ("timeout = 0", ""),
        ("timeout = true", ""),
        ("pod = 'a', pod = 'b'", "WITH"),
        ("pod", "WITH"),
        ("", None),
    ],
)
def test_an_option_that_is_unknown_or_wrong_is_refused(options, hint):
    sql = f"GRANT SELECT ON visits TO ana WITH ({options})"
    if hint is None:
        assert isinstance(classify(sql), RightsOrder)
        return
    with pytest.raises(Error) as caught:
        classify(sql)
    assert caught.value.code == "OPTION"
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "sql",
    [
        "REQUEST ACCESS ON visits WITH (review = true)",
        "REVOKE SELECT ON visits FROM ana WITH (purpose = 'x')",
        "REVOKE GRANT 'x' WITH (pod = 'north')",
        "WITHDRAW REQUEST 1 WITH (pod = 'north')",
        "SHOW REQUESTS WITH (allow_partial = 1)",
    ],
)
def test_an_option_of_another_statement_is_unknown(sql):
    with pytest.raises(Error, match="OPTION"):
        classify(sql)


@pytest.mark.parametrize("word", ["", "ANALYZE ", "POLICY "])
@pytest.mark.parametrize(
    "order",
    ["GRANT SELECT ON t TO a", "REVOKE GRANT 'x'", "REQUEST ACCESS ON t", "WITHDRAW REQUEST 1"],
)
def test_an_order_has_no_plan(word, order):
    with pytest.raises(Error) as caught:
        classify(f"EXPLAIN {word}{order}")
    assert caught.value.code == "STATEMENT"
    assert "no pod runs it" in caught.value.message


def test_a_day_lasts_until_the_next_begins():
    assert end_of_day("2027-01-31") == END_OF_JANUARY
    assert end_of_day("1970-01-01") == DAY_MS
    assert end_of_day("9999-12-31") == 253_402_300_800_000
    assert end_of_day("2028-02-29") - end_of_day("2028-02-28") == DAY_MS


NAMES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12
)


@given(tables=st.lists(NAMES, min_size=1, max_size=4, unique=True), who=NAMES, purpose=NAMES)
def test_whatever_a_name_is_made_of_it_is_read_as_written(tables, who, purpose):
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    said = purpose.replace("'", "''")
    sql = (
        f"GRANT SELECT ON {', '.join(map(quoted, tables))} TO {quoted(who)}"
        f" WITH (purpose = '{said}')"
    )
    if not purpose.strip():
        with pytest.raises(Error, match="OPTION"):
            classify(sql)
        return
    found = classify(sql)
    assert found == RightsOrder(
        act="grant", tables=tuple(tables), analyst=who, terms=Terms(purpose=purpose)
    )


PIECES = st.sampled_from(
    ["GRANT", "REVOKE", "REQUEST", "ACCESS", "WITHDRAW", "SELECT", "ON", "TO", "FROM", "WITH", "SHOW",
     "GRANTS", "FOR", "visits", "'x'", '"y"', "(", ")", ",", ".", "=", "*", "12", "'", '"', ";", "/*",
     "pod", "until", "true", "\n", "\0", "é", "$$"]
)  # fmt: skip


@given(pieces=st.lists(PIECES, max_size=14), first=st.sampled_from(["GRANT", "REVOKE", "REQUEST"]))
def test_any_text_is_an_order_or_a_coded_refusal(pieces, first):
    try:
        found = classify(" ".join([first, *pieces]))
    except Error as fault:
        code = fault.code
    else:
        code = "" if isinstance(found, RightsOrder) else "wrong"
    assert code in ("", "SYNTAX", "OPTION", "MULTI_STATEMENT")
