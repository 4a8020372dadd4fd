"""``podsql join INVITE``: become a peer; as a pod, also write ``pod.toml`` and ``policy.toml``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson, AskPassphrase, now_ms, passphrase
from podsql.cli.terminal import log_to_stderr, put_pairs, say

Tables = Annotated[
    list[str] | None, typer.Option("--table", help="NAME=PATH of a table (pod); repeatable.")
]
References = Annotated[
    list[str] | None,
    typer.Option("--reference", help="NAME=PATH of a table that is the same in every pod."),
]
Units = Annotated[
    list[str] | None,
    typer.Option("--privacy-unit", help="TABLE=COLUMN naming whom a row is about."),
]
LocalKeys = Annotated[
    list[str] | None,
    typer.Option("--local-key", help="TABLE=COLUMN whose values never occur in two pods."),
]
Allowed = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Fingerprint of an analyst who may ask, or '*'; repeatable."),
]


def join(
    invite: Annotated[str, typer.Argument(help="The line, or @FILE that holds it, or -.")],
    directory: Annotated[
        Path, typer.Option("--dir", help="Where keys and federation.toml go.")
    ] = Path(),
    table: Tables = None,
    reference: References = None,
    privacy_unit: Units = None,
    local_key: LocalKeys = None,
    allow: Allowed = None,
    serve: Annotated[bool, typer.Option("--serve", help="Run the pod when it has joined.")] = False,
    ca: Annotated[
        Path | None, typer.Option(help="Private CA (PEM) of a tls:// relay.", exists=True)
    ] = None,
    proxy: Annotated[str | None, typer.Option(help="HTTP CONNECT proxy: HOST:PORT.")] = None,
    socks: Annotated[str | None, typer.Option(help="SOCKS5 proxy: HOST:PORT.")] = None,
    seal: AskPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """Redeem an invite; prints this peer's fingerprint."""
    from podsql.cli.pod_files import PodChoice, check_choice, write_pod
    from podsql.convener.joining import WayOut
    from podsql.convener.joining import join as redeem

    choice = PodChoice.of(
        tables=table, references=reference, units=privacy_unit, local_keys=local_key, allow=allow
    )
    check_choice(choice, serving=serve)  # before the invite is spent
    secret = passphrase(new=True, wanted=seal)
    joined = redeem(
        read_invite(invite),
        directory,
        way=WayOut(ca=ca, proxy=proxy, socks=socks, environ=dict(os.environ)),
        now=now_ms(),
        passphrase=secret,
    )
    written = {
        "name": joined.name,
        "role": joined.role,
        "federation": joined.federation,
        "fingerprint": joined.fingerprint,
        "file": str(joined.path),
    }
    if joined.role == "pod" and choice.tables:
        written["pod"] = str(write_pod(choice, directory))
    put_pairs(written, as_json=as_json)
    if joined.role == "analyst":
        say(
            "custodians allow you by your fingerprint: podsql join INVITE --table … --allow "
            + joined.fingerprint
        )
    if serve:
        from podsql.engine.no_pandas import leave_pandas_out
        from podsql.pod.daemon import run_pod

        leave_pandas_out()
        if secret is not None:
            os.environ["PODSQL_PASSPHRASE"] = secret  # the daemon reads its keys as ever
        log_to_stderr()
        raise typer.Exit(run_pod(directory / "pod.toml"))


def read_invite(text: str) -> str:
    """The line itself, from a file (``@FILE``) or from stdin (``-``)."""
    import sys

    from podsql.errors import error

    if text == "-":
        return sys.stdin.readline()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise error("ARGUMENT", f"cannot read the invite in {text[1:]!r}") from None
