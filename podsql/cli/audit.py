"""``podsql audit verify``: is a pod's log whole, and does every link of its chain hold?"""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson
from podsql.cli.terminal import put_pairs

app = typer.Typer(no_args_is_help=True, help="A pod's hash-chained record of what left.")
HERE = Path("state/audit.log")


@app.callback()
def group() -> None:
    """A pod's hash-chained record of what left."""


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="The audit file in the pod's state.")] = HERE,
    head: Annotated[
        str | None, typer.Option(help="Last hash known from elsewhere: shows a cut end.")
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            help="What a policy service signed of it (state/receipts): instead of --head."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the chain; the number of entries, or the first that is wrong."""
    from podsql.pod.receipts import read_receipt
    from podsql.policy.audit import verify as check

    head = head if receipt is None else read_receipt(receipt).head
    put_pairs({"entries": check(path, head=head), "state": "whole"}, as_json=as_json)
