"""Activations along an axis, whose outputs depend on each other."""

from typing import ClassVar

from pydantic import Field

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Fields,
    Layer,
    Shape,
    Tensor,
    everything,
    keeps_input,
    keeps_output,
)
from shapecalc.layers.shape import axis


class _AlongAxis(Layer):
    """Along one axis, the channels where none is given; axes count from the batch axis, 0."""

    main: ClassVar[str] = "dim"
    dim: int = Field(default=1, kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        axis(self, "dim", self.dim, shape)
        return shape


class Softmax(_AlongAxis):
    """exp(x) as shares of their sum: nn.Softmax."""

    kind: ClassVar[str] = "softmax"

    saved = keeps_output


class Softmin(_AlongAxis):
    """The softmax of -x: nn.Softmin."""

    kind: ClassVar[str] = "softmin"

    saved = keeps_output


class LogSoftmax(_AlongAxis):
    """The logarithm of the softmax: nn.LogSoftmax."""

    kind: ClassVar[str] = "log_softmax"

    saved = keeps_output


class Glu(_AlongAxis):
    """The first half along an axis times the sigmoid of the second: nn.GLU."""

    kind: ClassVar[str] = "glu"
    dim: int = Field(default=-1, kw_only=False)

    saved = keeps_input

    def output_shape(self, shape: Shape) -> Shape:
        index = axis(self, "dim", self.dim, shape)
        if shape[index] % 2:
            even = [n + 1 for n, size in enumerate(shape) if size % 2 == 0]
            raise Fault(
                "E204",
                f"glu halves axis {index + 1}, whose size {shape[index]} is odd",
                argument="dim",
                help=f"write dim: {even[0]}, whose size is {shape[even[0] - 1]}"
                if even
                else f"a size of {shape[index] + 1} can be halved",
            )
        return *shape[:index], shape[index] // 2, *shape[index + 1 :]

    def see(self, tensor: Tensor) -> Fields:
        return everything(tensor, axis(self, "dim", self.dim, tensor.shape))

    def formula(self, shape: Shape, output: Shape) -> str:
        index = axis(self, "dim", self.dim, shape)
        return f"{shape[index]} / 2 = {output[index]}"
