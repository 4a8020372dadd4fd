"""``podsql demo``: a relay, three pods and an analyst on this machine, over real data."""

from typing import Annotated

import typer

from podsql.cli.options import AsJson


def demo(
    as_json: AsJson = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running and say how to connect.")
    ] = False,
) -> None:
    """Run six statements over three pods and compare each answer with one DuckDB."""
    from podsql.demo import run_demo

    raise typer.Exit(run_demo(json=as_json, keep=keep))
