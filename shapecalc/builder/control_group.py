"""The control groups of Linux, by which a container or a job of a cluster is kept in bounds."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class _Names(NamedTuple):
    """What a control group calls its figures."""

    root: str
    limit: str
    used: str
    cache: tuple[str, ...]
    """Of what is used, the cached files that are not needed."""


_NEW = _Names(
    "sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file", "active_file")
)  # fmt: skip
_OLD = _Names(
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def memory_left(system: Path = Path("/")) -> int | None:
    """Bytes that the control groups of this process may still take; None where there is no limit.

    `system` is the root of the file system.
    """
    rooms = []
    with contextlib.suppress(OSError, ValueError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            names, group = _OLD if controllers else _NEW, PurePosixPath(path.lstrip("/"))
            for inner in (group, *group.parents):  # a limit of any of them holds
                with contextlib.suppress(OSError, ValueError):
                    rooms.append(_room(system / names.root / inner, names))
    return min(rooms, default=None)


def _room(group: Path, names: _Names) -> int:
    """Raises OSError and ValueError where a group has no limit."""
    limit = int((group / names.limit).read_text())
    used = int((group / names.used).read_text())
    lines = map(str.split, (group / "memory.stat").read_text().splitlines())
    figures = {name: int(value) for name, value in lines}
    return max(0, limit - used + sum(figures.get(name, 0) for name in names.cache))
