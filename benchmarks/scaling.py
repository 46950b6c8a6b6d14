"""How time grows: of `show` and of tracing with the layers, of training with pictures and batches,
and of `predict` beside decoding alone.

    python benchmarks/scaling.py DATA

DATA has train/CLASS and valid/CLASS. Trains benchmarks/specs/photo64.yaml. Needs the machine for
itself. Writes benchmarks/results/scaling.json and .svg.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from photographs import share
from show import machine

import shapecalc
from shapecalc.training.decoders import in_order
from shapecalc.training.images import read_image
from shapecalc.training.reporter import Reporter

HERE = Path(__file__).parent
LAYERS = (10, 100, 1_000, 10_000)
IMAGES = (256, 512, 1024, 2048, 3068)
BATCHES = (8, 16, 32, 64, 128, 256)
EPOCHS = 4
PHOTOGRAPHS = 1_000


class Rates(Reporter):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self.seconds.append(metrics["seconds"])


def showing(count: int, folder: Path) -> dict[str, float]:
    """Seconds of `shapecalc show` as a process, and of tracing."""
    layers = "\n".join(
        f"  - conv: {{out_channels: {8 + n % 8}, kernel_size: 1}}" for n in range(count)
    )
    path = folder / "many.yaml"
    path.write_text(f"input: [3, 32, 32]\nmax_layers: 20000\nlayers:\n{layers}\n")
    command = [sys.executable, "-m", "shapecalc", "show", str(path)]
    process, traced = [], []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        process.append(time.perf_counter() - started)
        spec = shapecalc.load(path)
        started = time.perf_counter()
        shapecalc.trace(spec)
        traced.append(time.perf_counter() - started)
    return {
        "show_s": round(statistics.median(process), 3),
        "trace_s": round(statistics.median(traced), 5),
    }


def training(data: Path, images: int, batch: int) -> float:
    """Images a second in a steady epoch."""
    with tempfile.TemporaryDirectory() as folder:
        share(data, Path(folder, "data"), train=images, valid=20)
        settings = {
            "train.data": json.dumps({"folder": f"{folder}/data"}),
            "train.batch_size": str(batch),
            "train.epochs": str(EPOCHS),
        }
        rates = Rates()
        spec = shapecalc.load(HERE / "specs/photo64.yaml", settings)
        shapecalc.train(spec, out=Path(folder, "run"), device="cpu", reporter=rates)
    return round(images / statistics.median(rates.seconds[1:]), 1)


def predicting(data: Path, spec: Path, settings: dict[str, str], folder: Path) -> dict[str, float]:
    """Seconds for 1,000 photographs: decoded alone, by as many threads, and predicted."""
    files = [str(path) for path in sorted((data / "train").rglob("*.jpg"))[:PHOTOGRAPHS]]
    share(data, folder / "data", train=20, valid=20)
    given = {**settings, "train.data": f"{{folder: {folder}/data}}", "train.epochs": "1"}
    run = shapecalc.train(shapecalc.load(spec, given), out=folder / "run", device="cpu")
    size = run.input_shape[1:]
    threads = os.cpu_count() or 1

    def decoded() -> None:
        for _ in in_order(
            lambda f: read_image(f, channels=3, size=size, resize="squish"), files, threads
        ):
            pass

    found: dict[str, list[float]] = {"decoding_s": [], "predict_s": []}
    for _ in range(3):
        for name, work in (("decoding_s", decoded), ("predict_s", lambda: run.predict(files))):
            started = time.perf_counter()
            work()
            found[name].append(time.perf_counter() - started)
    return {name: round(statistics.median(seconds), 2) for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data.resolve()
    told: dict[str, Any] = {
        **machine(),
        "layers": {},
        "images": {},
        "batches": {},
        "predict_1000": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for count in LAYERS:
            told["layers"][count] = showing(count, Path(folder))
        for name, spec, settings in (
            ("photo64", HERE / "specs/photo64.yaml", {}),
            ("apparel at 512", HERE.parent / "specs/apparel.yaml", {"params.classes": "10"}),
        ):
            place = Path(folder, name.split()[0])
            told["predict_1000"][name] = predicting(data, spec, settings, place)
    for images in IMAGES:
        told["images"][images] = training(data, images, 64)
    for batch in BATCHES:
        told["batches"][batch] = training(data, 1024, batch)
    (HERE / "results/scaling.json").write_text(json.dumps(told, indent=2) + "\n")
    draw(told)
    print(json.dumps(told, indent=2))


def draw(told: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    layers = told["layers"]
    axes[0].plot(
        list(layers), [v["show_s"] for v in layers.values()], "o-", label="show, a process"
    )
    axes[0].plot(list(layers), [v["trace_s"] for v in layers.values()], "o-", label="tracing")
    axes[0].set(xscale="log", yscale="log", xlabel="layers", ylabel="seconds")
    axes[0].legend(frameon=False)
    for axis, key, label in ((axes[1], "images", "pictures"), (axes[2], "batches", "batch size")):
        axis.plot(list(told[key]), list(told[key].values()), "o-")
        axis.set(xscale="log", xlabel=label, ylabel="images per second")
        axis.set_ylim(0, 1.1 * max(told[key].values()))
        axis.set_xticks(list(told[key]), [f"{number:,}" for number in told[key]], minor=False)
        axis.minorticks_off()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "results/scaling.svg")


if __name__ == "__main__":
    main()
