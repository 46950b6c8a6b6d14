"""Linear layers."""

from math import prod
from typing import Any, ClassVar

from pydantic import Field

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Fields,
    Layer,
    Positive,
    Shape,
    Tensor,
    assert_size,
    everything,
    keeps_input,
    show,
)


class Linear(Layer):
    """A linear map of the last axis: nn.Linear."""

    kind: ClassVar[str] = "linear"
    main: ClassVar[str] = "out_features"
    in_features: Positive | None = None
    out_features: Positive = Field(kw_only=False)
    bias: bool = True

    saved = keeps_input

    def output_shape(self, shape: Shape) -> Shape:
        try:
            assert_size(self, "in_features", self.in_features, shape[-1])
        except Fault as fault:
            features = prod(shape)
            if len(shape) > 2 or self.in_features == features:
                fault.help = (
                    f"put flatten before it, which makes {features} features of {show(shape)}"
                )
                if self.in_features != features:
                    fault.help += f", and leave in_features out or write {features}"
            raise
        return *shape[:-1], self.out_features

    def params(self, shape: Shape) -> int:
        return shape[-1] * self.out_features + self.out_features * self.bias

    def macs(self, shape: Shape, output: Shape) -> int:
        return shape[-1] * prod(output)

    def see(self, tensor: Tensor) -> Fields:
        return everything(tensor, -1)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "in_features": shape[-1]}
