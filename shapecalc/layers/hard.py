"""Activations in straight pieces."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from shapecalc.layers.base import (
    Inplace,
    Layer,
    Number,
    Saved,
    Shape,
    keeps_input,
)


class Hardtanh(Inplace):
    """x clipped to [min_val, max_val]: nn.Hardtanh."""

    kind: ClassVar[str] = "hardtanh"
    min_val: Number = -1.0
    max_val: Number = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_val >= self.max_val:
            raise ValueError(f"min_val {self.min_val} is not below max_val {self.max_val}")
        return self


class Hardsigmoid(Inplace):
    """x/6 + 1/2 clipped to [0, 1]: nn.Hardsigmoid."""

    kind: ClassVar[str] = "hardsigmoid"


class Hardswish(Inplace):
    """x * hardsigmoid(x): nn.Hardswish."""

    kind: ClassVar[str] = "hardswish"


class Hardshrink(Layer):
    """x, or 0 within lambd of 0: nn.Hardshrink."""

    kind: ClassVar[str] = "hardshrink"
    main: ClassVar[str] = "lambd"
    lambd: Number = Field(default=0.5, kw_only=False)

    saved = keeps_input


class Softshrink(Layer):
    """x moved towards 0 by lambd: nn.Softshrink."""

    kind: ClassVar[str] = "softshrink"
    main: ClassVar[str] = "lambd"
    lambd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(default=0.5, kw_only=False)

    saved = keeps_input


class BinaryStep(Layer):
    """1 where x is at least 0, else 0. Its gradient is 0 everywhere."""

    kind: ClassVar[str] = "binary_step"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(gradient=False)
