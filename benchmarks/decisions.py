"""How many requests a second a policy service decides on one core: verified, judged, logged, signed."""

import os
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row, percentile
from podsql.messages import RequestHead, encode
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policy.service.serving import PolicyService
from podsql.policy.service.store import Store
from podsql.relay.cards import make_card, read_card
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.manifest import Manifest, ManifestStore, sign_manifest
from podsql.relay.signing import sign
from podsql.service_messages import DecisionRequest

ANALYSTS = 50
GRANTS = 20
"""Of each analyst."""
RUNS = 3000
DAY_MS = 24 * 3600 * 1000


def run() -> list[Row]:
    """Requests of many analysts, as they come from a pod; the last grant is the one that counts."""
    now = time.time_ns() // 1_000_000
    analysts = [PeerKeys.generate() for _ in range(ANALYSTS)]
    pod = read_card(make_card(PeerKeys.generate(), name="north", role="pod", now=now))
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as folder:
        manifest = _manifest(analysts, Path(folder), now)
        store = Store(Path(folder) / "policy.sqlite")
        try:
            service = PolicyService(
                store=store,
                keys=PeerKeys.generate(),
                manifest=lambda: manifest.current,
                clock=lambda: now,
            )
            _grant(store, analysts, now)
            bodies = [_request(analysts[n % ANALYSTS], pod.identity, now) for n in range(RUNS)]
            for body in bodies[: 2 * ANALYSTS]:
                service.answer(pod, body)
            times = []
            for body in bodies:
                began = time.process_time()
                service.answer(pod, body)
                times.append((time.process_time() - began) * 1000)
            allowed = [decided.allow for decided in store.decisions(RUNS)]
            assert len(allowed) == RUNS
            assert all(allowed)
        finally:
            store.close()
    return [
        Row(
            name="decisions of a policy service, one core",
            value=1000 * RUNS / sum(times),
            unit="/s",
            reference=500,
            against="goal",
        ),
        Row(
            name="decision of a policy service: p99",
            value=percentile(times, 99),
            unit="ms",
            reference=5,
            against="goal",
        ),
    ]


def _manifest(analysts: list[PeerKeys], folder: Path, now: int) -> ManifestStore:
    seed = generate_signing()
    mark = fingerprint(signing_public(seed))
    manifest = Manifest(
        federation=mark,
        version=1,
        issued=now,
        expires=now + DAY_MS,
        cards=tuple(
            make_card(keys, name=f"ana{n}", role="analyst", now=now)
            for n, keys in enumerate(analysts)
        ),
    )
    store = ManifestStore(folder / "manifest.bin", mark)
    store.accept(sign_manifest(manifest, seed), now)
    return store


def _grant(store: Store, analysts: list[PeerKeys], now: int) -> None:
    orders = Orders(store.database, lambda: now)
    for n, keys in enumerate(analysts):
        for number in range(GRANTS):
            table = "visits" if number == GRANTS - 1 else f"table{number}"
            given = make_grant(analyst=keys.identity_public, now=now, tables=[table])
            orders.grant(CONSOLE, given, name=f"ana{n}")


def _request(keys: PeerKeys, pod: bytes, now: int) -> bytes:
    head = RequestHead(
        request_id=os.urandom(16),
        statement_id=os.urandom(16),
        pod=pod,
        analyst=keys.identity_public,
        handshake=os.urandom(32),
        payload_hash=os.urandom(32),
        tables=("main.visits",),
        purpose="cohort",
        project="p1",
        pods=("north",),
        offer="v1",
        created=now,
        deadline=now + 60_000,
    )
    signed = sign("request", encode(head), keys.identity)
    return encode(DecisionRequest(head=signed, nonce=os.urandom(16)))
