"""Smooth activations, built from exp, tanh and their like."""

from math import prod
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from shapecalc.layers.base import (
    Extra,
    Inplace,
    Layer,
    Number,
    Saved,
    Shape,
    keeps_either,
    keeps_input,
    keeps_output,
)


class Elu(Inplace):
    """x, or alpha * (exp(x) - 1) below 0: nn.ELU."""

    kind: ClassVar[str] = "elu"
    main: ClassVar[str] = "alpha"
    alpha: Number = Field(default=1.0, kw_only=False)

    saved = keeps_either


class Celu(Inplace):
    """max(0, x) + min(0, alpha * (exp(x/alpha) - 1)): nn.CELU."""

    kind: ClassVar[str] = "celu"
    main: ClassVar[str] = "alpha"
    alpha: Number = Field(default=1.0, kw_only=False)

    saved = keeps_either

    @model_validator(mode="after")
    def _not_zero(self) -> Self:
        if self.alpha == 0:
            raise ValueError("alpha must not be 0: it divides")
        return self


class Selu(Inplace):
    """The self-normalising ELU: nn.SELU."""

    kind: ClassVar[str] = "selu"

    saved = keeps_either


class Gelu(Layer):
    """x times the normal distribution function of x: nn.GELU."""

    kind: ClassVar[str] = "gelu"
    main: ClassVar[str] = "approximate"
    approximate: Literal["none", "tanh"] = Field(default="none", kw_only=False)

    saved = keeps_input


class Silu(Inplace):
    """x * sigmoid(x), also known as swish: nn.SiLU."""

    kind: ClassVar[str] = "silu"


class Mish(Inplace):
    """x * tanh(softplus(x)): nn.Mish."""

    kind: ClassVar[str] = "mish"


class Softplus(Layer):
    """log(1 + exp(beta * x)) / beta: nn.Softplus."""

    kind: ClassVar[str] = "softplus"
    main: ClassVar[str] = "beta"
    beta: Number = Field(default=1.0, kw_only=False)
    threshold: Number = 20.0

    saved = keeps_input


class Softsign(Layer):
    """x / (1 + |x|): nn.Softsign."""

    kind: ClassVar[str] = "softsign"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(prod(shape)), input=True)  # 1 + |x|


class Tanh(Layer):
    """The hyperbolic tangent: nn.Tanh."""

    kind: ClassVar[str] = "tanh"

    saved = keeps_output


class Tanhshrink(Layer):
    """x - tanh(x): nn.Tanhshrink."""

    kind: ClassVar[str] = "tanhshrink"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(prod(shape)))  # tanh(x)


class Sigmoid(Layer):
    """1 / (1 + exp(-x)): nn.Sigmoid."""

    kind: ClassVar[str] = "sigmoid"

    saved = keeps_output


class LogSigmoid(Layer):
    """log(sigmoid(x)): nn.LogSigmoid."""

    kind: ClassVar[str] = "log_sigmoid"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(prod(shape), gpu=0), input=True)  # exp(-|x|)


class Arctan(Layer):
    """The inverse tangent of x."""

    kind: ClassVar[str] = "arctan"

    saved = keeps_input
