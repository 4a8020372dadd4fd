"""``podsql explain "…"``: the plan and what would leave each pod, without running anything."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from podsql.cli.options import FederationPath, passphrase
from podsql.cli.sql import Project, Purpose, Statement, read_statement
from podsql.cli.terminal import put, put_json


class Form(StrEnum):
    """Forms of an explanation."""

    TEXT = "text"
    JSON = "json"
    SVG = "svg"


def explain(
    statement: Statement,
    federation: FederationPath = None,
    form: Annotated[Form, typer.Option("--format", help="Text, data or a picture.")] = Form.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, and say what each step took.")
    ] = False,
    purpose: Purpose = "",
    project: Project = "",
) -> None:
    """Print the plan of a statement."""
    from podsql.driver import connect
    from podsql.engine.no_pandas import leave_pandas_out

    leave_pandas_out()
    form = Form.JSON if as_json else form
    with connect(
        federation, purpose=purpose, project=project, passphrase=passphrase()
    ) as connection:
        text = connection.explain(read_statement(statement), format=form.value, analyze=analyze)
    if form is Form.JSON:
        put_json(json.loads(text))
    else:
        put(text.rstrip("\n"))
