"""Rectifiers: the input above 0, and something smaller below it."""

from math import prod
from typing import ClassVar, Self

from pydantic import Field, model_validator

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Extra,
    Inplace,
    Layer,
    Number,
    Positive,
    Saved,
    Shape,
    keeps_either,
    keeps_input,
    keeps_output,
)


class Relu(Inplace):
    """max(0, x): nn.ReLU."""

    kind: ClassVar[str] = "relu"

    saved = keeps_output


class Relu6(Inplace):
    """min(max(0, x), 6): nn.ReLU6."""

    kind: ClassVar[str] = "relu6"


class LeakyRelu(Inplace):
    """x, or negative_slope * x below 0: nn.LeakyReLU."""

    kind: ClassVar[str] = "leaky_relu"
    main: ClassVar[str] = "negative_slope"
    negative_slope: Number = Field(default=0.01, kw_only=False)

    saved = keeps_either


class Prelu(Layer):
    """x, or a learnt slope * x below 0: nn.PReLU, with one slope or one for each channel."""

    kind: ClassVar[str] = "prelu"
    main: ClassVar[str] = "num_parameters"
    num_parameters: Positive = Field(default=1, kw_only=False)
    init: Number = 0.25

    saved = keeps_input

    def output_shape(self, shape: Shape) -> Shape:
        if self.num_parameters not in (1, shape[0]):
            raise Fault(
                "E204",
                f"prelu is given num_parameters {self.num_parameters}, "
                f"but its input has {shape[0]} channels",
                argument="num_parameters",
                help=f"write 1, or {shape[0]} for a slope of each channel",
            )
        return shape

    def params(self, shape: Shape) -> int:
        return self.num_parameters


class Rrelu(Inplace):
    """x, or a slope drawn from [lower, upper] * x below 0: nn.RReLU."""

    kind: ClassVar[str] = "rrelu"
    lower: Number = 1 / 8
    upper: Number = 1 / 3

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower > self.upper:
            raise ValueError(f"lower {self.lower} is above upper {self.upper}")
        return self

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(prod(shape)), input=True, view=self.inplace)  # the slopes


class Threshold(Inplace):
    """x where it is above threshold, else value: nn.Threshold."""

    kind: ClassVar[str] = "threshold"
    threshold: Number
    value: Number
