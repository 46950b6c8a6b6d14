"""Activations along an axis, whose outputs depend on each other."""

from typing import ClassVar

from pydantic import Field

from shapecalc.layers.base import Layer, Shape
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


class Softmin(_AlongAxis):
    """The softmax of -x: nn.Softmin."""

    kind: ClassVar[str] = "softmin"


class LogSoftmax(_AlongAxis):
    """The logarithm of the softmax: nn.LogSoftmax."""

    kind: ClassVar[str] = "log_softmax"
