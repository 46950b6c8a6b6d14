"""Pools."""

from math import isinf, isnan, prod
from operator import le
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Extra,
    Fields,
    Layer,
    Paddings,
    Positive,
    Saved,
    Shape,
    Sizes,
    Tensor,
    Window,
    each_axis,
    fits,
    keeps_input,
    nonempty,
    of_rank,
    per_axis,
    plainly,
    slide,
    spatial,
    times,
)

Ratio = Annotated[float, Field(gt=0, lt=1)]


class _Pool(Window):
    """What pools with a window share; the stride is the kernel's size where it is not given."""

    main: ClassVar[str] = "kernel_size"
    kernel_size: Sizes = Field(kw_only=False)
    stride: Sizes | None = None
    ceil_mode: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        kernels, strides, paddings, dilations = self._all(len(sizes))
        halves = tuple(min(p, k // 2) for p, k in zip(paddings, kernels, strict=True))
        for kernel, padding in zip(kernels, paddings, strict=True):
            if padding > kernel // 2:
                raise Fault(
                    "E204",
                    f"{self.kind} has padding {padding}, more than half of its kernel {kernel}",
                    argument="padding",
                    help=f"write padding: {plainly(halves)}, or kernel_size: {2 * padding}",
                    mended={"padding": halves},
                )
        self._check_fit(sizes, kernels, paddings, dilations, strides)
        return shape[0], *(
            geometry.pool_size(i, geometry.extent(k, d), s, p, self.ceil_mode)
            for i, k, s, p, d in zip(sizes, kernels, strides, paddings, dilations, strict=True)
        )

    def windows(self, spatial: Shape) -> tuple[geometry.Window, ...]:
        kernels, strides, paddings, dilations = self._all(len(spatial))
        return tuple(zip(kernels, dilations, strides, paddings, strict=True))

    def arguments(self, shape: Shape) -> dict[str, Any]:
        stride = self.kernel_size if self.stride is None else self.stride
        return {**super().arguments(shape), "stride": stride}

    def formula(self, shape: Shape, output: Shape) -> str:
        kernels, strides, paddings, dilations = self._all(len(shape) - 1)
        lines = []
        for i, k, s, p, d, o in zip(
            shape[1:], kernels, strides, paddings, dilations, output[1:], strict=True
        ):
            rounding = "ceil" if self.ceil_mode else "floor"
            if k == s and p == 0 and d == 1:
                steps, rest, after = f"{i} / {s}", i % s, ""
            else:
                reach = f"{k}" if d == 1 else f"({d}*({k} - 1) + 1)"
                steps = f"({i} - {reach} + 2*{p})/{s}"
                rest, after = (i - geometry.extent(k, d) + 2 * p) % s, " + 1"
            lines.append(f"{f'{rounding}({steps})' if rest else steps}{after} = {o}")
        return each_axis(lines)

    def _all(self, axes: int) -> tuple[Shape, Shape, Shape, Shape]:
        """Kernels, strides, paddings and dilations of the axes."""
        stride = self.kernel_size if self.stride is None else self.stride
        return (
            per_axis(self, "kernel_size", self.kernel_size, axes),
            per_axis(self, "stride", stride, axes),
            per_axis(self, "padding", getattr(self, "padding", 0), axes),
            per_axis(self, "dilation", getattr(self, "dilation", 1), axes),
        )

    def _check_fit(
        self, sizes: Shape, kernels: Shape, paddings: Shape, dilations: Shape, strides: Shape
    ) -> None:
        slack = [
            2 * p + (min(s - 1, geometry.extent(k, d) - 1) if self.ceil_mode else 0)
            for p, s, k, d in zip(paddings, strides, kernels, dilations, strict=True)
        ]
        fits(self, sizes, slack, kernels, dilations)

    def _check_bare_fit(self, sizes: Shape) -> None:
        """torch refuses a 3-D average over a window larger than the input without padding."""
        fits(self, sizes, (0, 0, 0), per_axis(self, "kernel_size", self.kernel_size, 3), (1, 1, 1))


class MaxPool(_Pool):
    """The largest of each window: nn.MaxPool1d, 2d or 3d."""

    kind: ClassVar[str] = "max_pool"
    padding: Paddings = 0
    dilation: Sizes = 1

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return _with_indices(output)


class AvgPool(_Pool):
    """The mean of each window: nn.AvgPool1d, 2d or 3d."""

    kind: ClassVar[str] = "avg_pool"
    padding: Paddings = 0
    count_include_pad: bool = True
    divisor_override: Positive | None = None

    saved = keeps_input

    def output_shape(self, shape: Shape) -> Shape:
        output = super().output_shape(shape)
        if len(output) == 2 and self.divisor_override is not None:
            raise Fault(
                "E204",
                "avg_pool over one axis has no divisor_override in torch",
                argument="divisor_override",
                help="leave it out",
                mended={"divisor_override": None},
            )
        if len(output) == 4:
            self._check_bare_fit(shape[1:])
        return output

    def arguments(self, shape: Shape) -> dict[str, Any]:
        arguments = super().arguments(shape)
        if len(shape) == 2:
            del arguments["divisor_override"]
        return arguments


class LpPool(_Pool):
    """The norm of each window, (sum of x^p)^(1/p): nn.LPPool1d, 2d or 3d."""

    kind: ClassVar[str] = "lp_pool"
    norm_type: float

    @model_validator(mode="after")
    def _has_root(self) -> Self:
        if self.norm_type == 0 or isnan(self.norm_type):
            raise ValueError(f"norm_type {self.norm_type} is not the power of a norm")
        return self

    def output_shape(self, shape: Shape) -> Shape:
        output = super().output_shape(shape)
        if len(output) == 4 and not isinf(self.norm_type):  # an infinite one is a max_pool
            self._check_bare_fit(shape[1:])
        return output

    def arguments(self, shape: Shape) -> dict[str, Any]:
        arguments = super().arguments(shape)
        if len(shape) == 2:  # where torch takes no tuples
            kernels, strides, _, _ = self._all(1)
            arguments |= {"kernel_size": kernels[0], "stride": strides[0]}
        return arguments

    def saved(self, shape: Shape, output: Shape) -> Saved:
        if isinf(self.norm_type):
            return Saved(Extra(prod(shape)), *_with_indices(output).extras, input=True)  # |x|
        # x^p, its mean, the sign and size of that, and their product before the root
        return Saved(Extra(prod(shape)), *[Extra(prod(output))] * 4, input=True)


class FractionalMaxPool(Layer):
    """The largest of windows at random steps: nn.FractionalMaxPool2d or 3d."""

    kind: ClassVar[str] = "fractional_max_pool"
    main: ClassVar[str] = "kernel_size"
    kernel_size: Sizes = Field(kw_only=False)
    output_size: Sizes | None = None
    output_ratio: Ratio | Annotated[tuple[Ratio, ...], Field(strict=False)] | None = None

    def output_shape(self, shape: Shape) -> Shape:
        sizes = of_rank(self, shape, 2, 3)
        axes = len(sizes)
        output = self._targets(sizes)
        kernels = per_axis(self, "kernel_size", self.kernel_size, axes)
        nonempty(self, shape, (shape[0], *output))
        # torch starts a window at the very end only in 2-D
        needed = tuple(o + k - 1 + (axes == 3) for o, k in zip(output, kernels, strict=True))
        if not all(map(le, needed, sizes)):
            largest = min(i - o + 1 - (axes == 3) for i, o in zip(sizes, output, strict=True))
            raise Fault(
                "E203",
                f"fractional_max_pool needs an input of at least {times(needed)} for "
                f"{times(output)} windows of {times(kernels)}, but gets {times(sizes)}",
                argument="kernel_size",
                help=f"the largest kernel_size that fits here is {largest}" if largest > 0 else "",
            )
        return shape[0], *output

    def see(self, tensor: Tensor) -> Fields:
        sizes = tensor.shape[1:]
        kernels = per_axis(self, "kernel_size", self.kernel_size, len(sizes))
        steps = tuple(zip(sizes, self._targets(sizes), kernels, strict=True))
        return slide(tensor, steps, lambda field, step: geometry.see_fractional(field, *step))

    def formula(self, shape: Shape, output: Shape) -> str:
        if self.output_ratio is None:
            return ""
        ratios = self._ratios(len(shape) - 1)
        lines = [
            f"{i}*{r:g} = {o}" if i * r == o else f"floor({i}*{r:g}) = {o}"
            for i, r, o in zip(shape[1:], ratios, output[1:], strict=True)
        ]
        return each_axis(lines)

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return _with_indices(output)

    def _targets(self, sizes: Shape) -> Shape:
        """The output's spatial sizes. Raises Fault."""
        if (self.output_size is None) == (self.output_ratio is None):
            given = "neither of" if self.output_size is None else "both"
            raise Fault(
                "E204",
                f"fractional_max_pool has {given} output_size and output_ratio, and takes one",
                argument="" if self.output_size is None else "output_ratio",
                help=f"write output_size: {max(1, min(sizes) // 2)}, or output_ratio: 0.5",
            )
        if self.output_size is not None:
            return per_axis(self, "output_size", self.output_size, len(sizes))
        try:
            return tuple(int(i * r) for i, r in zip(sizes, self._ratios(len(sizes)), strict=True))
        except OverflowError:
            raise Fault(
                "E204",
                "fractional_max_pool has an output_ratio, but more pixels than can be multiplied "
                "by one",
                argument="output_ratio",
                help="write output_size",
            ) from None

    def _ratios(self, axes: int) -> tuple[float, ...]:
        given = self.output_ratio
        if isinstance(given, float):
            return (given,) * axes
        return per_axis(self, "output_ratio", given, axes)


class _AdaptivePool(Layer):
    """Pools whose windows follow from the output's size; null keeps an axis as it is."""

    main: ClassVar[str] = "output_size"
    output_size: Positive | Annotated[tuple[Positive | None, ...], Field(strict=False)] | None = (
        Field(kw_only=False)
    )

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        if self.output_size is None:
            return shape
        targets = per_axis(self, "output_size", self.output_size, len(sizes))
        return shape[0], *(o or i for i, o in zip(sizes, targets, strict=True))

    def arguments(self, shape: Shape) -> dict[str, Any]:
        if isinstance(self.output_size, int):
            return {"output_size": self.output_size}
        return {"output_size": self.output_shape(shape)[1:]}

    def see(self, tensor: Tensor) -> Fields:
        sizes = tuple(zip(tensor.shape[1:], self.output_shape(tensor.shape)[1:], strict=True))
        return slide(tensor, sizes, lambda field, size: geometry.see_parts(field, *size))

    def formula(self, shape: Shape, output: Shape) -> str:
        lines = [
            f"{i} / {o} = {i // o} to one" if i % o == 0 else f"{i} / {o}, windows of up to "
            f"{geometry.widest_part(i, o)}"
            for i, o in zip(shape[1:], output[1:], strict=True)
        ]  # fmt: skip
        return each_axis(lines)


class AdaptiveAvgPool(_AdaptivePool):
    """The mean of each part of the input: nn.AdaptiveAvgPool1d, 2d or 3d."""

    kind: ClassVar[str] = "adaptive_avg_pool"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(input=prod(output[1:]) > 1)  # one of each channel is taken by mean()


class AdaptiveMaxPool(_AdaptivePool):
    """The largest of each part of the input: nn.AdaptiveMaxPool1d, 2d or 3d."""

    kind: ClassVar[str] = "adaptive_max_pool"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return _with_indices(output)


def _with_indices(output: Shape) -> Saved:
    """What a pool keeps that remembers where each number came from, as int64."""
    return Saved(Extra(prod(output), 8), input=True)
