"""Kernels in C for what torch does slowly on a CPU, compiled when they are first needed.

That takes a C compiler with OpenMP, as most systems have one that torch runs on; where there is
none, torch does the work. The library stays in the user's cache, under a name that changes with
the source, the compiler and the processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from torch import Tensor

from shapecalc.caches import cache_root

OFF = "SHAPECALC_NATIVE"
"""With 0 in this environment variable nothing is compiled."""

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
_SOURCES = Path(__file__).parent
_SECONDS = 60


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they cannot be had."""
    if os.environ.get(OFF) == "0":
        return None
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        path = cache_root() / "native" / f"{_key(compiler)}.so"
        if not path.exists():
            _compile(compiler, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def has_tiles() -> bool:
    """Whether the kernels for a matrix unit can run here: those of AMX, on Linux."""
    ready = getattr(library(), "stem_ready", None)
    return ready is not None and bool(ready())


def call(name: str, window: ctypes.Structure, *tensors: Tensor | None) -> None:
    """Run a kernel on the memory of tensors, which is not looked at."""
    pointers = (None if t is None else ctypes.c_void_p(t.data_ptr()) for t in tensors)
    getattr(library(), name)(ctypes.byref(window), *pointers)


def _compile(compiler: list[str], path: Path) -> None:
    """Written under another name first: several processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, path.name)
        _run([*compiler, *FLAGS, "-o", str(made), *map(str, sorted(_SOURCES.glob("*.c")))])
        made.replace(path)


def _key(compiler: list[str]) -> str:
    """What the compiled library depends on, as a name."""
    version = _run([*compiler, "--version"])
    source = [path.read_bytes() for path in sorted(_SOURCES.glob("*.[ch]"))]
    parts = (*source, version, " ".join(FLAGS).encode(), _processor())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> bytes:
    """What `-march=native` looks at; folders may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    names = (b"model name", b"flags", b"Features")
    return b"\n".join(dict.fromkeys(line for line in lines if line.startswith(names)))


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
    return done.stdout
