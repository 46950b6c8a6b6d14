"""Where the time of a steady epoch goes: `python benchmarks/profile_epoch.py DATA [--images 192]`.

Trains specs/apparel.yaml on a folder of photographs as `shapecalc train` does, and has torch's
profiler watch the second epoch. Writes benchmarks/results/profile.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from photographs import share
from show import cpu
from torch.profiler import ProfilerActivity, profile

import shapecalc
from shapecalc.training.reporter import Reporter

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks/peers"))
from task import product  # noqa: E402

ROWS = 24
LEFT = {
    "convolution": "is left to oneDNN, which is near what the processor reaches in a product",
    "_Stem": "is our kernel for the first convolution and its pool: half of it goes into laying "
    "out pixels and gradients for the matrix unit",
    "_BytePool": "is our kernel for the other pools: backward writes a number for each input",
    "flip|copy_": "turns half of the pictures over, as the seed of each says",
    "index_select": "gathers a batch from memory",
    "_fused_adamw_": "is a step of the optimizer",
}
"""What is left of an epoch, by a part of an operation's name, and why."""


class Watched(Reporter):
    """Runs the profiler from the beginning of the second epoch to its validation."""

    def __init__(self) -> None:
        self.profiler: Any = None
        self.seconds = 0.0
        self.notes: list[str] = []
        self._began = 0.0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, task: str, total: int) -> None:
        if task.startswith("epoch 2/"):
            self.profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
            self.profiler.__enter__()
            self._began = time.perf_counter()
        elif self._began and not self.seconds:
            self.seconds = time.perf_counter() - self._began
            self.profiler.__exit__(None, None, None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=192)
    given = parser.parse_args()
    watched = Watched()
    with tempfile.TemporaryDirectory() as folder:
        classes = share(given.data.resolve(), Path(folder, "data"), train=given.images, valid=40)
        settings = {
            "params.classes": str(classes),
            "train.data": f"{{folder: {folder}/data}}",
            "train.epochs": "2",
        }
        spec = shapecalc.load(ROOT / "specs/apparel.yaml", settings)
        shapecalc.train(spec, out=Path(folder, "run"), device="cpu", reporter=watched)
    text = table(watched, given.images, spec.recipe().batch_size)
    (ROOT / "benchmarks/results/profile.md").write_text(text)
    print(text)


def table(watched: Watched, images: int, batch: int) -> str:
    found = watched.profiler.key_averages(group_by_input_shape=True)
    spent = sorted(found, key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in spent)
    lines = [
        "# A steady epoch of the apparel network at 512 pixels",
        "",
        f"{cpu()}, {os.cpu_count()} cores, torch {torch.__version__}, Python "
        f"{platform.python_version()}. {images} pictures in batches of {batch}: "
        f"{watched.seconds:.2f} s under the profiler; a 2048-square product in bf16 "
        f"reaches {product(torch.bfloat16):.0f} GFLOP/s right after it. Made by",
        "`python benchmarks/profile_epoch.py DATA`.",
        "",
        *watched.notes,
        "",
        "| share | ms a batch | operation | shapes |",
        "|---:|---:|---|---|",
    ]
    steps = -(-images // batch)
    for event in spent[:ROWS]:
        shapes = " ".join("x".join(map(str, s)) for s in event.input_shapes if s)
        ms = event.self_cpu_time_total / 1000 / steps
        lines.append(
            f"| {event.self_cpu_time_total / total:.1%} | {ms:.1f} | {event.key} | {shapes} |"
        )
    rest = 1 - sum(event.self_cpu_time_total for event in spent[:ROWS]) / total
    lines.append(f"| {rest:.1%} | | {len(spent) - ROWS} others | |")
    lines += ["", "What is left, and why:", ""]
    for names, why in LEFT.items():
        own = [e for e in spent if any(name in e.key for name in names.split("|"))]
        part = sum(event.self_cpu_time_total for event in own) / total
        lines.append(f"- {part:.1%} {names.replace('|', ', ')} {why}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
