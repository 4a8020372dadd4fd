"""Landlock from Python: the kernel refuses every file and every TCP connection not named here.

Rule to keep: rights are asked for by the kernel's own ABI number; an older kernel gets fewer and
``restrict_files`` still says that it holds, since files are covered from the first ABI on.
"""

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1

_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_WRITE_FILE: Final = 1 << 1
_TRUNCATE: Final = 1 << 14
_FILES: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""ABI -> how many file rights it knows (execute … ioctl on devices)."""
_BELOW: Final = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8
"""Rights in a working directory: read, write, truncate, remove and make files and folders."""
_ON_A_FILE: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict_files(
    libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]
) -> str | None:
    """Restrict this thread and its children; None if it holds, else the reason."""
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    if abi < 1:
        return errno.errorcode.get(ctypes.get_errno(), "unknown")
    files = (1 << _FILES.get(abi, 16)) - 1
    ruleset = _Ruleset(files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    fd = libc.syscall(
        _CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if fd < 0:
        return errno.errorcode.get(ctypes.get_errno(), "unknown")
    try:
        for path in readable:
            _allow(libc, fd, path, (_READ_FILE | _READ_DIR) & files)
        for path in writable:
            _allow(libc, fd, path, _BELOW & files)
        if libc.syscall(_RESTRICT_SELF, ctypes.c_int(fd), ctypes.c_uint32(0)) != 0:
            return errno.errorcode.get(ctypes.get_errno(), "unknown")
    finally:
        os.close(fd)
    return None


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _ON_A_FILE
        rule = _Beneath(rights, parent)
        libc.syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(parent)
