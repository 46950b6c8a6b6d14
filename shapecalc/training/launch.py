"""What torchrun, torch's launcher, tells each of the processes that it starts."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

LAUNCH = ".torchrun"
"""The file in a run's folder that names the launch that began it."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that train together."""

    rank: int = 0
    """Its number; the first one, 0, writes the run and tells of it."""
    world: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on its machine, and that of its GPU."""
    local_world: int = 1
    restarts: int = 0
    """How often all of them were started anew, because one had ended."""
    id: str = ""
    """The same after a restart, and of no other launch; "" for a process without a launcher."""


def launch() -> Launch:
    """Where torchrun has not started this process it is the only one."""
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        return Launch()
    id = os.environ.get("TORCHELASTIC_RUN_ID", "")
    if id == "none":  # older launchers call all launches so; the launcher outlives its processes
        id = f"process {os.getppid()} on {platform.node()}"
    return Launch(
        rank=int(os.environ["RANK"]),
        world=int(os.environ["WORLD_SIZE"]),
        local_rank=int(os.environ["LOCAL_RANK"]),
        local_world=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        id=id,
    )


def begun_by(launch: Launch, out: str | Path | None) -> Path | None:
    """The folder of the run that a launch has begun before it was restarted."""
    if not launch.restarts or not launch.id:
        return None
    marks = Path("runs").glob(f"*/{LAUNCH}") if out is None else [Path(out) / LAUNCH]
    return next((mark.parent for mark in marks if _read(mark) == launch.id), None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
