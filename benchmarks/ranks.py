"""Processes under torchrun killed at random: `python benchmarks/ranks.py [--runs 20]`.

Two processes train together; one of them is killed with SIGKILL at a moment drawn evenly from the
time between the first saved state and the end, torchrun starts them anew, and the end is compared,
to the last bit, with a training that was let alone. With `--early` the moment is drawn from the
start on, where most fall before the first state, as starting takes longest.

A full campaign writes benchmarks/results/ranks.md. Exits with 1 where an end differs.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from torchrun import LAYERS, ended, process_of, start  # noqa: E402
from training_fixtures import photographs, same_run, text  # noqa: E402

RUNS = 20


def until_saved(run: Path, process: subprocess.Popen[str]) -> None:
    while not (run / "state.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill processes of a training under torchrun.")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--early", action="store_true", help="from the start on; writes nothing")
    given = parser.parse_args()
    random = Random(given.seed)
    rows: list[str] = []
    differ = 0
    with tempfile.TemporaryDirectory(prefix="ranks") as folder:
        root = Path(folder)
        data = photographs(root / "data", splits={"train": 7, "valid": 3})
        (root / "spec.yaml").write_text(
            text(data, layers=LAYERS, batch_size=8, epochs=40, ema=0.9, save_every=1)
        )
        whole = start("train", "spec.yaml", "--out", "whole", at=root)
        if not given.early:
            until_saved(root / "whole", whole)
        started = time.monotonic()
        assert ended(whole).code == 0
        takes = time.monotonic() - started
        while len(rows) < given.runs:
            name, rank = f"run{len(rows)}", random.randrange(2)
            process = start("train", "spec.yaml", "--out", name, at=root, restarts=1)
            if not given.early:
                until_saved(root / name, process)
            after = random.random() * takes
            time.sleep(after)
            try:
                os.kill(process_of(rank, process.pid), signal.SIGKILL)
            except (AssertionError, ProcessLookupError):  # not started yet, or over
                ended(process)
                if (root / name).exists():
                    (root / name).rename(root / f"unharmed{time.monotonic_ns()}")
                continue
            said = ended(process)
            equal = said.code == 0 and same_run(root / "whole", root / name)
            differ += not equal
            went_on = "from the start"
            if "going on with" in said.err:
                went_on = "from its last state"
            elif "is finished" in said.err:
                went_on = "all epochs were done"
            rows.append(f"| {rank} | {after:.1f} | {went_on} | {'yes' if equal else 'NO'} |")
            print(rows[-1], "" if equal else said, flush=True)
    lines = [
        "# Processes of a training under torchrun, killed",
        "",
        f"`python benchmarks/ranks.py`, seed {given.seed}, {datetime.now(UTC):%Y-%m-%d}: "
        f"{len(rows)} trainings of two processes with gloo, each of {takes:.1f} s from its first "
        f"saved state on; {differ} ends differ from that of a training let alone.",
        "",
        "| killed process | after seconds | went on | equal to the last bit |",
        "|---:|---:|---|---|",
        *rows,
        "",
        f"Python {platform.python_version()}, torch {torch.__version__}.",
    ]
    if given.runs >= RUNS and not given.early:
        (ROOT / "benchmarks/results/ranks.md").write_text("\n".join(lines) + "\n")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
