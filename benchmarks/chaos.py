"""Training killed at random moments: `python benchmarks/chaos.py [--ends 200] [--seed 7]`.

Each run is a process that is killed with SIGKILL, workers included, at a moment drawn evenly from
as long as the run takes; it is resumed, in a third of cases killed again, and at its end compared,
to the last bit, with a run that was let alone: weights, optimizer, schedule, averages, metrics, the
best checkpoint. More are run until 50 kills fell into a save and 50 into the middle of an epoch.

A full campaign writes benchmarks/results/chaos.md. Exits with 1 where an end differs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from random import Random

import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kills import SETTINGS, End, Kills  # noqa: E402

ENDS = 200
LEAST = 50
RESULT = ROOT / "benchmarks/results/chaos.md"


def campaign(count: int, seed: int, least: int) -> list[End]:
    ends: list[End] = []

    def more() -> bool:
        return len(ends) < count or min(_in_saves(ends), _in_epochs(ends)) < least

    def kill(number: int, folder: Path) -> None:
        random = Random(f"{seed} {number}")
        folder.mkdir()
        with closing(Kills(folder)) as kills:
            for name in cycle(random.sample(list(SETTINGS), len(SETTINGS))):
                if not more():
                    return
                end = kills.end(name, random)
                ends.append(end)
                print(
                    f"{len(ends)}: {_kills(ends)} kills, {_in_saves(ends)} in a save, "
                    f"{_in_epochs(ends)} in an epoch, {_differ(ends)} ends differ",
                    flush=True,
                )
                for fault in end.faults[:5]:
                    print(f"  {name}: {fault}", flush=True)

    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        cores = len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(cores) as pool:
            for done in [pool.submit(kill, n, Path(folder, str(n))) for n in range(cores)]:
                done.result()
    return ends


def _kills(ends: Sequence[End]) -> int:
    return sum(len(end.kills) for end in ends)


def _in_saves(ends: Sequence[End]) -> int:
    return sum(kill.in_save for end in ends for kill in end.kills)


def _in_epochs(ends: Sequence[End]) -> int:
    return sum(kill.in_epoch for end in ends for kill in end.kills)


def _differ(ends: Sequence[End]) -> int:
    return sum(bool(end.faults) for end in ends)


def table(ends: Sequence[End], seed: int, seconds: float) -> str:
    lines = [
        "# Training killed at random moments",
        "",
        f"`make chaos`, seed {seed}, {datetime.now(UTC):%Y-%m-%d}: {len(ends)} runs, "
        f"{_kills(ends)} kills, {_in_saves(ends)} of them inside a save and {_in_epochs(ends)} in "
        f"the middle of an epoch; {_differ(ends)} ends differ from a run that was let alone.",
        "",
        "| settings | runs | killed twice or more | kills | in a save | in an epoch | differ |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in Counter(end.name for end in ends):
        of = [end for end in ends if end.name == name]
        again = sum(len(end.kills) > 1 for end in of)
        cells = (len(of), again, _kills(of), _in_saves(of), _in_epochs(of), _differ(of))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"{len(os.sched_getaffinity(0))} cores, {seconds / 60:.0f} minutes.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill training at random and compare its ends.")
    parser.add_argument("--ends", type=int, default=ENDS)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    started = time.monotonic()
    ends = campaign(given.ends, given.seed, LEAST if given.ends >= ENDS else 0)
    text = table(ends, given.seed, time.monotonic() - started)
    print(text)
    if given.ends >= ENDS:
        RESULT.write_text(text)
    return 1 if _differ(ends) else 0


if __name__ == "__main__":
    sys.exit(main())
