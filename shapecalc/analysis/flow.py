"""Which tensors a network makes and hands on, step by step, as the built module runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from shapecalc.layers import FAMILIES
from shapecalc.layers.base import Saved, Shape
from shapecalc.layers.merge import Add, Branches, Concat, Multiply, Residual, Save
from shapecalc.tracer import Row, Trace

Does = Literal["layer", "concat", "add", "multiply", "split", "map", "bias", "pool", "stem"]
"""What a step does. The last four are those of `rewrites`: a convolution or linear layer that is
made of others or leaves its bias to a later step, that bias, a max_pool, maybe with the relu behind
it, that keeps where its numbers came from in a byte, and a convolution together with those two."""

AUTOCAST: dict[str, Literal["lower", "full", "promoted"]] = {
    **dict.fromkeys(("conv", "conv_transpose", "linear", "prelu"), "lower"),
    **dict.fromkeys(("group_norm", "layer_norm", "local_response_norm", "lp_pool"), "full"),
    **dict.fromkeys(("softmax", "softmin", "log_softmax", "softplus", "upsample"), "full"),
    "layer_scale": "promoted",
}
"""What autocast computes kinds in on CUDA, as torch.amp has it: the lower precision; fp32; or fp32
because the weights are, with no copy made of the input. The others compute in the type of their
input. A CPU leaves more as they are."""

DROPOUTS = FAMILIES["dropout"]
"""The kinds that give their input on in eval mode."""


@dataclass(eq=False, slots=True)
class Value:
    """A tensor, of one sample."""

    shape: Shape
    gradient: bool
    """Whether a gradient runs back to it."""
    whole: Value | None = None
    """The tensor in whose memory it lies, where it has none of its own."""

    @property
    def numbers(self) -> int:
        return prod(self.shape)

    @property
    def memory(self) -> Value:
        """The tensor that owns its memory."""
        found = self
        while found.whole is not None:
            found = found.whole
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One layer, or one operation of a container."""

    row: Row
    does: Does
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    """Several only of a split."""
    saved: Saved
    """What autograd keeps of it."""
    rows: tuple[Row, ...] = ()
    """Of a map or a bias the layers that it is made of; `row` is then what they come to. Of a pool
    itself, and the relu behind it; of a stem all of these."""
    made: int = 0
    """Of a map the numbers of its weight, where that is computed anew in each pass."""

    @property
    def params(self) -> int:
        """The parameters whose gradients it gives."""
        if self.does in ("map", "stem"):
            return sum(row.params for row in self.rows)
        return self.row.params if self.does == "layer" else 0


@dataclass(frozen=True)
class Flow:
    """All steps in order of execution."""

    steps: tuple[Step, ...]
    input: Value
    output: Value
    held: tuple[tuple[Value, int], ...]
    """Tensors that a container or a skip keeps alive until a step, counted from 0, is done."""


def flow(trace: Trace, *, training: bool) -> Flow:
    """The steps of a network in train or in eval mode."""
    return _Run(trace, training).network()


class _Run:
    """The network at work: the steps so far, and what it keeps."""

    def __init__(self, trace: Trace, training: bool) -> None:
        self.trace, self.training = trace, training
        self.rows = {row.path: row for row in trace.rows}
        self.steps: list[Step] = []
        self.held: list[tuple[Value, int]] = []
        self.kept: dict[str, Value] = {}
        self.skips: list[Value] = []

    def network(self) -> Flow:
        inner = {child for row in self.trace.rows for child in row.children}
        start = Value(self.trace.input_shape, gradient=False)
        output = self.sequence((path for path in self.rows if path not in inner), start)
        last = len(self.steps) - 1
        held = [*self.held, *((value, last) for value in self.skips)]
        return Flow(tuple(self.steps), start, output, tuple(held))

    def sequence(self, paths: Iterable[str], x: Value) -> Value:
        for path in paths:
            x = self.row(self.rows[path], x)
        return x

    def row(self, row: Row, x: Value) -> Value:
        layer = row.layer
        if isinstance(layer, Save):
            self.kept[layer.tensor] = x
            self.skips.append(x)
            return x
        if isinstance(layer, Concat | Add | Multiply):
            return self.merge(row, row.kind, [x, *(self.kept[name] for name in layer.tensors)])
        if not row.is_container:
            return self.layer(row, x)
        arms: dict[str, list[str]] = {}
        for path in row.children:
            arm = path[len(row.path) + 1 :].rpartition(".")[0]
            arms.setdefault(arm, []).append(path)
        if isinstance(layer, Residual):
            out = self.residual(row, layer, arms, x)
        elif isinstance(layer, Branches):
            out = self.branches(row, layer, arms, x)
        else:
            out = self.sequence(row.children, x)
        self.hold(x)
        return out

    def layer(self, row: Row, x: Value) -> Value:
        if row.kind in DROPOUTS and not self.training:
            return x
        saved = row.layer.saved(row.input_shape, row.output_shape)
        gradient = saved.gradient and (x.gradient or row.params > 0)
        return self.step(row, "layer", [x], row.output_shape, saved, gradient)

    def residual(self, row: Row, layer: Residual, arms: dict[str, list[str]], x: Value) -> Value:
        main = self.sequence(arms.get("layers", ()), x)
        if layer.shortcut is False:
            return main
        side = self.sequence(arms.get("shortcut", ()), x)
        self.hold(main)
        return self.merge(row, "add", [main, side])

    def branches(self, row: Row, layer: Branches, arms: dict[str, list[str]], x: Value) -> Value:
        count = len(layer.layers)
        parts = [x] * count
        if layer.split is not None:
            share = (x.shape[0] // count, *x.shape[1:])
            parts = [Value(share, x.gradient, x) for _ in range(count)]
            self.steps.append(Step(row, "split", (x,), tuple(parts), Saved(view=True)))
        outputs = [
            self.sequence(arms.get(str(number), ()), part) for number, part in enumerate(parts)
        ]
        for value in (*parts, *outputs):
            self.hold(value)
        return self.merge(row, layer.merge, outputs)

    def merge(self, row: Row, how: str, values: Sequence[Value]) -> Value:
        gradient = any(value.gradient for value in values)
        if how == "concat":
            return self.step(row, "concat", values, row.output_shape, Saved(), gradient)
        whole = values[0]
        for value in values[1:]:
            shape = tuple(map(max, whole.shape, value.shape))
            gradient = whole.gradient or value.gradient
            does: Does = "add" if how == "add" else "multiply"
            saved = Saved(input=does == "multiply")
            whole = self.step(row, does, [whole, value], shape, saved, gradient)
        return whole

    def step(
        self,
        row: Row,
        does: Does,
        inputs: Sequence[Value],
        shape: Shape,
        saved: Saved,
        gradient: bool,
    ) -> Value:
        out = Value(shape, gradient, inputs[0] if saved.view else None)
        self.steps.append(Step(row, does, tuple(inputs), (out,), saved))
        return out

    def hold(self, value: Value) -> None:
        """Alive until the last step so far is done, or the one that is next, which merges."""
        self.held.append((value, len(self.steps) - 1))


def widths(run: Flow, lowered: int) -> dict[Value, int]:
    """Bytes of a number of each tensor, where autocast lowers fp32 to numbers of so many bytes."""
    found = {run.input: 4}
    for step in run.steps:
        width = max(found[value] for value in step.inputs)  # as types are promoted
        if step.does in ("layer", "map", "stem") and lowered < 4:
            how = AUTOCAST.get(step.row.kind)
            width = lowered if how == "lower" else 4 if how else width
        found.update(dict.fromkeys(step.outputs, width))
    return found
