"""``podsql federation init|serve|show|renew|revoke``: what a convener does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import (
    AsJson,
    AskPassphrase,
    ConvenerDir,
    invites,
    now_ms,
    passphrase,
)
from podsql.cli.terminal import log_to_stderr, put, put_json, put_pairs, say

if TYPE_CHECKING:
    from podsql.convener.desk import Desk
    from podsql.convener.editing import Edition
    from podsql.relay.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="Found and run a federation (the convener).")
HERE = Path("federation")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="What people call the federation.")],
    relay: Annotated[str, typer.Option(help="Where peers reach the relay: tcp://HOST:PORT.")],
    invite: Annotated[
        list[str] | None, typer.Option(help="NAME:ROLE to invite at once; repeatable.")
    ] = None,
    directory: ConvenerDir = HERE,
    listen: Annotated[
        str | None, typer.Option(help="Where the relay listens. Default: tcp://*:PORT.")
    ] = None,
    relay_key: Annotated[
        str | None, typer.Option(help="Key of a relay that somebody else runs (base64).")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain of a tls:// relay (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    ca: Annotated[Path | None, typer.Option(help="Private CA of the relay's certificate.")] = None,
    seal: AskPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """Write a federation's key, relay and first manifest; print the invites."""
    from podsql.convener.founding import RelayChoice, found
    from podsql.convener.relay_files import plan_relay
    from podsql.membership import key_from_text

    plan = None
    if relay_key is None:
        plan = plan_relay(relay, listen=listen, tls_certificate=tls_cert, tls_key=tls_key)
    key = key_from_text(relay_key, "--relay-key") if relay_key else None
    choice = RelayChoice(endpoint=relay, key=key, plan=plan, ca=ca)
    founded = found(
        name,
        directory,
        choice,
        now=now_ms(),
        invites=invites(invite or []),
        passphrase=passphrase(new=True, wanted=seal),
    )
    lines = dict(founded.invites)
    if as_json:
        put_json(
            {
                "federation": name,
                "fingerprint": founded.fingerprint,
                "directory": str(directory),
                "invites": lines,
            }
        )
        return
    say(f"federation {name} {founded.fingerprint}")
    say(f"keys are in {directory}: back that directory up, and keep federation.key to yourself")
    say("next: podsql federation serve" + (f" --dir {directory}" if directory != HERE else ""))
    if lines:
        say("each invite works once; hand it to its owner on a channel that only they read:")
    for peer, line in lines.items():
        put(f"{peer} {line}")


@app.command()
def serve(
    directory: ConvenerDir = HERE,
    seal: AskPassphrase = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every admission.")] = False,
) -> None:
    """Run the relay and the registrar until SIGTERM."""
    from podsql.convener.desk import open_desk
    from podsql.convener.serving import serve as run

    desk = open_desk(directory)
    log_to_stderr(verbose=verbose)
    file = desk.file()
    say(f"serving {file.federation.name} at {file.relay.endpoint}")
    raise typer.Exit(run(desk, passphrase=passphrase(wanted=seal), now=now_ms()))


@app.command()
def show(directory: ConvenerDir = HERE, as_json: AsJson = False) -> None:
    """Print the manifest: members, open invites, revocations, expiry."""
    from podsql.convener.desk import open_desk
    from podsql.convener.editing import current_edition

    desk = open_desk(directory)
    manifest = current_edition(desk).manifest
    described = describe(manifest, desk.file().federation.name, now_ms())
    if as_json:
        put_json(described)
        return
    put_pairs({k: v for k, v in described.items() if not isinstance(v, list)}, as_json=False)
    for member in described["members"]:
        put(f"{member['role']:<9} {member['name']:<20} {member['fingerprint']}")
    for entry in described["invites"]:
        put(f"invited   {entry['name']:<20} as {entry['role']}, until {entry['expires']}")


@app.command()
def renew(
    directory: ConvenerDir = HERE, seal: AskPassphrase = False, as_json: AsJson = False
) -> None:
    """Sign the manifest anew: another 30 days."""
    from podsql.convener.changes import extend
    from podsql.convener.desk import open_desk
    from podsql.convener.editing import edit, load_federation_key

    desk = open_desk(directory)
    secret = passphrase(wanted=seal)
    edition = edit(desk, load_federation_key(desk, secret), extend, now=now_ms())
    put_pairs(published(desk, edition, secret), as_json=as_json)


@app.command()
def revoke(
    who: Annotated[
        str, typer.Argument(help="Name or fingerprint of a member, or an invite's name.")
    ],
    directory: ConvenerDir = HERE,
    seal: AskPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """Take a member or an open invite out of the federation."""
    from podsql.convener.changes import revoke as without
    from podsql.convener.desk import open_desk
    from podsql.convener.editing import edit, load_federation_key

    desk = open_desk(directory)
    secret = passphrase(wanted=seal)
    edition = edit(desk, load_federation_key(desk, secret), without(who), now=now_ms())
    put_pairs({"revoked": who, **published(desk, edition, secret)}, as_json=as_json)


def published(desk: "Desk", edition: "Edition", secret: str | None) -> dict[str, Any]:
    """Push an edition to the relay, or say when that will happen."""
    from podsql.convener.publishing import publish

    delay = publish(desk, edition, secret)
    if delay:
        say(delay)
    return {"version": edition.manifest.version, "published": not delay}


def describe(manifest: "Manifest", name: str, now: int) -> dict[str, Any]:
    """A manifest as names and numbers."""
    from podsql.times import iso

    return {
        "federation": name,
        "fingerprint": manifest.federation,
        "version": manifest.version,
        "issued": iso(manifest.issued),
        "expires": iso(manifest.expires),
        "revoked": len(manifest.revoked),
        "members": [
            {"name": card.name, "role": card.role, "fingerprint": card.fingerprint}
            for card in manifest.members()
        ],
        "invites": [
            {"name": entry.name, "role": entry.role, "expires": iso(entry.expires)}
            for entry in manifest.open_invites(now)
            if manifest.by_name(entry.name) is None
        ],
    }
