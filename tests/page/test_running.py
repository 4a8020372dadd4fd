"""``podsql policy page`` as a process: where it may listen, TLS, proxies, the first link."""

import datetime
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from worlds import ANA_KEY, PASSWORD

from podsql.cli.app import run
from podsql.errors import Error
from podsql.policy.service.page.running import listening

FEDERATION = """
[federation]
name = "{name}"
fingerprint = "{mark}"
[relay]
endpoint = "tcp://127.0.0.1:1"
key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[me]
name = "access"
role = "service"
"""


def options(**more):
    base = {"certificate": None, "key": None, "origin": "", "proxied": False}
    return {**base, **more}


@pytest.mark.parametrize(
    ("address", "more"),
    [
        ("0.0.0.0:8443", {}),
        ("192.0.2.1:8443", {}),
        ("[::]:8443", {}),
        ("access.example:8443", {}),
        ("0.0.0.0:8443", {"origin": "http://access.example"}),
        ("0.0.0.0:8443", {"origin": "https://access.example"}),
        ("0.0.0.0:8443", {"proxied": True}),
        ("0.0.0.0:8443", {"proxied": True, "origin": "http://access.example"}),
        ("127.0.0.1:8443", {"proxied": True}),
        ("127.0.0.1:8443", {"origin": "https://access.example/path", "proxied": True}),
        ("127.0.0.1:8443", {"certificate": Path(__file__)}),
        ("127.0.0.1", {}),
        ("127.0.0.1:0", {}),
        ("127.0.0.1:http", {}),
        ("0.0.0.0:8443", {"certificate": Path(__file__), "key": Path(__file__)}),
    ],
    ids=str,
)
def test_it_refuses_to_listen_in_the_clear(address, more):
    with pytest.raises(Error) as refused:
        listening(address, **options(**more))
    assert refused.value.code == "ARGUMENT"


def test_it_listens_on_loopback_and_behind_tls():
    local = listening("127.0.0.1:8443", **options())
    assert local.origins == ("http://localhost:8443", "http://127.0.0.1:8443")
    proxied = listening("0.0.0.0:80", **options(proxied=True, origin="https://access.example"))
    assert proxied.origins == ("https://access.example",)
    tls = {"certificate": Path(__file__), "key": Path(__file__)}
    assert listening("[::1]:1", **options(**tls)).origins[0] == "https://localhost:1"


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("PODSQL_FEDERATION", "PODSQL_PASSPHRASE", "PODSQL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "federation.toml").write_text(FEDERATION.format(mark=ANA_KEY, name="clinics"))
    return tmp_path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Page:
    """The process; ready once it says where it is."""

    def __init__(self, *arguments) -> None:
        self.port = free_port()
        tool = Path(sys.executable).parent / "podsql"
        command = [
            tool,
            "policy",
            "page",
            "--listen",
            f"127.0.0.1:{self.port}",
        ]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        self.said = self.process.stderr.readline()
        assert "the page of" in self.said, self.said + self.process.stderr.read()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.rest = self.process.communicate(timeout=60)[1]
        assert self.process.returncode in (0, -signal.SIGTERM), self.rest


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


def use_link(http, link, origin):
    path = re.sub(r"https?://[^/]+", "", link)
    token = re.search(r'name="csrf" value="([^"]+)"', http.get(path).text)[1]
    return http.post(
        path,
        data={"csrf": token, "password": PASSWORD, "again": PASSWORD},
        headers={"origin": origin},
    )


def test_the_first_administrator_comes_in_over_tls(home, capsys):
    assert run(["policy", "init", "--json"]) == 0
    link = json.loads(capsys.readouterr().out)["link"]
    assert link.startswith("http://localhost:8443/f/clinics/link/")
    cert, key = certificate(home)
    with Page("--tls-cert", cert, "--tls-key", key) as page:
        origin = f"https://localhost:{page.port}"
        assert origin in page.said
        trusted = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(base_url=origin, verify=trusted, trust_env=False) as http:
            answer = use_link(http, link, origin)
            assert answer.status_code == 303
            for cookie in answer.headers.get_list("set-cookie"):
                assert cookie.startswith("__Secure-podsql-")
                assert "Secure" in cookie
            assert "max-age" in answer.headers["strict-transport-security"]
            assert "Overview" in http.get("/f/clinics/").text
    assert PASSWORD not in page.rest
    assert link.rpartition("/")[2] not in page.rest
    loaded = page.rest + page.said
    assert "admin signed in" in loaded


def test_behind_a_proxy_it_believes_the_last_address_only(home, capsys):
    assert run(["policy", "init", "--admin", "anna"]) == 0
    capsys.readouterr()
    origin = "https://access.example"
    with (
        Page("--behind-proxy", "--origin", origin) as page,
        httpx.Client(base_url=f"http://127.0.0.1:{page.port}", trust_env=False) as http,
    ):
        http.headers["host"] = "access.example"
        shown = http.get("/f/clinics/sign-in")
        assert shown.status_code == 200
        token = re.search(r'name="csrf" value="([^"]+)"', shown.text)[1]
        cookie = {"cookie": shown.headers["set-cookie"].split(";")[0], "origin": origin}
        form = {"csrf": token, "name": "anna", "password": "a guess of mine"}
        codes = {}
        for at in range(33):
            forged = {"x-forwarded-for": f"198.51.100.{at}, 203.0.113.9", **cookie}
            codes[at] = http.post("/f/clinics/sign-in", data=form, headers=forged).status_code
        assert codes[0] == 401
        assert codes[32] == 429, "what the browser writes itself does not count"
        other = {"x-forwarded-for": "203.0.113.10", **cookie}
        assert http.post("/f/clinics/sign-in", data=form, headers=other).status_code == 401
        http.headers["host"] = f"127.0.0.1:{page.port}"
        assert http.get("/f/clinics/sign-in").status_code == 421


def test_officers_from_the_command_line(home, capsys):
    assert run(["policy", "init"]) == 0
    capsys.readouterr()
    base = ["policy", "officer", "bert", "--link", "--json"]
    assert run([*base, "--role", "approver", "--origin", "https://access.example/"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["role"] == "approver"
    assert first["link"].startswith("https://access.example/f/clinics/link/")
    assert run(base) == 0
    assert json.loads(capsys.readouterr().out)["link"] != first["link"]
    assert run([*base, "--role", "admin"]) == 0
    assert json.loads(capsys.readouterr().out)["role"] == "admin"
    assert run(["policy", "officer", "x", "--role", "king"]) == 2
    assert run(["policy", "officer", "bert", "--end"]) == 0
    assert run(["policy", "officer", "admin", "--end"]) != 0, "one administrator stays"
    capsys.readouterr()


def test_two_federations_in_one_process(home, capsys):
    for name in ("clinics", "banks"):
        (home / name).mkdir()
        (home / name / "federation.toml").write_text(FEDERATION.format(mark=ANA_KEY, name=name))
        assert run(["policy", "init", "--dir", name]) == 0
    capsys.readouterr()
    with Page("--federation", home / "clinics", "--federation", home / "banks") as page:
        assert "2 federations" in page.said
        base = f"http://localhost:{page.port}"
        with httpx.Client(base_url=base, trust_env=False, follow_redirects=True) as http:
            assert "Sign in" in http.get("/f/banks/").text
            assert "Which federation?" in http.get("/").text


def test_two_federations_of_one_name_are_refused(home, capsys):
    assert run(["policy", "init"]) == 0
    assert run(["policy", "page", "--federation", ".", "--federation", "."]) == 2
    assert "are named 'clinics'" in capsys.readouterr().err


def test_the_page_reads_no_key(home):
    assert not (home / "keys.json").exists(), "the tests above ran without one"
    code = "import sys; from podsql.policy.service.page import app, running; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert not {"duckdb", "pyarrow", "torch", "pandas"} & set(done.stdout.split())
