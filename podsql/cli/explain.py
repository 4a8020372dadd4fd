"""``podsql explain "…"``: the plan and what would leave each pod, without running anything."""

from podsql.cli.options import AsJson, FederationPath, passphrase
from podsql.cli.sql import Project, Purpose, Statement, read_statement
from podsql.cli.terminal import put, put_json


def explain(
    statement: Statement,
    federation: FederationPath = None,
    purpose: Purpose = "",
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Print the plan of a statement."""
    from podsql.driver import connect

    with connect(
        federation, purpose=purpose, project=project, passphrase=passphrase()
    ) as connection:
        text = connection.explain(read_statement(statement))
    if as_json:
        put_json({"plan": text.splitlines()})
    else:
        put(text.rstrip("\n"))
