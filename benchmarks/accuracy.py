"""Whether speed costs accuracy: five seeds as `shapecalc train` computes, and five in fp32
without rewrites.

    python benchmarks/accuracy.py DATA [--seeds 5]

DATA has train/CLASS, valid/CLASS and test/CLASS. Trains specs/apparel.yaml at 192 pixels, its
smallest, on a third of the photographs, and benchmarks/specs/photo64.yaml on all of them. Writes
benchmarks/results/accuracy.json and .md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from photographs import share
from show import machine

import shapecalc

HERE = Path(__file__).parent
WAYS = {
    "as it comes": {},
    "fp32, rewrites=[]": {"train.precision": "fp32", "train.rewrites": "[]"},
}


class Job(NamedTuple):
    spec: Path
    images: int
    epochs: int
    settings: dict[str, str]


JOBS = {
    "apparel at 192": Job(HERE.parent / "specs/apparel.yaml", 1024, 6, {"input": "[3, 192, 192]"}),
    "photo64": Job(
        HERE / "specs/photo64.yaml",
        3068,
        8,
        {"train.optimizer": "{adamw: {lr: 1e-3}}", "train.batch_size": "64"},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    told: dict[str, Any] = {**machine(), "jobs": {}}
    for name, job in JOBS.items():
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "data")
            counts = {"train": job.images, "valid": 341, "test": 372}
            classes = share(given.data.resolve(), data, **counts)
            settings = {
                **job.settings,
                "params.classes": str(classes),
                "train.data": json.dumps({"folder": str(data)}),
                "train.epochs": str(job.epochs),
            }
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for seed in range(given.seeds):
                for way, more in WAYS.items():
                    spec = shapecalc.load(job.spec, {**settings, **more, "train.seed": str(seed)})
                    run = shapecalc.train(spec, out=Path(folder, f"{seed}{way[0]}"), device="cpu")
                    last = shapecalc.load_run(run.path.parent / "last.safetensors")
                    both = [last.evaluate(split=split)[0] for split in ("valid", "test")]
                    right = sum(e.accuracy * e.count for e in both)
                    found[way].append(round(right / sum(e.count for e in both), 4))
                    print(name, way, seed, found[way][-1], flush=True)
            told["jobs"][name] = {"images": job.images, "epochs": job.epochs, "accuracy": found}
    (HERE / "results/accuracy.json").write_text(json.dumps(told, indent=2) + "\n")
    (HERE / "results/accuracy.md").write_text(table(told))
    print(table(told))


def table(told: dict[str, Any]) -> str:
    lines = [
        "# Whether speed costs accuracy",
        "",
        f"{told['cpu']}, torch {told['torch']}. Made by `python benchmarks/accuracy.py DATA`:",
        "accuracy of the last weights on the 713 photographs of the validation and the test split.",
        "",
        "| network | computed | each seed | mean | standard deviation |",
        "|---|---|---|---:|---:|",
    ]
    for name, job in told["jobs"].items():
        means = []
        for way, accuracy in job["accuracy"].items():
            each = ", ".join(f"{share:.1%}" for share in accuracy)
            means.append(statistics.mean(accuracy))
            spread = statistics.stdev(accuracy)
            lines.append(f"| {name} | {way} | {each} | {means[-1]:.2%} | {spread:.2%} |")
        apart = [a - b for a, b in zip(*job["accuracy"].values(), strict=True)]
        error = statistics.stdev(apart) / len(apart) ** 0.5
        lines.append(
            f"| | the difference, seed by seed | | {statistics.mean(apart):+.2%} "
            f"| {error:.2%} (of the mean) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
