"""Training the apparel network at 512 pixels on a GPU: shapecalc, as it comes and without some of
what it does, and a loop of plain torch as its tuning guide has it.

    python benchmarks/training_cuda.py DATA [--batch 64] [--epochs 12]

DATA has train/CLASS and valid/CLASS. The loop decodes in workers, copies from pinned memory without
blocking, and computes in bf16 and channels_last with fused AdamW, compiled where it says so. The
medians leave out the first epochs, in which pictures are decoded, kernels chosen and graphs made.

Needs a CUDA device and nothing else running on it. Writes benchmarks/results/training_cuda.json.
With `--device cpu` it writes nothing, which is for trying it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from photographs import share
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import shapecalc
from shapecalc.training.reporter import Reporter

ROOT = Path(__file__).parent.parent
TARGET = 12_000
"""Images a second that the engine is to reach on an H200."""
OURS: dict[str, dict[str, str]] = {
    "shapecalc": {},
    "shapecalc, cuda_graphs=false": {"train.cuda_graphs": "false"},
    "shapecalc, rewrites=[]": {"train.rewrites": "[]"},
    "shapecalc, compile=true": {"train.compile": "true"},
}
FIRST = 3
"""Epochs that the medians leave out."""


class Epochs(Reporter):
    def __init__(self) -> None:
        self.rates: list[float] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self.rates.append(metrics["images_per_second"])


def ours(spec: Any, device: str) -> tuple[list[float], list[str]]:
    epochs = Epochs()
    with tempfile.TemporaryDirectory() as folder:
        shapecalc.train(spec, out=Path(folder, "run"), device=device, reporter=epochs)
    return epochs.rates, epochs.notes


def loop(spec: Any, data: Path, device: str, *, compiled: bool) -> Iterator[float]:
    """The images a second of each epoch."""
    recipe, size = spec.recipe(), spec.input_shape()[1:]
    pictures = ImageFolder(
        str(data / "train"), v2.Compose([v2.PILToTensor(), v2.Resize(size, antialias=True)])
    )
    loader = torch.utils.data.DataLoader(
        pictures,
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        pin_memory=device == "cuda",
        persistent_workers=True,
    )
    model: Any = shapecalc.build(spec).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    criterion = nn.CrossEntropyLoss()
    if compiled:
        model = torch.compile(model)
    for _ in range(recipe.epochs):
        started, seen = time.perf_counter(), 0
        for images, labels in loader:
            x = images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            truth = labels.to(device, non_blocking=True)
            with torch.autocast(device, torch.bfloat16):
                loss = criterion(model(x / 255), truth)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seen += len(labels)
        if device == "cuda":
            torch.cuda.synchronize()
        yield seen / (time.perf_counter() - started)


def ceiling(device: str, size: int = 8192) -> float:
    """TFLOP/s of a square product in bf16, the median of some."""
    size = size if device == "cuda" else 1024
    a, b = torch.rand(2, size, size, device=device).bfloat16()
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        float((a @ b)[0, 0])
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds) / 1e12


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=3068, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    cuda = given.device == "cuda"
    told: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "batch": given.batch,
        "images": given.images,
        "bf16_product_tflops": round(ceiling(given.device), 1),
        "images_per_second": {},
    }
    rates = told["images_per_second"]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        classes = share(
            given.data.resolve(), data, train=given.images, valid=max(20, 2 * given.batch)
        )
        settings = {
            "params.classes": str(classes),
            "train.data": json.dumps({"folder": str(data)}),
            "train.batch_size": str(given.batch),
            "train.epochs": str(given.epochs),
        }
        for name, more in OURS.items():
            found, notes = ours(
                shapecalc.load(ROOT / "specs/apparel.yaml", settings | more), given.device
            )
            rates[name] = round(statistics.median(found[FIRST:]), 1)
            print(name, rates[name], *notes, sep="\n  ", flush=True)
        spec = shapecalc.load(ROOT / "specs/apparel.yaml", settings)
        for name, compiled in {"torch, tuned": False, "torch, tuned and compiled": True}.items():
            found = [*loop(spec, data, given.device, compiled=compiled)]
            rates[name] = round(statistics.median(found[FIRST:]), 1)
            print(name, rates[name], flush=True)
    best = max(rate for name, rate in rates.items() if name not in OURS)
    told["times_the_best_loop"] = round(rates["shapecalc"] / best, 2)
    told["of_12000"] = round(rates["shapecalc"] / TARGET, 2)
    told["minutes_for_850_epochs"] = round(850 * given.images / rates["shapecalc"] / 60, 2)
    if cuda:
        path = ROOT / "benchmarks/results/training_cuda.json"
        path.write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
