"""Layers that only change the shape, or nothing."""

from math import prod
from typing import ClassVar

from pydantic import Field

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Carried, Layer, Shape, Tensor, show, times


class Flatten(Layer):
    """Axes start_dim to end_dim as one: nn.Flatten. Axes count from the batch axis, which is 0."""

    kind: ClassVar[str] = "flatten"
    main: ClassVar[str] = "start_dim"
    start_dim: int = Field(default=1, kw_only=False)
    end_dim: int = -1

    def output_shape(self, shape: Shape) -> Shape:
        start, end = self._range(shape)
        return *shape[:start], prod(shape[start:end]), *shape[end:]

    def carry(self, tensor: Tensor) -> Carried:
        start, end = self._range(tensor.shape)
        carried = tensor.carried
        return *carried[:start], sum(carried[start:end], ()), *carried[end:]

    def formula(self, shape: Shape, output: Shape) -> str:
        start, end = self._range(shape)
        merged = shape[start:end]
        return f"{' x '.join(map(str, merged))} = {prod(merged)}" if len(merged) > 1 else ""

    def _range(self, shape: Shape) -> tuple[int, int]:
        """The axes of the sample that become one, the end exclusive. Raises Fault."""
        start = axis(self, "start_dim", self.start_dim, shape)
        end = axis(self, "end_dim", self.end_dim, shape)
        if start > end:
            raise Fault(
                "E204",
                f"flatten starts at axis {self.start_dim}, after its end at {self.end_dim}",
                argument="start_dim",
                help="write start_dim: 1 to flatten all but the batch axis",
            )
        return start, end + 1


class Identity(Layer):
    """The input itself: nn.Identity."""

    kind: ClassVar[str] = "identity"


def axis(layer: Layer, argument: str, value: int, shape: Shape) -> int:
    """An axis of torch, where 0 is the batch, as an index into a sample's shape."""
    count = len(shape) + 1
    index = value + count if value < 0 else value
    if 1 <= index < count:
        return index - 1
    if index == 0:
        raise Fault(
            "E204",
            f"{layer.kind} has {argument} {value}, the batch axis: samples would be mixed",
            argument=argument,
            help="write 1 for the first axis of a sample",
        )
    raise Fault(
        "E204",
        f"{layer.kind} has {argument} {value}, but its input {show(shape)} has the axes "
        f"{times(range(1, count)).replace('x', ', ')}",
        argument=argument,
        help=f"write {count - 1} or -1 for the last axis",
    )
