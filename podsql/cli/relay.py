"""``podsql relay init|trust|untrust|list|serve|status``: run a relay for federations of others.

A relay of one's own needs none of these: `podsql federation serve` runs it.
"""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms, passphrase
from podsql.cli.terminal import put, put_json, put_pairs, say

app = typer.Typer(no_args_is_help=True, help="Run a relay (it listens; it can read nothing).")
HERE = Path("relay")
RelayDir = Annotated[Path, typer.Option("--dir", help="The relay's directory.")]
RelayFile = Annotated[Path, typer.Option("--config", help="relay.toml of this relay.")]


@app.command()
def init(
    endpoint: Annotated[str, typer.Argument(help="Where peers reach it: tcp://HOST:PORT.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where its files go.")] = HERE,
    listen: Annotated[
        str | None, typer.Option(help="Where it listens. Default: tcp://*:PORT.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a relay's key and configuration; prints the key a convener needs."""
    from podsql.convener.relay_files import plan_relay, prepare_relay
    from podsql.membership import key_text

    plan = plan_relay(endpoint, listen=listen, tls_certificate=tls_cert, tls_key=tls_key)
    key = key_text(prepare_relay(directory, plan))
    put_pairs({"endpoint": endpoint, "key": key, "directory": str(directory)}, as_json=as_json)
    say(f"the convener runs: podsql federation init NAME --relay {endpoint} --relay-key {key}")
    say(f"then: podsql relay trust manifest.bin --federation FINGERPRINT --dir {directory}")


@app.command()
def trust(
    manifest: Annotated[Path, typer.Argument(help="manifest.bin of the convener (public).")],
    federation: Annotated[str, typer.Option(help="Fingerprint of the federation key.")],
    directory: RelayDir = HERE,
    as_json: AsJson = False,
) -> None:
    """Let the members of a federation in."""
    from podsql.convener.relay_files import trust_federation
    from podsql.relay.manifest import read_manifest

    raw = manifest.read_bytes()
    read = read_manifest(raw, federation=federation, now=now_ms())
    trust_federation(directory, raw, read)
    put_pairs({"federation": read.federation, "version": read.version}, as_json=as_json)
    say(f"next: podsql relay serve --config {directory / 'relay.toml'}; if it runs, send it SIGHUP")


@app.command()
def untrust(
    federation: Annotated[str, typer.Argument(help="Fingerprint of the federation key.")],
    directory: RelayDir = HERE,
    as_json: AsJson = False,
) -> None:
    """Let the members of a federation in no more."""
    from podsql.convener.relay_files import untrust_federation
    from podsql.relay.keys import parse_fingerprint

    federation = parse_fingerprint(federation)
    untrust_federation(directory, federation)
    put_pairs({"federation": federation, "hosted": False}, as_json=as_json)
    say("a relay that runs goes on until it gets SIGHUP")


@app.command(name="list")
def list_federations(directory: RelayDir = HERE, as_json: AsJson = False) -> None:
    """Print the federations a relay hosts: manifests, and who is connected (its own files say)."""
    from podsql.convener.relay_files import read_hosted
    from podsql.times import iso

    found = [
        {**each, "expires": iso(each["expires"]) if each["expires"] else None}
        for each in read_hosted(directory)
    ]
    if as_json:
        put_json(found)
        return
    for each in found:
        put(
            f"{each['federation']}  version {each['version']}, until {each['expires']}, "
            f"{each['members']} members, {each['connections']} connected"
        )


@app.command()
def serve(config: RelayFile = HERE / "relay.toml") -> None:
    """Run the relay until SIGTERM, in this process."""
    import os
    import sys

    # A fresh interpreter: the relay's process holds nothing that the command line has loaded.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "podsql.relayd", str(config)])


@app.command()
def status(federation: FederationPath = None, as_json: AsJson = False) -> None:
    """Ask the relay, as a member: does it answer, with which manifest, and how fast?"""
    import time

    from podsql.membership import load_membership
    from podsql.relay.sockets.endpoint import Endpoint

    me = load_membership(federation, passphrase=passphrase())
    endpoint = Endpoint(
        keys=me.keys, relay=me.relay, store=me.store, egress=me.egress, name="status"
    )
    try:
        began = time.perf_counter()
        endpoint.start(timeout=10.0)
        connected = time.perf_counter()
        manifest = endpoint.refresh_manifest()
        asked = time.perf_counter()
    finally:
        endpoint.close()
    put_pairs(
        {
            "relay": me.relay.endpoint,
            "manifest": manifest.version,
            "members": len(manifest.members()),
            "connect_ms": round((connected - began) * 1000, 1),
            "round_trip_ms": round((asked - connected) * 1000, 1),
        },
        as_json=as_json,
    )
