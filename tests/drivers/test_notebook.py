"""A notebook's cells: our own magic, and JupySQL."""

import sys
import warnings

import pytest
import sqlalchemy as sa
from IPython.core.interactiveshell import InteractiveShell
from sqlalchemy.pool import StaticPool

import podsql

SQL = "SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY sex"


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    yield made
    made.reset()
    InteractiveShell.clear_instance()


def test_the_magic_runs_shows_and_keeps_an_answer(shell, con):
    shell.run_line_magic("load_ext", "podsql")
    shell.user_ns["mine"] = con
    shell.run_line_magic("podsql", "mine")
    answer = shell.run_cell_magic("podsql", "--out kept --rows 1", SQL)
    assert shell.user_ns["kept"] is answer
    assert answer.df()["n"].tolist() == answer.pl()["n"].to_list() == [3, 2]
    shown = answer._repr_mimebundle_()["text/html"]
    assert "<th>sex<br><small>VARCHAR</small></th>" in shown
    assert "<td>f</td>" in shown
    assert "<td>m</td>" not in shown
    assert "1 more rows · 2 rows · exact · pods: north, south" in shown
    hostile = shell.run_cell_magic("podsql", "", """SELECT '<b>&' AS "<i>" FROM visits LIMIT 1""")
    assert "<b>" not in hostile._repr_html_()
    assert "<i>&" not in hostile._repr_html_()
    assert "&lt;b&gt;&amp;" in hostile._repr_html_()
    assert shell.run_cell_magic("podsql", "", "CREATE TEMP TABLE x AS SELECT 1 AS one") is None
    with pytest.raises(podsql.ProgrammingError):
        shell.run_cell_magic("podsql", "", "SELECT nothing FROM visits")


def test_a_cell_may_await(shell, con):
    shell.run_line_magic("load_ext", "podsql")
    shell.user_ns["mine"] = con
    shell.run_cell(
        "import asyncio\n"
        "await asyncio.sleep(0)\n"
        "found = get_ipython().run_cell_magic('podsql', 'mine', 'SELECT count(*) AS n FROM visits')"
    ).raise_error()
    assert shell.user_ns["found"].arrow().to_pydict() == {"n": [5]}


@pytest.mark.parametrize("through", ["engine", "connection"])
def test_jupysql_runs_statements(shell, federation, con, through, monkeypatch):
    monkeypatch.setenv("PLOOMBER_STATS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shell.run_line_magic("load_ext", "sql")
        engine = sa.create_engine("podsql://", creator=federation.connect, poolclass=StaticPool)
        shell.user_ns["mine"] = engine if through == "engine" else con
        shell.run_line_magic("sql", "mine")
        found = shell.run_cell_magic("sql", "", SQL)
        assert [tuple(row) for row in found] == [("f", 3), ("m", 2)]
        sys.modules["sql.connection"].ConnectionManager.close_all()
    engine.dispose()
