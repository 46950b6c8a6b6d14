"""Training side by side: shapecalc, the loop of most tutorials, Lightning, fastai and Keras 3.

    python benchmarks/training.py DATA [--rounds 2] [--job photo64] [--quick]

DATA has train/CLASS and valid/CLASS. All start from the same weights and take the same pictures in
the same order, with the same batch and optimizer; before anything is timed the first 20 losses in
fp32 are compared, on pictures that nobody has to resize. Each entrant is a process of its own; they
run in turn. After each epoch what the processor reaches in a matrix product is measured: on a
machine that is shared it can be half of what it was a minute ago.

Writes benchmarks/results/training.json, .md and .svg.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from photographs import share
from safetensors.torch import save_file
from show import machine
from torch.utils.flop_counter import FlopCounterMode
from torchvision.io import write_png
from torchvision.transforms.v2.functional import resize

import shapecalc
from shapecalc.language.recipe import FolderData
from shapecalc.training.data import find_data
from shapecalc.training.images import read_image
from shapecalc.training.loader import Loader
from shapecalc.training.reporter import Reporter
from shapecalc.training.start import start_weights

HERE = Path(__file__).parent
RESULTS = HERE / "results"
sys.path.append(str(HERE / "peers"))
from task import Task  # noqa: E402


class Entrant(NamedTuple):
    program: str
    tuned: bool
    ours: bool = False


OURS, PLAIN = "shapecalc", "shapecalc, rewrites=[]"
ARTICLE = "the article's loop"
ENTRANTS = {
    OURS: Entrant("ours.py", True, ours=True),
    PLAIN: Entrant("ours.py", False, ours=True),
    ARTICLE: Entrant("article.py", False),
    "Lightning": Entrant("lightning_trainer.py", False),
    "Lightning, tuned": Entrant("lightning_trainer.py", True),
    "fastai": Entrant("fastai_learner.py", False),
    "fastai, tuned": Entrant("fastai_learner.py", True),
    "Keras 3": Entrant("keras_fit.py", False),
    "Keras 3, tuned": Entrant("keras_fit.py", True),
}
AGREE = 1e-4
"""How far the first losses may be apart."""
LR = 2e-6
"""The rate of those. With 1e-3 the sign of gradients that are nothing but rounding is enough for
adamw to set even channels_last apart from the same in NCHW by a tenth."""


class Job(NamedTuple):
    spec: Path
    size: int
    batch: int
    images: int
    """In an epoch."""
    epochs: int
    slow: int
    """Epochs of those that come untuned."""


JOBS = {
    "apparel at 512": Job(HERE.parent / "specs/apparel.yaml", 512, 16, 128, 6, 2),
    "photo64": Job(HERE / "specs/photo64.yaml", 64, 64, 1024, 6, 4),
}


@dataclass
class Outcome:
    """What one process told, and what was seen of it."""

    seconds: list[float]
    losses: list[float]
    first_step: float
    first_epoch: float
    products: list[float]
    """GFLOP/s of a product in bf16, after each epoch."""
    version: str
    peak: int
    """Bytes of the process and its workers, shared pages counted once."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--job", choices=JOBS, help="this one anew, the other as it was written")
    parser.add_argument("--quick", action="store_true", help="two batches, to see that all runs")
    given = parser.parse_args()
    told: dict[str, Any] = {**machine(), "jobs": {}}
    if given.job:
        told["jobs"] = json.loads((RESULTS / "training.json").read_text())["jobs"]
    for name, job in JOBS.items():
        if given.job not in (None, name):
            continue
        if given.quick:
            job = job._replace(images=2 * job.batch, epochs=2, slow=2)
        with tempfile.TemporaryDirectory() as folder:
            told["jobs"][name] = run(name, job, given.data.resolve(), given.rounds, Path(folder))
    if given.quick:
        print(json.dumps(told, indent=2))
        return
    (RESULTS / "training.json").write_text(json.dumps(told, indent=2) + "\n")
    (RESULTS / "training.md").write_text(table(told))
    draw(told)
    print(table(told))


def run(name: str, job: Job, data: Path, rounds: int, folder: Path) -> dict[str, Any]:
    task = prepared(job, data, folder)
    apart = compare(task, job, folder)
    outcomes: dict[str, list[Outcome]] = {entrant: [] for entrant in ENTRANTS}
    for number in range(rounds):
        for entrant, (program, tuned, ours) in ENTRANTS.items():
            epochs = job.epochs if tuned or ours else job.slow
            outcome = entered(replace(task, tuned=tuned, epochs=epochs), program)
            outcomes[entrant].append(outcome)
            rate = job.images / statistics.median(outcome.seconds[1:])
            print(f"{name}, round {number + 1}: {entrant}: {rate:.1f} images/s", flush=True)
    gflop = flops(job) / 1e9
    products = [p for found in outcomes.values() for outcome in found for p in outcome.products]
    return {
        **{key: value for key, value in job._asdict().items() if key != "spec"},
        "rounds": rounds,
        "losses_apart": apart,
        "gflop_per_image": round(gflop, 3),
        "bf16_product_gflops": {
            "median": round(statistics.median(products)),
            "least": round(min(products)),
            "most": round(max(products)),
        },
        "entrants": {entrant: figures(job, gflop, found) for entrant, found in outcomes.items()},
    }


def figures(job: Job, gflop: float, found: list[Outcome]) -> dict[str, Any]:
    """Of steady epochs. `of_product` is what an epoch does to what the processor could have done in
    that time, as it was measured before and after."""
    steady = [job.images / seconds for outcome in found for seconds in outcome.seconds[1:]]
    around = [fmean(pair) for outcome in found for pair in pairwise(outcome.products)]
    of = [rate * gflop / product for rate, product in zip(steady, around, strict=True)]
    return {
        "version": found[0].version,
        "images_per_second": round(statistics.median(steady), 2),
        "least": round(min(steady), 2),
        "most": round(max(steady), 2),
        "of_product": round(statistics.median(of), 3),
        "first_step_s": round(statistics.median(o.first_step for o in found), 2),
        "first_epoch_s": round(statistics.median(o.first_epoch for o in found), 2),
        "peak_mib": round(statistics.median(o.peak for o in found) / 2**20),
    }


def prepared(job: Job, data: Path, folder: Path) -> Task:
    """A share of the pictures, as links; the weights; and the order of our first epoch."""
    classes = share(data, folder / "data", train=job.images, valid=2 * job.batch)
    spec = shapecalc.load(job.spec, {"params.classes": str(classes)})
    (folder / "spec.yaml").write_text(spec.to_yaml())
    torch.manual_seed(0)
    model = shapecalc.build(spec)
    start_weights(model, spec.recipe().init, Reporter())
    save_file(model.state_dict(), folder / "weights.safetensors")
    return Task(
        spec=str(folder / "spec.yaml"),
        data=str(folder / "data"),
        files=order(spec, folder / "data", job.batch),
        weights=str(folder / "weights.safetensors"),
        size=job.size,
        batch=job.batch,
        epochs=job.epochs,
        lr=1e-3,
        tuned=True,
        exact=False,
        result=str(folder / "result.json"),
    )


def order(spec: Any, folder: Path, batch: int) -> list[str]:
    """The training pictures as the first epoch of `shapecalc train` takes them."""
    settings = FolderData(folder=str(folder))
    data = find_data(settings, input_shape=spec.input_shape(), resize="squish", seed=0)
    with Loader(data.train, batch_size=batch, seed=0, shuffle=True) as loader:
        positions = [p for number in range(len(loader)) for p in loader.positions(1, number)]
    return [data.train.files[position] for position in positions]


def compare(task: Task, job: Job, folder: Path) -> dict[str, float]:
    """The greatest relative difference of the first 20 losses to those of the article's loop.

    In batches of 4, of pictures that are as large as the input already.
    """
    small = folder / "small"
    count = {"train": 80, "valid": 10}
    for split, most in count.items():
        by_class = [sorted(kind.iterdir()) for kind in sorted(Path(task.data, split).iterdir())]
        for files in by_class:
            for file in files[: most // len(by_class)]:
                target = small / split / file.parent.name / f"{file.stem}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                size = (job.size, job.size)
                pixels = read_image(file, channels=3, size=(512, 512), resize="squish")
                pixels = resize(pixels, list(size))
                write_png(pixels, str(target))
    spec = shapecalc.load(task.spec)
    exact = replace(
        task, data=str(small), files=order(spec, small, 4), batch=4, epochs=1, lr=LR, exact=True
    )
    losses = {
        name: entered(replace(exact, tuned=tuned), program).losses[:20]
        for name, (program, tuned, _) in ENTRANTS.items()
    }
    apart = {
        name: max(abs(a - b) / abs(b) for a, b in zip(own, losses[ARTICLE], strict=True))
        for name, own in losses.items()
    }
    for name, difference in apart.items():
        print(f"the first 20 losses of {name} are within {difference:.1e}", flush=True)
    if too_far := [name for name, difference in apart.items() if difference > AGREE]:
        sys.exit(f"{', '.join(too_far)} learn something else: {losses}")
    return {name: float(f"{difference:.1e}") for name, difference in apart.items()}


def entered(task: Task, program: str) -> Outcome:
    Path(task.result).unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "peers" / program), json.dumps(asdict(task))]
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile("w+") as said:
        kept = os.environ.get("SHAPECALC_CACHE") or str(Path.home() / ".cache/shapecalc")
        if (native := Path(kept, "native")).exists():  # compiled once for all, as for a user
            shutil.copytree(native, Path(cache, "native"))
        started = time.time()
        environment = {**os.environ, "SHAPECALC_CACHE": cache}
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env=environment, cwd=Path(task.result).parent
        )
        peak = Peak(process.pid)
        if process.wait():
            said.seek(0)
            sys.exit(f"{program} failed:\n{said.read()[-3000:]}")
    told = json.loads(Path(task.result).read_text())
    for moment in ("first_step", "first_epoch"):
        told[moment] -= started
    return Outcome(**told, peak=peak.bytes)


class Peak(threading.Thread):
    """Looks twice a second how much memory a process and those below it take."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.bytes = pid, 0
        self.start()

    def run(self) -> None:
        while Path(f"/proc/{self.pid}").exists():
            self.bytes = max(self.bytes, sum(map(resident, family(self.pid))))
            time.sleep(0.5)


def family(pid: int) -> list[int]:
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in below for member in family(int(child)))]


def resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def flops(job: Job) -> float:
    """Of a training step with one image, the network as it is written."""
    model = shapecalc.build(shapecalc.load(job.spec))
    x = torch.zeros(1, 3, job.size, job.size)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return float(counter.get_total_flops())


def table(told: dict[str, Any]) -> str:
    lines = [
        "# Training side by side",
        "",
        f"{told['cpu']}; torch {told['torch']}, Python {told['python']}. Made by",
        "`make bench DATA=folder`; the same weights, order, batch and optimizer for all.",
    ]
    for name, job in told["jobs"].items():
        entrants, ceiling = job["entrants"], job["bf16_product_gflops"]
        best = max(v["images_per_second"] for k, v in entrants.items() if not k.startswith(OURS))
        lines += [
            "",
            f"## {name}",
            "",
            f"{job['rounds']} rounds in batches of {job['batch']}, {job['images']} pictures an "
            f"epoch, {job['gflop_per_image']} GFLOP a picture. A 2048-square product in bf16, "
            f"after each epoch of each: {ceiling['median']} GFLOP/s, {ceiling['least']} to "
            f"{ceiling['most']}.",
            "",
            "| | images/s | least to most | times the article's | of bf16 product "
            "| first step | first epoch | peak memory | first 20 losses within |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        base = entrants[ARTICLE]["images_per_second"]
        for entrant, v in entrants.items():
            rate = v["images_per_second"]
            lines.append(
                f"| {entrant} {'' if entrant == ARTICLE else v['version']} | {rate:.1f} "
                f"| {v['least']:.1f} to {v['most']:.1f} | {rate / base:.1f} "
                f"| {v['of_product']:.0%} | {v['first_step_s']:.1f} s | {v['first_epoch_s']:.1f} s "
                f"| {v['peak_mib']:,} MiB | {job['losses_apart'][entrant]:.0e} |"
            )
        ratio = entrants[OURS]["images_per_second"] / best
        lines += ["", f"shapecalc is {ratio:.2f} times the best of the others."]
    return "\n".join(lines) + "\n"


def draw(told: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, len(told["jobs"]), figsize=(11, 3.6), layout="constrained")
    for axis, (name, job) in zip(axes, told["jobs"].items(), strict=True):
        names = list(job["entrants"])[::-1]
        rates = [job["entrants"][entrant]["images_per_second"] for entrant in names]
        colours = ["tab:blue" if entrant.startswith(OURS) else "tab:gray" for entrant in names]
        bars = axis.barh(names, rates, color=colours)
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.set(title=name, xlabel="images per second")
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "training.svg")


if __name__ == "__main__":
    main()
