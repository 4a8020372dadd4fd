"""Attack 70, the escape drill: hostile code in a restricted process finds nothing to take.

The drill runs Python, not SQL, with the rights an engine process has; what is tried is what a
crafted file could do after taking over the process.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from podsql.engine.sandbox import ENVIRONMENT, SandboxReport
from podsql.engine.seccomp import filter_program

DRILL = """
import ctypes, json, os, resource, socket, sys
from pathlib import Path
from podsql.engine.sandbox import close_descriptors, restrict

dataset, secret, port, inherited, parent = sys.argv[1:6]
out = os.dup(1)
close_descriptors((out,))
report = restrict(readable=[Path(dataset)], memory_mb=200, cpu_seconds=20)

def udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(port)))

def tcp():
    socket.create_connection(("127.0.0.1", int(port)), 1)

def unix():
    socket.socket(socket.AF_UNIX).connect("\\0podsql-drill")

attempts = {
    "dataset": lambda: open(dataset).read(),
    "secret": lambda: open(secret).read(),
    "link": lambda: open(dataset + ".link").read(),
    "passwd": lambda: open("/etc/passwd").read(),
    "list": lambda: os.listdir("/"),
    "parent environment": lambda: open(f"/proc/{parent}/environ").read(),
    "parent memory": lambda: open(f"/proc/{parent}/mem", "rb").read(1),
    # Linux lets one user count another process's descriptors; what they are stays closed.
    "parent files": lambda: os.readlink(f"/proc/{parent}/fd/0"),
    "inherited": lambda: os.read(int(inherited), 1),
    "overwrite": lambda: open(dataset, "w"),
    "create": lambda: open(dataset + ".new", "w"),
    "unlink": lambda: os.unlink(dataset),
    "rename": lambda: os.rename(dataset, dataset + ".new"),
    "tcp": tcp,
    "udp": udp,
    "unix": unix,
    "fork": os.fork,
    "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
    "signal": lambda: os.kill(int(parent), 0),
    "memory": lambda: bytearray(2 << 30),
    "raise limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
}
done = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, MemoryError, ValueError):
        continue
    done.append(name)
found = sorted(os.environ)
os.write(out, json.dumps([done, report.held, report.missing, found]).encode())
"""


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], SandboxReport, list[str]]:
    folder = tmp_path_factory.mktemp("drill")
    dataset, secret = folder / "data.txt", folder / "key"
    dataset.write_text("rows")
    secret.write_text("key material")
    Path(f"{dataset}.link").symlink_to(secret)
    inherited, other = os.pipe()
    os.write(other, b"x")
    listener = socket.create_server(("127.0.0.1", 0))
    hidden = socket.socket(socket.AF_UNIX)
    hidden.bind("\0podsql-drill")
    hidden.listen()
    with listener, hidden:
        arguments = [dataset, secret, listener.getsockname()[1], inherited, os.getpid()]
        ran = subprocess.run(
            [sys.executable, "-I", "-c", DRILL, *map(str, arguments)],
            env=ENVIRONMENT,
            pass_fds=(inherited,),
            stdout=subprocess.PIPE,
            timeout=30,
            check=True,
        )
    os.close(inherited)
    os.close(other)
    done, held, missing, environment = json.loads(ran.stdout)
    assert dataset.read_text() == "rows"
    report = msgspec.convert([held, missing], SandboxReport)
    return done, report, environment


def test_attack_70_every_layer_holds_on_this_kernel(drill) -> None:
    report = drill[1]
    if report.missing:
        pytest.skip(f"this kernel lacks {[name for name, _ in report.missing]}")
    assert report.strong
    assert {layer.state for layer in report.layers} == {"holds"}


def test_attack_70_hostile_code_reads_its_dataset_and_reaches_nothing_else(drill) -> None:
    done, report, _ = drill
    if not report.strong:
        pytest.skip("this kernel has neither Landlock nor a system-call filter")
    assert done == ["dataset"]


def test_attack_70_the_environment_holds_nothing_of_ours(drill) -> None:
    assert set(drill[2]) <= {*ENVIRONMENT, "LC_CTYPE"}


def test_the_pool_says_which_layers_hold(processes) -> None:
    assert processes.pool.sandbox.held
    assert "rlimits" in processes.pool.sandbox.held


def test_the_filter_is_whole_instructions_with_jumps_inside() -> None:
    code = filter_program(0xC000003E, {"clone": 56, "clone3": 435, "execve": 59})
    steps = [code[i : i + 8] for i in range(0, len(code), 8)]
    assert len(code) % 8 == 0
    for at, step in enumerate(steps):
        if step[0] & 7 == 5:  # a jump
            assert at + 1 + max(step[2], step[3]) < len(steps)
    assert all(step[0] == 6 for step in (steps[-1], steps[2]))
