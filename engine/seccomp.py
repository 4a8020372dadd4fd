"""A system-call filter: an engine process starts no program, opens no socket, touches no other process.

Rule to keep: a list of refusals, not of permissions: DuckDB and Arrow may use whatever computing
needs; what would reach beyond the process answers EPERM. ``clone3`` answers ENOSYS, so that the C
library falls back to ``clone``, whose flags the filter can see (threads yes, processes no).
"""

import ctypes
import errno
import os
import struct
from typing import Final

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_CLONE_THREAD: Final = 0x00010000
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000

_ARCHITECTURES: Final[dict[str, tuple[int, dict[str, int]]]] = {
    "x86_64": (
        0xC000003E,
        {
            "clone": 56, "clone3": 435, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
            "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288,
            "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kill": 62,
            "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "io_uring_setup": 425,
            "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250, "add_key": 248,
            "request_key": 249, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166,
            "pivot_root": 155, "chroot": 161, "init_module": 175, "finit_module": 313,
            "kexec_load": 246, "open_by_handle_at": 304, "name_to_handle_at": 303, "fsopen": 430,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "clone": 220, "clone3": 435, "execve": 221, "execveat": 281, "socket": 198,
            "connect": 203, "accept": 202, "bind": 200, "listen": 201, "accept4": 242,
            "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kill": 129,
            "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "io_uring_setup": 425,
            "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "add_key": 217,
            "request_key": 218, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39,
            "pivot_root": 41, "chroot": 51, "init_module": 105, "finit_module": 273,
            "kexec_load": 104, "open_by_handle_at": 265, "name_to_handle_at": 264, "fsopen": 430,
        },
    ),
}  # fmt: skip
_FIRST_X32: Final = 0x40000000

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse_calls(libc: ctypes.CDLL) -> str | None:
    """Install the filter for this thread and what it starts; None if it holds, else the reason."""
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        return f"no table for {os.uname().machine}"
    code = filter_program(*known)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        return errno.errorcode.get(ctypes.get_errno(), "unknown")
    return None


def filter_program(architecture: int, calls: dict[str, int]) -> bytes:
    """The filter in classic BPF: eight bytes an instruction, jumps relative to the next one."""
    refused = [n for name, n in sorted(calls.items()) if name not in ("clone", "clone3")]
    refuse = _ERRNO | errno.EPERM
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _AT_ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, _AT_NUMBER),
        (_AT_LEAST, 0, 1, _FIRST_X32),
        (_RETURN, 0, 0, refuse),
        (_EQUAL, 0, 1, calls["clone3"]),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for number in refused:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    code += [
        (_EQUAL, 0, 3, calls["clone"]),
        (_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in code)
