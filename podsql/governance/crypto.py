"""Row 4: ports and directions, and the list of cryptography, as this version uses them.

The facts of `docs/protocol.md`, for a form. Rule to keep: what changes there changes here.
"""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from podsql.governance.facts import Network


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One connection or file, and who opens it."""

    source: str
    target: str
    direction: str
    port: str
    protected_by: str
    carries: str


class Primitive(msgspec.Struct, frozen=True, kw_only=True):
    """One use of cryptography."""

    use: str
    algorithm: str
    keys: str
    library: str


def flows(network: Network | None) -> tuple[Flow, ...]:
    """Connections of a pod. There is one, and it goes out."""
    endpoint = network.relay if network else ""
    parts = urlsplit(endpoint)
    tls = parts.scheme == "tls"
    shield = "Noise session end to end, inside CURVE" + (", inside TLS" if tls else "")
    target = f"relay {parts.hostname or 'not joined yet'}"
    through = "" if network is None or network.way == "direct" else f" through {network.way}"
    return (
        Flow(
            source="pod",
            target=target + through,
            direction="outbound",
            port=f"TCP {parts.port}" if parts.port else "",
            protected_by=shield,
            carries="statements in; figures, noisy figures or named rows out; blinded keys where allowed",
        ),
        Flow(
            source="anybody",
            target="pod",
            direction="inbound",
            port="none: the pod listens on no network address",
            protected_by="",
            carries="",
        ),
        Flow(
            source="custodian on the host",
            target="pod",
            direction="local",
            port="unix socket state/control.sock, mode 0600",
            protected_by="file permissions",
            carries="status, pause, resume, reload, prune, services, forget, drop",
        ),
        Flow(
            source="pod",
            target="its engine processes",
            direction="local",
            port="pipes",
            protected_by="a sandbox around each engine",
            carries="checked SQL in; results out",
        ),
    )


CRYPTOGRAPHY: Final = (
    Primitive(
        use="session between two peers",
        algorithm="Noise_XK_25519_ChaChaPoly_BLAKE2b",
        keys="X25519, one static pair a peer; fresh pairs a session, at most an hour",
        library="libsodium (PyNaCl), OpenSSL (cryptography)",
    ),
    Primitive(
        use="connection to the relay",
        algorithm="ZeroMQ CURVE: X25519, XSalsa20-Poly1305",
        keys="one mailbox pair a peer; the relay's key is pinned by the invite",
        library="libzmq (pyzmq)",
    ),
    Primitive(
        use="outer connection, where the relay is tls://",
        algorithm="TLS 1.2 or newer, as OpenSSL negotiates it",
        keys="the site's or a private CA",
        library="OpenSSL (Python)",
    ),
    Primitive(
        use="signatures of cards, manifests, requests, decisions, results, heads",
        algorithm="Ed25519, each bound to a kind of document",
        keys="one identity seed a peer; one federation key",
        library="libsodium (PyNaCl)",
    ),
    Primitive(
        use="large results",
        algorithm="ChaCha20-Poly1305 in chunks (STREAM)",
        keys="a fresh key a result",
        library="OpenSSL (cryptography)",
    ),
    Primitive(
        use="hashes of log, ledger, policy; SHA-256 of results",
        algorithm="BLAKE2b-256, SHA-256",
        keys="none",
        library="Python (hashlib)",
    ),
    Primitive(
        use="keys at rest, if sealed",
        algorithm="Argon2id, XChaCha20-Poly1305",
        keys="the custodian's passphrase",
        library="libsodium (PyNaCl)",
    ),
    Primitive(
        use="sets of units of released figures, in the ledger",
        algorithm="XSalsa20-Poly1305",
        keys="derived from state/secret",
        library="libsodium (PyNaCl)",
    ),
    Primitive(
        use="counting shared keys",
        algorithm="Diffie-Hellman on Ed25519's prime-order group",
        keys="a fresh secret a count",
        library="libsodium (PyNaCl)",
    ),
)
