"""What safety costs in a steady epoch: `python benchmarks/saving.py DATA [--size 512]`.

Trains specs/apparel.yaml on a folder of photographs, and reports the share of an epoch that goes
into the state and the files made from it, into looking for numbers that are not finite, and into
asking whether to stop. The parts are timed where they are called, in the run itself.

Writes benchmarks/results/saving.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

import shapecalc
from shapecalc.training.record import Record
from shapecalc.training.reporter import Reporter
from shapecalc.training.stop import Stop
from shapecalc.training.watch import Watch

ROOT = Path(__file__).parent.parent
PARTS = {
    "saving": (Record, ("save_step", "save_epoch")),
    "watching for NaN": (Watch, ("note", "check")),
    "asking for a stop": (Stop, ("check",)),
}
EPOCHS = 4


class Epochs(Reporter):
    """Notes for each epoch its time and that of each part."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.rows: list[dict[str, float]] = []
        self._since = 0.0

    def begin(self, task: str, total: int) -> None:
        if task.startswith("epoch"):
            now = time.perf_counter()
            if self._since:
                self.rows.append({"epoch": now - self._since, **self.spent})
            self.spent = dict.fromkeys(PARTS, 0.0)
            self._since = now


def timed(work: Callable[..., Any], part: str, epochs: Epochs) -> Callable[..., Any]:
    @wraps(work)
    def measured(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            epochs.spent[part] += time.perf_counter() - started

    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description="Time what safety costs in a steady epoch.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    epochs = Epochs()
    for part, (owner, names) in PARTS.items():
        for name in names:
            setattr(owner, name, timed(getattr(owner, name), part, epochs))
    settings = {
        "input": f"[3, {given.size}, {given.size}]",
        "train.data": json.dumps({"folder": str(given.data.absolute())}),
        "train.epochs": str(EPOCHS + 1),
        "train.save_every": "5min",
    }
    spec = shapecalc.load(ROOT / "specs/apparel.yaml", overrides=settings)
    with tempfile.TemporaryDirectory() as folder:
        shapecalc.train(spec, out=folder, reporter=epochs)
    steady = epochs.rows[1:]
    medians = {key: statistics.median(row[key] for row in steady) for key in steady[0]}
    shares = {part: round(medians[part] / medians["epoch"], 5) for part in PARTS}
    result = {
        "spec": "specs/apparel.yaml",
        "size": given.size,
        "steady_epochs": len(steady),
        "epoch_seconds": round(medians["epoch"], 2),
        "share_of_an_epoch": shares,
        "together": round(sum(shares.values()), 5),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    text = json.dumps(result, indent=2) + "\n"
    (ROOT / "benchmarks/results/saving.json").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
