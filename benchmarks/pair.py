"""An analyst's endpoint here, a relay and an echoing pod in processes of their own."""

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from podsql.demo.stage import free_port
from podsql.membership import key_text
from podsql.relay.cards import make_card, read_card
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import (
    PeerKeys,
    fingerprint,
    generate_signing,
    replace_file,
    save_keys,
    save_seed,
    signing_public,
)
from podsql.relay.manifest import Manifest, ManifestStore, sign_manifest
from podsql.relay.places import manifest_path
from podsql.relay.sockets.endpoint import Endpoint

BARE = """
import threading, zmq
context = zmq.Context()
front = context.socket(zmq.ROUTER)
port = front.bind_to_random_port("tcp://127.0.0.1")
back = context.socket(zmq.ROUTER)
back_port = back.bind_to_random_port("tcp://127.0.0.1")
def echo():
    own = zmq.Context()
    peer = own.socket(zmq.DEALER)
    peer.connect(f"tcp://127.0.0.1:{back_port}")
    peer.send(b"here")
    while True:
        peer.send_multipart(peer.recv_multipart())
threading.Thread(target=echo, daemon=True).start()
route = back.recv_multipart()[0]
print(port, flush=True)
poller = zmq.Poller()
poller.register(front, zmq.POLLIN)
poller.register(back, zmq.POLLIN)
while True:
    ready = dict(poller.poll())
    if front in ready:
        back.send_multipart([route, *front.recv_multipart()])
    if back in ready:
        front.send_multipart(back.recv_multipart()[1:])
"""

POD = """
import sys
from pathlib import Path
from podsql.lifecycle import wait_for_stop
from podsql.membership import key_from_text
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import load_keys
from podsql.relay.manifest import ManifestStore
from podsql.relay.sealing import ChunkSealer, new_stream
from podsql.relay.sockets.endpoint import Endpoint
from podsql.relay.streams import StreamSource
folder, mark, place, key = Path(sys.argv[1]), *sys.argv[2:5]
chunk = bytes(1 << 20)
def serve(request):
    if not request.body.startswith(b"stream "):
        request.reply(request.body)
        return
    count = int(request.body[7:])
    stream, secret = new_stream()
    source, sealer = StreamSource(stream), ChunkSealer(stream, secret)
    endpoint.send_stream(request.peer, source)
    request.reply(stream + secret)
    def more(index):
        source.append(sealer.seal(index, chunk, index == count - 1), index == count - 1)
        if index + 1 < count:
            endpoint.post(lambda: more(index + 1))
    more(0)
endpoint = Endpoint(
    keys=load_keys(folder / "pod.json"), relay=RelayAddress(endpoint=place, curve=key_from_text(key)),
    store=ManifestStore(folder / "pod.manifest", mark), serve=serve, name="pod")
endpoint.start()
print("ready", flush=True)
wait_for_stop()
"""


class Pair:
    """``analyst`` (an Endpoint) may call ``pod`` (a Card)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        folder, now = self._folder, time.time_ns() // 1_000_000
        seed, relay, keys = (
            generate_signing(),
            PeerKeys.generate(),
            [PeerKeys.generate() for _ in "ap"],
        )
        mark = fingerprint(signing_public(seed))
        cards = [
            make_card(k, name=n, role=r, now=now)
            for k, n, r in zip(keys, ("ana", "pod"), ("analyst", "pod"), strict=True)
        ]
        manifest = Manifest(
            federation=mark, version=1, issued=now, expires=now + 86_400_000, cards=tuple(cards)
        )
        place = f"tcp://127.0.0.1:{free_port()}"
        save_keys(folder / "pod.json", keys[1])
        save_seed(folder / "relay.key", relay.curve)
        replace_file(manifest_path(folder, mark), sign_manifest(manifest, seed), mode=0o600)
        (folder / "relay.toml").write_text(
            f'[relay]\nlisten = "{place}"\nfederations = ["{mark}"]\n', encoding="utf-8"
        )
        self.place, self.relay_key = place, relay.curve_public
        self.relay_process = self._start(["-m", "podsql.relayd", str(folder / "relay.toml")])
        pod = self._start(["-c", POD, str(folder), mark, place, key_text(relay.curve_public)])
        assert pod.stdout is not None
        assert pod.stdout.readline() == "ready\n"
        self.pod = read_card(cards[1])
        self.analyst = Endpoint(
            keys=keys[0],
            relay=RelayAddress(endpoint=place, curve=relay.curve_public),
            store=ManifestStore(folder / "ana.manifest", mark),
            name="ana",
        )
        self.analyst.start()
        return self

    def _start(self, arguments: list[str]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._processes.append(process)
        return process

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.analyst.close()
        for process in reversed(self._processes):
            process.kill()
            process.wait()
