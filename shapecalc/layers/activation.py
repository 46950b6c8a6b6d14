"""Activations: layers that keep the shape and cost no multiply-accumulates."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Layer, Positive, Shape
from shapecalc.layers.shape import axis

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Inplace(Layer):
    inplace: bool = False


class Relu(_Inplace):
    """max(0, x): nn.ReLU."""

    kind: ClassVar[str] = "relu"


class Relu6(_Inplace):
    """min(max(0, x), 6): nn.ReLU6."""

    kind: ClassVar[str] = "relu6"


class LeakyRelu(_Inplace):
    """x, or negative_slope * x below 0: nn.LeakyReLU."""

    kind: ClassVar[str] = "leaky_relu"
    main: ClassVar[str] = "negative_slope"
    negative_slope: Number = Field(0.01, kw_only=False)


class Prelu(Layer):
    """x, or a learnt slope * x below 0: nn.PReLU, with one slope or one for each channel."""

    kind: ClassVar[str] = "prelu"
    main: ClassVar[str] = "num_parameters"
    num_parameters: Positive = Field(1, kw_only=False)
    init: Number = 0.25

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


class Rrelu(_Inplace):
    """x, or a slope drawn from [lower, upper] * x below 0: nn.RReLU."""

    kind: ClassVar[str] = "rrelu"
    lower: Number = 1 / 8
    upper: Number = 1 / 3

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower > self.upper:
            raise ValueError(f"lower {self.lower} is above upper {self.upper}")
        return self


class Elu(_Inplace):
    """x, or alpha * (exp(x) - 1) below 0: nn.ELU."""

    kind: ClassVar[str] = "elu"
    main: ClassVar[str] = "alpha"
    alpha: Number = Field(1.0, kw_only=False)


class Celu(_Inplace):
    """max(0, x) + min(0, alpha * (exp(x/alpha) - 1)): nn.CELU."""

    kind: ClassVar[str] = "celu"
    main: ClassVar[str] = "alpha"
    alpha: Number = Field(1.0, kw_only=False)

    @model_validator(mode="after")
    def _not_zero(self) -> Self:
        if self.alpha == 0:
            raise ValueError("alpha must not be 0: it divides")
        return self


class Selu(_Inplace):
    """The self-normalising ELU: nn.SELU."""

    kind: ClassVar[str] = "selu"


class Gelu(Layer):
    """x times the normal distribution function of x: nn.GELU."""

    kind: ClassVar[str] = "gelu"
    main: ClassVar[str] = "approximate"
    approximate: Literal["none", "tanh"] = Field("none", kw_only=False)


class Silu(_Inplace):
    """x * sigmoid(x), also known as swish: nn.SiLU."""

    kind: ClassVar[str] = "silu"


class Mish(_Inplace):
    """x * tanh(softplus(x)): nn.Mish."""

    kind: ClassVar[str] = "mish"


class Softplus(Layer):
    """log(1 + exp(beta * x)) / beta: nn.Softplus."""

    kind: ClassVar[str] = "softplus"
    main: ClassVar[str] = "beta"
    beta: Number = Field(1.0, kw_only=False)
    threshold: Number = 20.0


class Softsign(Layer):
    """x / (1 + |x|): nn.Softsign."""

    kind: ClassVar[str] = "softsign"


class Softshrink(Layer):
    """x moved towards 0 by lambd: nn.Softshrink."""

    kind: ClassVar[str] = "softshrink"
    main: ClassVar[str] = "lambd"
    lambd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(0.5, kw_only=False)


class Hardshrink(Layer):
    """x, or 0 within lambd of 0: nn.Hardshrink."""

    kind: ClassVar[str] = "hardshrink"
    main: ClassVar[str] = "lambd"
    lambd: Number = Field(0.5, kw_only=False)


class Tanh(Layer):
    """The hyperbolic tangent: nn.Tanh."""

    kind: ClassVar[str] = "tanh"


class Tanhshrink(Layer):
    """x - tanh(x): nn.Tanhshrink."""

    kind: ClassVar[str] = "tanhshrink"


class Hardtanh(_Inplace):
    """x clipped to [min_val, max_val]: nn.Hardtanh."""

    kind: ClassVar[str] = "hardtanh"
    min_val: Number = -1.0
    max_val: Number = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_val >= self.max_val:
            raise ValueError(f"min_val {self.min_val} is not below max_val {self.max_val}")
        return self


class Sigmoid(Layer):
    """1 / (1 + exp(-x)): nn.Sigmoid."""

    kind: ClassVar[str] = "sigmoid"


class LogSigmoid(Layer):
    """log(sigmoid(x)): nn.LogSigmoid."""

    kind: ClassVar[str] = "log_sigmoid"


class Hardsigmoid(_Inplace):
    """x/6 + 1/2 clipped to [0, 1]: nn.Hardsigmoid."""

    kind: ClassVar[str] = "hardsigmoid"


class Hardswish(_Inplace):
    """x * hardsigmoid(x): nn.Hardswish."""

    kind: ClassVar[str] = "hardswish"


class Threshold(_Inplace):
    """x where it is above threshold, else value: nn.Threshold."""

    kind: ClassVar[str] = "threshold"
    threshold: Number
    value: Number


class BinaryStep(Layer):
    """1 where x is at least 0, else 0. Its gradient is 0 everywhere."""

    kind: ClassVar[str] = "binary_step"


class Arctan(Layer):
    """The inverse tangent of x."""

    kind: ClassVar[str] = "arctan"


class _AlongAxis(Layer):
    """Along one axis, the channels where none is given; axes count from the batch axis, 0."""

    main: ClassVar[str] = "dim"
    dim: int = Field(1, kw_only=False)

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
