"""What an engine process gives up before it opens anything: rights it does not need.

Rule to keep: ``restrict`` runs single-threaded and before ``duckdb.connect``, so that every thread
of the engine inherits it. Layers that a kernel lacks are reported, never assumed.
"""

import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from podsql.engine.landlock import restrict_files
from podsql.engine.seccomp import refuse_calls

ENVIRONMENT: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "",
    "TZ": "UTC",
}
"""The whole environment of an engine process: few arenas, few threads, no secret."""

READABLE: Final = (
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
    "/usr/share/zoneinfo",
)
"""DuckDB aborts the process without procfs and the cgroup tree; neither shows other processes'
memory or environment from inside Landlock's domain."""

_NEWUSER: Final = 0x10000000
_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_MIB: Final = 1 << 20
_OVERHEAD_MB: Final = 512
"""Address space for stacks, allocator slack and mapped libraries beyond a statement's memory."""


class Layer(msgspec.Struct, frozen=True, array_like=True):
    """One layer and whether it holds."""

    name: str
    state: str
    """``holds``, or ``missing`` and why."""


class SandboxReport(msgspec.Struct, frozen=True, array_like=True):
    """Which layers hold in an engine process, and why others do not."""

    held: tuple[str, ...]
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, those that hold first."""
        return (
            *(Layer(name, "holds") for name in self.held),
            *(Layer(name, f"missing ({reason})") for name, reason in self.missing),
        )

    @property
    def strong(self) -> bool:
        """Files and network are closed by the kernel: hostile code would find nothing."""
        return "landlock" in self.held and bool({"network", "seccomp"} & set(self.held))


def restrict(
    *,
    readable: Iterable[Path],
    writable: Sequence[Path] = (),
    memory_mb: int,
    cpu_seconds: int,
) -> SandboxReport:
    """Give up everything but reading ``readable`` (and writing below ``writable``)."""
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[str] = []
    missing: list[tuple[str, str]] = []

    def layer(name: str, fault: str | None) -> None:
        if fault is None:
            held.append(name)
        else:
            missing.append((name, fault))

    if sys.platform != "linux":
        limit_resources(memory_mb=memory_mb, cpu_seconds=cpu_seconds, writes=bool(writable))
        return SandboxReport(("rlimits",), (("landlock", "not Linux"), ("network", "not Linux")))
    layer("parent_death", _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL))
    layer("no_new_privs", _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1))
    fault, own_users = _leave_network(libc)
    layer("network", fault)
    layer("landlock", restrict_files(libc, [*map(Path, READABLE), *readable], writable))
    layer("capabilities", _drop_capabilities(libc))
    limit_resources(memory_mb=memory_mb, cpu_seconds=cpu_seconds, writes=bool(writable))
    if own_users:
        # Only in a user namespace of its own does this count the process's own threads.
        _lower(resource.RLIMIT_NPROC, 128)
    layer("rlimits", None)
    layer("seccomp", refuse_calls(libc))
    return SandboxReport(tuple(held), tuple(missing))


def limit_resources(*, memory_mb: int, cpu_seconds: int, writes: bool) -> None:
    """Resource limits: memory over what is mapped now, CPU, no files, no core dump."""
    with open("/proc/self/statm", "rb") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, mapped + (memory_mb + _OVERHEAD_MB) * _MIB)
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, 512)
    if not writes:
        _lower(resource.RLIMIT_FSIZE, 0)


def close_descriptors(keep: Iterable[int]) -> None:
    """Close every inherited descriptor but ``keep`` and the standard three, which become null."""
    kept = sorted({0, 1, 2, *keep})
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for low, high in zip(kept, [*kept[1:], 1 << 20], strict=True):
        os.closerange(low + 1, high)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> str | None:
    return None if libc.prctl(option, value, 0, 0, 0) == 0 else _reason()


def _leave_network(libc: ctypes.CDLL) -> tuple[str | None, bool]:
    """A network namespace without any interface; the second value: also a user namespace."""
    if libc.unshare(_NEWUSER | _NEWNET) == 0:
        return None, True
    fault = _reason()
    return (None if libc.unshare(_NEWNET) == 0 else fault), False


def _drop_capabilities(libc: ctypes.CDLL) -> str | None:
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    return None if libc.capset(head, none) == 0 else _reason()


def _reason() -> str:
    return errno.errorcode.get(ctypes.get_errno(), "unknown")
