"""One run at a time in a folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from shapecalc.diagnostics import Diagnostic, RunError

LOCK = ".lock"

_held: set[int] = set()
"""The open files of the locks that this process holds."""


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """No other run is in the folder meanwhile. Raises RunError where there is one."""
    path = folder / LOCK
    file = _claimed(path)
    while not _is(path, file):  # the one before has just removed it
        os.close(file)
        file = _claimed(path)
    _held.add(file)
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        _held.discard(file)
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)


def expect_free(folder: Path) -> None:
    """No run is in the folder. Raises RunError."""
    path = folder / LOCK
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # none has ever been
        return
    _claim(path, file)
    os.close(file)


def _claimed(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise RunError([Diagnostic("E503", f"{path} cannot be written: {reason}")]) from None
    _claim(path, file)
    return file


def _claim(path: Path, file: int) -> None:
    """Lock an open file. Raises RunError where another process has it locked."""
    if _take(file):
        return
    holder = os.read(file, 200).decode(errors="replace") or "another process"
    os.close(file)
    message = f"{path.parent} is in use by {holder}"
    help = "wait until it ends, or stop it; another run needs another --out"
    raise RunError([Diagnostic("E503", message, help=help)])


def _take(file: int) -> bool:
    if sys.platform == "win32":  # has no such lock
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks either
        return True
    return True


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _let_go() -> None:
    """A worker that outlives its parent for a moment must not hold the parent's lock."""
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
