"""``podsql key show|rotate|recover``: a peer's own keys."""

import os
from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson, AskPassphrase, FederationPath, now_ms, passphrase
from podsql.cli.terminal import put_pairs, say

app = typer.Typer(no_args_is_help=True, help="This peer's keys: show, rotate, recover.")


@app.command()
def show(federation: FederationPath = None, as_json: AsJson = False) -> None:
    """Print this peer's fingerprint and card (both public)."""
    from podsql.membership import load_membership
    from podsql.relay.cards import card_text, make_card

    me = load_membership(federation, passphrase=passphrase())
    card = make_card(me.keys, name=me.name, role=me.role, now=now_ms())
    put_pairs(
        {
            "name": me.name,
            "role": me.role,
            "fingerprint": me.keys.fingerprint,
            "federation": me.federation,
            "card": card_text(card),
        },
        as_json=as_json,
    )


@app.command()
def rotate(
    federation: FederationPath = None, seal: AskPassphrase = False, as_json: AsJson = False
) -> None:
    """Replace session and mailbox keys; the fingerprint stays."""
    from podsql.convener.rotating import rotate_keys
    from podsql.membership import load_membership

    secret = passphrase(wanted=seal)
    me = load_membership(federation, passphrase=secret)
    done = rotate_keys(me, now=now_ms(), passphrase=secret)
    put_pairs(
        {"name": done.name, "fingerprint": done.fingerprint, "manifest": done.version},
        as_json=as_json,
    )
    say("restart what runs with the old keys")


@app.command()
def recover(
    invite: Annotated[str, typer.Argument(help="A new invite (`podsql invite NAME --replace`).")],
    directory: Annotated[Path, typer.Option("--dir", help="Directory of the lost keys.")] = Path(),
    ca: Annotated[Path | None, typer.Option(help="Private CA (PEM).", exists=True)] = None,
    seal: AskPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """Join again with new keys after a loss; what the directory held is kept aside."""
    from podsql.cli.join import read_invite
    from podsql.convener.joining import WayOut
    from podsql.convener.recovering import rejoin

    joined, kept = rejoin(
        read_invite(invite),
        directory,
        way=WayOut(ca=ca, environ=dict(os.environ)),
        now=now_ms(),
        passphrase=passphrase(new=True, wanted=seal),
    )
    put_pairs(
        {"name": joined.name, "fingerprint": joined.fingerprint, "kept": str(kept)},
        as_json=as_json,
    )
    say("the fingerprint is new: custodians and services that pinned the old one must be told")
