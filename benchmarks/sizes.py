"""Which sizes torchvision's 68 convolutional classifiers take, as `sizes` tells and as torch does.

For each network: every square of 32 to 300 pixels and a sample of oblongs, by torchvision's own
model, built once on the meta device, whose output shapes are compared too. The smallest square
that works and the one below are run for real on the CPU, as the meta device does not check
everything. Writes benchmarks/results/sizes.md, and exits with 1 where any of them differs. Names as
arguments take those alone and write nothing.
"""

import platform
import random
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from zoo import networks, specs, theirs  # noqa: E402

from shapecalc import Spec, SpecError, load, sizes, trace  # noqa: E402
from shapecalc.inputs import Shapes  # noqa: E402
from shapecalc.report.sizes import said  # noqa: E402

SQUARES = range(32, 301)
OBLONGS = 40
TRACED = 16
"""Of so many squares one is also traced in full."""

_HEAD = """# Input sizes of torchvision's convolutional classifiers

`python benchmarks/sizes.py`, with {versions}. What `shapecalc sizes` says,
beside torchvision's model on the meta device for every square of 32 to 300 pixels ({squares}) and
{oblongs} oblongs of 1 to 300: whether it is taken, and the shape that comes out. The smallest
square and the one below it were run for real on the CPU.

| network | works at, height and width | smallest | for real | squares taken | differ | oblongs taken | differ |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |
"""  # noqa: E501


class Found(NamedTuple):
    name: str
    rule: str
    smallest: int
    real: str
    squares: int
    oblongs: int
    wrong_squares: list[int]
    wrong_oblongs: list[tuple[int, int]]

    @property
    def agrees(self) -> bool:
        return self.real == "agrees" and not self.wrong_squares and not self.wrong_oblongs


def output(model: nn.Module, height: int, width: int, device: str) -> tuple[int, ...] | None:
    """The shape that comes out of torch's model; None where torch refuses the input."""
    try:
        with torch.inference_mode():
            return tuple(model(torch.empty(1, 3, height, width, device=device)).shape[1:])
    except (RuntimeError, ValueError):
        return None


class Remembered:
    """The forward of a layer on the meta device, which looks at shapes alone: of layers written
    alike, torch is asked once for each shape. Most of the time goes into the convolutions."""

    asked: dict[tuple[str, tuple[int, ...]], torch.Tensor | RuntimeError | ValueError] = {}  # noqa: RUF012

    def __init__(self, layer: nn.Module) -> None:
        self.forward, self.said = layer.forward, repr(layer)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        key = self.said, tuple(x.shape)
        if key not in self.asked:
            try:
                self.asked[key] = self.forward(x)
            except (RuntimeError, ValueError) as error:
                self.asked[key] = error
        found = self.asked[key]
        if isinstance(found, Exception):
            raise found
        return found


def remember(model: nn.Module) -> None:
    for layer in model.modules():
        if type(layer).__module__.startswith("torch.nn") and not list(layer.children()):
            layer.forward = Remembered(layer)


def traces(spec: Spec, height: int, width: int) -> tuple[int, ...] | None:
    try:
        return trace(spec.with_input((3, height, width))).output_shape
    except SpecError:
        return None


def compare(name: str) -> Found:
    spec = load(specs()[name])
    model = theirs(name, "meta")
    remember(model)
    told = sizes(spec)
    height, width = told.axes
    shapes = Shapes(spec, work=10**9)

    def ours(high: int, wide: int) -> tuple[int, ...] | None:
        answer = shapes.answer((3, high, wide))
        taken = high in height.works and wide in width.works
        assert taken == (answer is not None), (name, high, wide)
        return answer and answer.shape

    taken, wrong_squares = 0, []
    for size in SQUARES:
        expected = output(model, size, size, "meta")
        taken += expected is not None
        if ours(size, size) != expected:
            wrong_squares.append(size)
        if size % TRACED == 0:
            assert traces(spec, size, size) == ours(size, size), (name, size)
    chance = random.Random(name)
    reach = [max(1, told.smallest[0] - 8), 300]
    oblongs = [(chance.randint(*reach), chance.randint(*reach)) for _ in range(OBLONGS)]
    expected_oblongs = [output(model, *oblong, "meta") for oblong in oblongs]
    wrong_oblongs = [
        oblong
        for oblong, expected in zip(oblongs, expected_oblongs, strict=True)
        if ours(*oblong) != expected
    ]
    least = told.smallest[0]
    assert traces(spec, least, least) is not None
    assert least == 1 or traces(spec, least - 1, least - 1) is None
    real = theirs(name, "meta").to_empty(device="cpu")
    agrees = output(real, least, least, "cpu") == traces(spec, least, least)
    agrees &= least == 1 or output(real, least - 1, least - 1, "cpu") is None
    rules = dict.fromkeys(said(axis.works) for axis in told.axes)
    return Found(
        name,
        " / ".join(rules),
        least,
        "agrees" if agrees else "**differs**",
        taken,
        sum(expected is not None for expected in expected_oblongs),
        wrong_squares,
        wrong_oblongs,
    )


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows, failed = [], []
    for name in sys.argv[1:] or networks():
        started = time.process_time()
        found = compare(name)
        cells = (
            *(found.name, found.rule, found.smallest, found.real, found.squares),
            *(len(found.wrong_squares), found.oblongs, len(found.wrong_oblongs)),
        )
        rows.append(f"| {' | '.join(map(str, cells))} |")
        print(f"{time.process_time() - started:6.1f} s  {rows[-1]}", flush=True)
        if not found.agrees:
            failed.append(name)
            print(f"    squares {found.wrong_squares}, oblongs {found.wrong_oblongs}", flush=True)
    if not sys.argv[1:]:
        versions = f"torch {torch.__version__}, torchvision {torchvision.__version__} and Python "
        text = _HEAD.format(
            versions=versions + platform.python_version(), squares=len(SQUARES), oblongs=OBLONGS
        )
        text += "\n".join(rows) + f"\n\n{len(rows) - len(failed)} of {len(rows)} agree.\n"
        (ROOT / "benchmarks/results/sizes.md").write_text(text)
    if failed:
        sys.exit(f"these differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
