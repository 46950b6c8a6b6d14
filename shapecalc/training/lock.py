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
    try:
        with not_in_workers(file):
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
            yield
    finally:
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
    if take(file) is not False:
        return
    holder = os.read(file, 200).decode(errors="replace") or "another process"
    os.close(file)
    message = f"{path.parent} is in use by {holder}"
    help = "wait until it ends, or stop it; another run needs another --out"
    raise RunError([Diagnostic("E503", message, help=help)])


def take(file: int) -> bool | None:
    """Lock an open file until it is closed; False where another process has it locked, None where
    the system or the file system has no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def not_in_workers(file: int) -> Iterator[None]:
    """A worker that outlives its parent for a moment must not hold the lock of this open file."""
    _held.add(file)
    try:
        yield
    finally:
        _held.discard(file)


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _let_go() -> None:
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
