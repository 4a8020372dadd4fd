"""From nothing to a first remote answer on three hosts, by the README's commands."""

import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hosts import Host, hosts, usable

REASON = usable()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces work")

SQL = "SELECT sex, count(*) AS n, avg(age) AS age FROM visits GROUP BY sex ORDER BY sex"
ROWS = [("f" if i % 3 else "m", 20 + i % 50) for i in range(300)]


def write_visits(path: Path) -> None:
    lines = [f"{i},{i // 2},{sex},{age}" for i, (sex, age) in enumerate(ROWS)]
    path.write_text("\n".join(["visit_id,patient_id,sex,age", *lines]) + "\n")


def expected() -> list[dict[str, object]]:
    found = []
    for sex in ("f", "m"):
        ages = [age for s, age in ROWS if s == sex]
        found.append({"sex": sex, "n": len(ages), "age": sum(ages) / len(ages)})
    return found


def invites(text: str) -> list[str]:
    return re.findall(r"podsql-invite:\S+", text)


def first_answer(analyst: Host, **environ: str) -> list[dict[str, object]]:
    """The analyst's last command, tried until the pod has come up."""
    deadline = time.monotonic() + 90
    while True:
        done = subprocess.run(
            analyst.command(["sql", SQL, "--format", "json", "--timeout", "10"]),
            cwd=analyst.home,
            env={**analyst.environ(), **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        log = (analyst.home.parent / "pod" / "log.txt").read_text()
        assert time.monotonic() < deadline, done.stderr + log


def test_three_hosts_six_commands_nobody_but_the_relay_listens(tmp_path, installed):
    with hosts(tmp_path, installed, "relay", "pod", "ana") as net:
        relay, pod, ana = net["relay"], net["pod"], net["ana"]
        relay.open_port(5555)
        write_visits(pod.home / "visits.csv")
        printed = relay.run(
            "federation", "init", "clinics", "--relay", f"tcp://{relay.address}:5555",
            "--invite", "north:pod", "--invite", "ana:analyst",
        )  # fmt: skip
        north, invite = invites(printed)
        relay.start("federation", "serve")
        fingerprint = re.search(r"ps1\w+", _joined(ana, invite))
        assert fingerprint is not None
        pod.start(
            "join", north, "--table", "visits=visits.csv", "--privacy-unit", "visits=patient_id",
            "--allow", fingerprint[0], "--serve",
        )  # fmt: skip
        assert first_answer(ana) == expected()
        assert pod.listening() == []
        assert ana.listening() == []
        assert relay.listening()


def _joined(host: Host, invite: str, *more: str, **environ: str) -> str:
    """``podsql join``, tried until the relay has come up."""
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(
            host.command(["join", invite, *more]),
            cwd=host.home,
            env={**host.environ(), **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout + done.stderr
        log = (host.home.parent / "relay" / "log.txt").read_text()
        assert time.monotonic() < deadline, done.stderr + log


PROXY = """
import base64, select, socket, sys, threading
allowed, login = sys.argv[1], sys.argv[2]
def serve(near):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += near.recv(4096)
    first, *rest = data.split(b"\\r\\n")
    verb, target, _ = first.decode().split(" ")
    token = base64.b64encode(login.encode()).decode()
    if f"Basic {token}" not in data.decode():
        near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\\r\\n\\r\\n"); near.close(); return
    if verb != "CONNECT" or target != allowed:
        near.sendall(b"HTTP/1.1 403 Forbidden\\r\\n\\r\\n"); near.close(); return
    host, port = target.rsplit(":", 1)
    far = socket.create_connection((host, int(port)))
    near.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    ends = {near: far, far: near}
    while True:
        for one in select.select(list(ends), [], [])[0]:
            piece = one.recv(65536)
            if not piece:
                near.close(); far.close(); return
            ends[one].sendall(piece)
listener = socket.create_server(("0.0.0.0", 3128))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def test_through_a_proxy_that_lets_only_connect_to_443_out_with_a_private_ca(tmp_path, installed):
    with hosts(tmp_path, installed, "relay", "proxy", "pod", "ana") as net:
        relay, proxy, pod, ana = net["relay"], net["proxy"], net["pod"], net["ana"]
        relay.open_port(443)
        proxy.open_port(3128)
        for host in (pod, ana):
            host.allow_only(proxy.address, 3128)
        certificates(relay.home, relay.address)
        for host in (pod, ana):
            (host.home / "ca.pem").write_bytes((relay.home / "ca.pem").read_bytes())
        write_visits(pod.home / "visits.csv")
        box = subprocess.Popen(
            ["ip", "netns", "exec", proxy.namespace, sys.executable, "-c", PROXY,
             f"{relay.address}:443", "clinic:secret"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        proxy.running.append(box)
        assert box.stdout is not None
        assert box.stdout.readline() == "ready\n"
        printed = relay.run(
            "federation", "init", "clinics", "--relay", f"tls://{relay.address}:443",
            "--tls-cert", "tls.pem", "--tls-key", "tls.key", "--ca", "ca.pem",
            "--invite", "north:pod", "--invite", "ana:analyst",
        )  # fmt: skip
        north, invite = invites(printed)
        relay.start("federation", "serve")
        way = {"PODSQL_PROXY": f"http://clinic:secret@{proxy.address}:3128"}
        fingerprint = re.search(r"ps1\w+", _joined(ana, invite, "--ca", "ca.pem", **way))
        assert fingerprint is not None
        pod.start(
            "join", north, "--ca", "ca.pem", "--table", "visits=visits.csv",
            "--privacy-unit", "visits=patient_id", "--allow", fingerprint[0], "--serve", **way,
        )  # fmt: skip
        assert first_answer(ana, **way) == expected()
        assert pod.listening() == []
        assert ana.listening() == []
        box.stdout.close()


def certificates(folder: Path, address: str) -> None:
    """A private CA and a certificate of the relay's address."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)
    common = {"not_before": now - timedelta(hours=1), "not_after": now + timedelta(days=1)}

    def builder(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("clinic CA"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(common["not_before"])
            .not_valid_after(common["not_after"])
        )

    ca = (
        builder("clinic CA", ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
        )
        .sign(ca_key, hashes.SHA256())
    )
    own = (
        builder("relay", key.public_key())
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "tls.pem").write_bytes(own.public_bytes(pem))
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
