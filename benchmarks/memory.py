"""What autograd keeps of torchvision's 68 convolutional classifiers: counted, and by torch itself.

Makes each as the builder does, in train mode and fp32 with a batch of 2, and compares the bytes
that torch.autograd.graph.saved_tensors_hooks sees, each storage once, without parameters and batch:
at the network's own size on the meta device, where nothing is computed, and at 96 pixels on the
CPU, where it is. The peaks of inference and of a training step with AdamW are compared at the
network's own size on the meta device, by every storage that torch makes and frees. Writes
benchmarks/results/memory.md, and exits with 1 where what is kept differs by more than 5 %. Names as
arguments take those alone and write nothing.
"""

import platform
import sys
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from tensors import inference_peak, kept, training_peak  # noqa: E402
from zoo import specs  # noqa: E402

from shapecalc import load, trace  # noqa: E402
from shapecalc.analysis.memory import memory  # noqa: E402

BATCH, PIXELS, TOLERANCE = 2, 96, 0.05
_HEAD = """# Memory of torchvision's convolutional classifiers, counted before they are built

`python benchmarks/memory.py`, with torch {torch} and Python {python};
fp32, batch {batch}. MiB that autograd keeps for the backward pass as counted from the spec and as
torch's saved-tensor hooks see them, and their ratio, at the network's size (on the meta device) and
at {pixels} pixels (on the CPU); then the counted peak of inference and of a training step with
AdamW, and their ratios to the most bytes that torch has allocated at once (on the meta device, the
optimizer's step taken as fused).

| network | input | kept | by torch | ratio | on the CPU | inference | ratio | training | ratio |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def row(name: str) -> tuple[str, list[float]]:
    """A line of the table, and its ratios."""
    spec = load(specs()[name])
    traced, small = trace(spec), trace(spec.with_input((3, PIXELS, PIXELS)))
    counted = memory(traced)
    torch.manual_seed(0)
    pairs = (
        (counted.saved.of(BATCH), kept(traced, BATCH, "meta")),
        (memory(small).saved.of(BATCH), kept(small, BATCH)),
        (counted.peak(BATCH, training=False), inference_peak(traced, BATCH)),
        (counted.peak(BATCH), training_peak(traced, BATCH)),
    )
    ratios = [ours / theirs for ours, theirs in pairs]
    saved, on_cpu, inference, training = (f"{ratio:.4f}" for ratio in ratios)
    cells = [name, "x".join(map(str, traced.input_shape))]
    cells += [*map(mebibytes, pairs[0]), saved, on_cpu]
    cells += [mebibytes(pairs[2][0]), inference, mebibytes(pairs[3][0]), training]
    return f"| {' | '.join(cells)} |", ratios


def mebibytes(size: int) -> str:
    return f"{size / 2**20:,.2f}"


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(specs())
    rows, failed = [], []
    found: list[list[float]] = []
    for name in names:
        text, ratios = row(name)
        rows.append(text)
        found.append(ratios)
        failed += [name] if max(abs(r - 1) for r in ratios[:2]) > TOLERANCE else []
        print(text, flush=True)
    worst = [max((r[n] for r in found), key=lambda ratio: abs(ratio - 1)) for n in range(4)]
    summary = (
        f"{len(rows) - len(failed)} of {len(rows)} within {TOLERANCE:.0%}. Worst ratios: "
        f"kept {worst[0]:.4f}, on the CPU {worst[1]:.4f}, "
        f"inference {worst[2]:.4f}, training {worst[3]:.4f}."
    )
    print(summary)
    if not sys.argv[1:]:
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        text = (
            _HEAD.format(**versions, batch=BATCH, pixels=PIXELS)
            + "\n".join(rows)
            + f"\n\n{summary}\n"
        )
        (ROOT / "benchmarks/results/memory.md").write_text(text)
    if failed:
        sys.exit(f"these differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
