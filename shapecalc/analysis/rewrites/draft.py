"""The steps of a network while they are rewritten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from shapecalc.analysis.composition import joined
from shapecalc.analysis.flow import Flow, Step, Value
from shapecalc.layers.base import Extra, Saved, Shape
from shapecalc.layers.conv import Conv
from shapecalc.layers.linear import Linear
from shapecalc.tracer import Row

CORE, AMX, GPU = 40, 160, 400
"""Operations in the time in which a number is moved to or from memory: of a core that does 90
GFLOP/s and moves 9 GB/s in fp32, or twice as much in bf16; of one that multiplies matrices of bf16
at 850 GFLOP/s; of a GPU that does 800 TFLOP/s and moves 4 TB/s."""


class Target(NamedTuple):
    """What a network is run on, as far as it counts for what pays."""

    moved: int = CORE
    """Operations in the time in which a number is moved."""
    gpu: bool = False
    kernels: bool = False
    """Whether the kernels in C are there."""
    tiles: bool = False
    """Whether those for a matrix unit are, and the run is in bf16."""


@dataclass(frozen=True)
class Found:
    """What takes the place of the last `count` steps."""

    count: int
    steps: tuple[Step, ...]
    place: str
    """Where, as it is told."""


class Draft:
    """The steps so far, and what is known of those to come."""

    def __init__(self, run: Flow, training: bool, batch: int, target: Target) -> None:
        self.training, self.batch, self.target = training, batch, target
        self.input, self.output = run.input, run.output
        self.pixels = False
        """Whether a map takes pixels as they are."""
        self.steps: list[Step] = []
        self._coming = run.steps
        self._reads = Counter(value for step in run.steps for value in step.inputs)
        self._reads[run.output] += 1

    def written(self, rewrite: Callable[[Draft], Found | None]) -> tuple[str, ...]:
        """Go through all steps, rewriting what a rule finds; the places where it did."""
        places: dict[str, None] = {}
        renamed: dict[Value, Value] = {}
        for step in self._coming:
            inputs = tuple(renamed.get(value, value) for value in step.inputs)
            self.steps.append(replace(step, inputs=inputs) if inputs != step.inputs else step)
            while found := rewrite(self):
                old, new = self.steps[-1].outputs[0], found.steps[-1].outputs[0]
                if old is not new:
                    renamed[old] = new
                    self._reads[new] = self._reads[old]
                del self.steps[-found.count :]
                self.steps += found.steps
                places[found.place] = None
        self.output = renamed.get(self.output, self.output)
        return tuple(places)

    def flow(self) -> Flow:
        """All steps; each tensor is let go behind the last one that reads it."""
        return Flow(tuple(self.steps), self.input, self.output, ())

    def chain(self, length: int) -> list[Step] | None:
        """The last so many steps, where each reads just what the one before it makes, and nothing
        else reads that."""
        steps = self.steps[-length:]
        if len(steps) < length:
            return None
        return steps if all(self.feeds(*pair) for pair in pairwise(steps)) else None

    def feeds(self, before: Step, after: Step) -> bool:
        """Whether a step reads just what another makes, and nothing else reads that."""
        return after.inputs == before.outputs and self.reads(before.outputs[0]) == 1

    def reads(self, value: Value) -> int:
        """How many steps read a tensor; the network's end counts as one."""
        return self._reads.get(value, 1)  # one that a rule has made goes to the next step


def is_linear(step: Step) -> bool:
    """Whether a step is a convolution or a linear layer, as it is or rewritten."""
    return step.does in ("layer", "map") and isinstance(step.row.layer, Conv | Linear)


def parts(step: Step) -> tuple[Row, ...]:
    """The layers that such a step is made of."""
    return step.rows or (step.row,)


def linear_map(
    row: Row, rows: tuple[Row, ...], x: Value, *, training: bool = True, pixels: bool = False
) -> Step:
    """A convolution or linear layer `row` that is made of others; of `pixels` it makes what they
    are when they are normalised."""
    anew = training and (len(rows) > 1 or pixels)
    made = weights(row) if anew else 0
    own = row.layer.saved(row.input_shape, row.output_shape)
    kept = [Extra(made, each=False)] if made and (row.kind == "conv" or x.gradient) else []
    kept += [Extra(_between(rows, pixels), 4, each=False)] if made else []
    saved = Saved(*own.extras, *kept, input=own.input)
    return Step(row, "map", (x,), (Value(row.output_shape, True),), saved, rows, made)


def _between(rows: tuple[Row, ...], pixels: bool) -> int:
    """Numbers that autograd keeps on the way to the weight and the bias of a map, but for those
    and for parameters: weights that others are made of, and sums of weights that biases meet."""
    so_far, *others = rows
    biased = pixels or has_bias(so_far)
    count = weights(so_far) + so_far.output_shape[0] if pixels and others else 0
    for number, row in enumerate(others, 1):
        if biased and row.kind == "conv":
            count += row.output_shape[0] * row.input_shape[0] // groups(row)
        both = joined(so_far, row)
        assert both is not None
        so_far, biased = both, biased or has_bias(row)
        count += weights(so_far) if number < len(others) else 0
    return count


def has_bias(row: Row) -> bool:
    return bool(getattr(row.layer, "bias", False))


def groups(row: Row) -> int:
    return int(getattr(row.layer, "groups", 1))


def weights(row: Row) -> int:
    """Numbers in the weight of a convolution or linear layer."""
    return row.params - has_bias(row) * row.output_shape[-1 if row.kind == "linear" else 0]


def with_layer(row: Row, **changed: object) -> Row:
    """A row whose layer has other arguments."""
    layer = row.layer.model_copy(update=changed)
    return row._replace(layer=layer, params=layer.params(row.input_shape))


def at_shape(row: Row, shape: Shape) -> Row:
    """A row of a layer at another input."""
    output = row.layer.output_shape(shape)
    macs = row.layer.macs(shape, output)
    return row._replace(input_shape=shape, output_shape=output, macs=macs)
