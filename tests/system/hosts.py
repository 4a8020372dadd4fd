"""Hosts of a test: network namespaces on one bridge, inbound closed but for what a test opens."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def usable() -> str:
    """Why namespaces cannot be used here, or an empty string."""
    missing = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    name = f"ps{os.getpid()}x"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "this machine allows no network namespaces"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass
class Host:
    """A namespace with an address, a home of its own, and its running commands."""

    name: str
    namespace: str
    address: str
    home: Path
    podsql: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH")}
        return {**kept, "HOME": str(self.home)}

    def command(self, arguments: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, str(self.podsql), *arguments]

    def run(self, *arguments: str, timeout: float = 60.0, **environ: str) -> str:
        """A ``podsql`` command of this host; its stdout."""
        done = subprocess.run(
            self.command(list(arguments)),
            cwd=self.home,
            env={**self.environ(), **environ},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        """A ``podsql`` command that goes on running."""
        log = (self.home / "log.txt").open("a")
        process = subprocess.Popen(
            self.command(list(arguments)),
            cwd=self.home,
            env={**self.environ(), **environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        log.close()
        self.running.append(process)
        return process

    def open_port(self, port: int) -> None:
        """Let others connect to ``port``."""
        self._tables("-A", "INPUT", "-p", "tcp", "--dport", str(port), "-j", "ACCEPT")

    def allow_only(self, address: str, port: int) -> None:
        """Let this host reach one address and port, and nothing else."""
        self._tables("-A", "OUTPUT", "-o", "lo", "-j", "ACCEPT")
        self._tables(
            "-A", "OUTPUT", "-p", "tcp", "-d", address, "--dport", str(port), "-j", "ACCEPT"
        )
        self._tables("-P", "OUTPUT", "DROP")

    def listening(self) -> list[str]:
        """Local addresses of TCP sockets in LISTEN (state 0A of /proc/net/tcp)."""
        found = []
        for table in ("tcp", "tcp6"):
            rows = subprocess.run(
                ["ip", "netns", "exec", self.namespace, "cat", f"/proc/net/{table}"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()[1:]
            found += [row.split()[1] for row in rows if row.split()[3] == "0A"]
        return found

    def _tables(self, *rule: str) -> None:
        ip("netns", "exec", self.namespace, "iptables", "-w", *rule)

    def close_inbound(self) -> None:
        """Drop what nobody here asked for."""
        self._tables("-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
        self._tables("-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
        self._tables("-P", "INPUT", "DROP")

    def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def hosts(folder: Path, podsql: Path, *names: str) -> Iterator[dict[str, Host]]:
    """One namespace a name, on a bridge in a namespace of its own."""
    tag = f"ps{os.getpid()}"
    bridge = f"{tag}-hub"
    made: dict[str, Host] = {}
    ip("netns", "add", bridge)
    try:
        ip("-n", bridge, "link", "add", "br0", "type", "bridge")
        ip("-n", bridge, "link", "set", "br0", "up")
        for number, name in enumerate(names, 1):
            home = folder / name
            home.mkdir()
            host = Host(name, f"{tag}-{name}", f"10.77.0.{number}", home, podsql)
            made[name] = host
            ip("netns", "add", host.namespace)
            ip(
                "-n",
                bridge,
                "link",
                "add",
                f"v{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                host.namespace,
            )
            ip("-n", bridge, "link", "set", f"v{number}", "master", "br0", "up")
            ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "lo", "up")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
            host.close_inbound()
        yield made
    finally:
        for host in made.values():
            host.stop()
            subprocess.run(["ip", "netns", "del", host.namespace], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", bridge], check=False, capture_output=True)
