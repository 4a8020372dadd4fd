"""10,000 idle connections on one relay: each a CURVE connection of its own, none sends anything."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.many_pods import rss_mb
from benchmarks.pair import Pair
from benchmarks.rows import Row

IDLE = 10_000
PROCESSES = 2

GUESTS = """
import sys, zmq
from pathlib import Path
from podsql.relay.keys import load_keys, z85
keys, place, relay, count = load_keys(Path(sys.argv[1])), sys.argv[2], bytes.fromhex(sys.argv[3]), int(sys.argv[4])
context = zmq.Context()
context.set(zmq.MAX_SOCKETS, count + 100)
made = []
for number in range(count):
    one = context.socket(zmq.DEALER)
    one.linger, one.immediate = 0, True
    one.curve_secretkey, one.curve_publickey = z85(keys.curve), z85(keys.curve_public)
    one.curve_serverkey = z85(relay)
    one.connect(place)
    made.append(one)
    if number % 250 == 249:
        for late in made[-250:]:  # writable: the CURVE handshake is done
            assert late.poll(60_000, zmq.POLLOUT)
print("ready", flush=True)
sys.stdin.read()
"""


def run() -> list[Row]:
    """Memory of the relay before and with the connections."""
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as folder, Pair(Path(folder)) as pair:
        before = rss_mb(pair.relay_process.pid)
        arguments = [f"{folder}/pod.json", pair.place, pair.relay_key.hex(), str(IDLE // PROCESSES)]
        guests = [
            subprocess.Popen(
                [sys.executable, "-c", GUESTS, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]
        for guest in guests:
            assert guest.stdout is not None
            assert guest.stdout.readline() == "ready\n"
        memory = rss_mb(pair.relay_process.pid)
        for guest in guests:
            guest.kill()
            guest.communicate()
    return [
        Row(
            name=f"relay memory with {IDLE} idle connections ({before:.0f} MB without)",
            value=memory,
            unit="MB",
            reference=400,
            against="goal",
        )
    ]
