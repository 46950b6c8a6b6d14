"""Commands in several processes under torchrun, torch's own launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from training_fixtures import HEAD

import shapecalc

LAYERS = ("conv: {out_channels: 4, kernel_size: 3}", "batch_norm", "relu", "max_pool: 2",
          "flatten", "dropout: 0.3", HEAD)  # fmt: skip
"""What torchrun trains: batch statistics and chance are in it."""
SOURCE = Path(shapecalc.__file__).parent.parent


class Said(NamedTuple):
    code: int
    out: str
    err: str


def start(*words: object, at: Path, restarts: int = 0, ranks: int = 2) -> subprocess.Popen[str]:
    """`shapecalc WORDS` in so many processes; torchrun starts them anew so often."""
    settings = ["--nproc-per-node", str(ranks), "--max-restarts", str(restarts)]
    command = [sys.executable, "-m", "torch.distributed.run", *settings, "-m", "shapecalc"]
    return subprocess.Popen(
        [*command, *map(str, words)],
        cwd=at,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> Said:
    """What it said once it is over. Fails where that takes minutes."""
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(process.communicate()) from None
    return Said(process.returncode, out, err)


def process_of(rank: int, launcher: int) -> int:
    """The number of the process that is `rank` of a launcher's."""
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"\0RANK={rank}\0" in (folder / "environ").read_text():
                return int(folder.name)
        except (OSError, IndexError, ValueError):  # no process, or one that has just ended
            continue
    raise AssertionError(f"there is no rank {rank}")
