"""``podsql invite NAME --role ROLE``: one line that lets somebody join once."""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.federation import HERE, published
from podsql.cli.options import AsJson, AskPassphrase, ConvenerDir, now_ms, passphrase
from podsql.cli.terminal import put, put_json, say

DAY_MS = 24 * 3600 * 1000


def invite(
    name: Annotated[str, typer.Argument(help="Name of the peer in the federation.")],
    role: Annotated[str, typer.Option(help="pod, analyst, service or modeller.")],
    directory: ConvenerDir = HERE,
    days: Annotated[float, typer.Option(min=0.0001, max=90, help="How long it is valid.")] = 7,
    replace: Annotated[
        bool, typer.Option("--replace", help="Revoke the card that has this name now.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write the line to a file (0600).")] = None,
    seal: AskPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """Invite a peer; hand the printed line over on a channel that only it reads."""
    import os

    from podsql.convener.desk import open_desk
    from podsql.convener.editing import load_federation_key, write_invite
    from podsql.relay.keys import replace_file

    desk = open_desk(directory)
    secret = passphrase(wanted=seal)
    line, edition = write_invite(
        desk,
        load_federation_key(desk, secret),
        name=name,
        role=role,
        now=now_ms(),
        entropy=os.urandom,
        life=int(days * DAY_MS),
        replace=replace,
    )
    state = published(desk, edition, secret)
    if output is not None:
        replace_file(output, line.encode() + b"\n", mode=0o600)
        say(f"invite of {name!r} is in {output}")
    elif as_json:
        put_json({"name": name, "role": role, "invite": line, **state})
    else:
        put(line)
