"""Push a new manifest to the relay right away, if it can be reached.

Rule to keep: an edit never fails because the relay is away; the registrar publishes it later.
"""

from typing import Final

from podsql.convener.desk import Desk
from podsql.convener.editing import Edition
from podsql.errors import Error, error
from podsql.membership import load_membership
from podsql.relay.sockets.endpoint import Endpoint

TIMEOUT_SECONDS: Final = 5.0
AWAY: Final = frozenset({"RELAY_UNREACHABLE", "TIMEOUT", "PROXY"})


def publish(desk: Desk, edition: Edition, passphrase: str | None = None) -> str:
    """Publish an edition; the empty string, or when it will be published instead."""
    membership = load_membership(desk.membership, passphrase=passphrase)
    endpoint = Endpoint(
        keys=membership.keys,
        relay=membership.relay,
        store=membership.store,
        egress=membership.egress,
        name="convener",
    )
    try:
        endpoint.start(timeout=TIMEOUT_SECONDS)
        endpoint.publish_manifest(edition.raw, timeout=TIMEOUT_SECONDS)
    except Error as fault:
        if fault.code in AWAY:
            return "the relay cannot be reached: published when `podsql federation serve` runs"
        raise
    finally:
        endpoint.close()
    served = membership.store.current
    if served is not None and served.version > edition.manifest.version:
        raise error(
            "MANIFEST",
            f"the relay holds version {served.version}, newer than {edition.manifest.version}",
            hint="another copy of this directory signs manifests too: use that one",
        )
    return ""
