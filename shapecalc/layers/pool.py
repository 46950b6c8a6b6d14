"""Pools."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Fields,
    Layer,
    Paddings,
    Positive,
    Shape,
    Sizes,
    Tensor,
    Window,
    each_axis,
    fits,
    per_axis,
    slide,
    spatial,
)


class _Pool(Window):
    """What pools with a window share; the stride is the kernel's size where it is not given."""

    main: ClassVar[str] = "kernel_size"
    kernel_size: Sizes = Field(kw_only=False)
    stride: Sizes | None = None
    padding: Paddings = 0
    ceil_mode: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        kernels, strides, paddings, dilations = self._all(len(sizes))
        for kernel, padding in zip(kernels, paddings, strict=True):
            if padding > kernel // 2:
                raise Fault(
                    "E204",
                    f"{self.kind} has padding {padding}, more than half of its kernel {kernel}",
                    argument="padding",
                    help=f"at most {kernel // 2} with this kernel, or a kernel_size of "
                    f"{2 * padding}",
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
            per_axis(self, "padding", self.padding, axes),
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


class MaxPool(_Pool):
    """The largest of each window: nn.MaxPool1d, 2d or 3d."""

    kind: ClassVar[str] = "max_pool"
    dilation: Sizes = 1


class AvgPool(_Pool):
    """The mean of each window: nn.AvgPool1d, 2d or 3d."""

    kind: ClassVar[str] = "avg_pool"
    count_include_pad: bool = True
    divisor_override: Positive | None = None

    def output_shape(self, shape: Shape) -> Shape:
        output = super().output_shape(shape)
        if len(output) == 2 and self.divisor_override is not None:
            raise Fault(
                "E204",
                "avg_pool over one axis has no divisor_override in torch",
                argument="divisor_override",
                help="leave it out",
            )
        if len(output) == 4:  # torch refuses a 3-D window larger than the bare input
            kernels = per_axis(self, "kernel_size", self.kernel_size, 3)
            fits(self, shape[1:], (0, 0, 0), kernels, (1, 1, 1))
        return output

    def arguments(self, shape: Shape) -> dict[str, Any]:
        arguments = super().arguments(shape)
        if len(shape) == 2:
            del arguments["divisor_override"]
        return arguments


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
        sizes = zip(tensor.shape[1:], self.output_shape(tensor.shape)[1:], strict=True)
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


class AdaptiveMaxPool(_AdaptivePool):
    """The largest of each part of the input: nn.AdaptiveMaxPool1d, 2d or 3d."""

    kind: ClassVar[str] = "adaptive_max_pool"
