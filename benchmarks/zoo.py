"""torchvision's 68 convolutional classifiers beside their specs: params, MACs and outputs.

Gives ours the weights of theirs and runs both on one image of the network's own size, in fp32 and
eval mode. Writes benchmarks/results/zoo.md, and exits with 1 where any of them differs. Names as
arguments take those alone and write nothing.
"""

import platform
import sys
import time
import warnings
from pathlib import Path

import torch
import torchvision

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from zoo import Comparison, compare, networks  # noqa: E402

_HEAD = """# torchvision's convolutional classifiers and their specs

`python benchmarks/zoo.py`, with {versions}. Params and multiply-accumulates
of both (theirs by FlopCounterMode, halved); the largest difference between their outputs for one
random image, with random weights copied over, and the largest output.

| network | spec | input | params | MACs | difference | largest output |
| --- | --- | --- | ---: | ---: | ---: | ---: |
"""


def row(found: Comparison) -> str:
    def both(pair: tuple[int, int]) -> str:
        ours, theirs = pair
        return f"{ours:,}" if ours == theirs else f"**{ours:,}, not {theirs:,}**"

    size = "x".join(map(str, found.input))
    cells = (found.name, f"`{found.spec}`", size, both(found.params), both(found.macs))
    return f"| {' | '.join(cells)} | {found.difference:.1e} | {found.scale:.2f} |"


def main() -> None:
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or networks()
    rows, failed = [], []
    for name in names:
        started = time.perf_counter()
        found = compare(name)
        rows.append(row(found))
        failed += [] if found.agrees else [name]
        print(f"{time.perf_counter() - started:6.1f} s  {rows[-1]}", flush=True)
    if not sys.argv[1:]:
        versions = f"torch {torch.__version__}, torchvision {torchvision.__version__} and Python "
        text = _HEAD.format(versions=versions + platform.python_version())
        text += "\n".join(rows) + f"\n\n{len(rows) - len(failed)} of {len(rows)} agree.\n"
        (ROOT / "benchmarks/results/zoo.md").write_text(text)
    if failed:
        sys.exit(f"these differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
