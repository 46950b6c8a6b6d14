"""Convolutions."""

from math import gcd, prod
from typing import Any, ClassVar, Literal

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Carried,
    Extra,
    Fields,
    Paddings,
    Positive,
    Saved,
    Shape,
    Sizes,
    Tensor,
    Window,
    assert_size,
    each_axis,
    fits,
    keeps_input,
    mixed,
    nearest_divisor,
    nonempty,
    per_axis,
    plainly,
    spatial,
    times,
)


class _Conv(Window):
    """What convolutions share: a weight of (in/groups) x out x kernel, and a bias."""

    main: ClassVar[str] = "out_channels"
    in_channels: Positive | None = None
    out_channels: Positive = Field(kw_only=False)
    kernel_size: Sizes
    stride: Sizes = 1
    dilation: Sizes = 1
    groups: Positive = 1
    bias: bool = True

    saved = keeps_input

    def see(self, tensor: Tensor) -> Fields:
        return super().see(mixed(tensor))

    def carry(self, tensor: Tensor) -> Carried:
        return mixed(tensor).carried

    def _check_channels(self, channels: int) -> None:
        assert_size(self, "in_channels", self.in_channels, channels)
        if channels % self.groups or self.out_channels % self.groups:
            divisor = nearest_divisor(gcd(channels, self.out_channels), self.groups)
            multiple = max(1, (2 * self.out_channels + self.groups) // (2 * self.groups))
            makes = f"out_channels: {multiple * self.groups} or "
            raise Fault(
                "E204",
                f"{self.kind} has groups {self.groups}, which must divide its {channels} input "
                f"channels and its {self.out_channels} out_channels",
                argument="groups",
                help=f"write {'' if channels % self.groups else makes}groups: {divisor}",
                mended={"groups": divisor},
            )

    def _per_axis(self, axes: int, *names: str) -> tuple[Shape, ...]:
        return tuple(per_axis(self, name, getattr(self, name), axes) for name in names)

    def params(self, shape: Shape) -> int:
        weight = shape[0] * self.out_channels // self.groups * self._kernel(shape)
        return weight + self.out_channels * self.bias

    def _kernel(self, shape: Shape) -> int:
        """Elements of the kernel."""
        return prod(per_axis(self, "kernel_size", self.kernel_size, len(shape) - 1))


class Conv(_Conv):
    """A convolution: nn.Conv1d, nn.Conv2d or nn.Conv3d."""

    kind: ClassVar[str] = "conv"
    padding: Literal["same", "valid"] | Paddings = 0
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        self._check_channels(shape[0])
        kernels, strides, dilations = self._per_axis(
            len(sizes), "kernel_size", "stride", "dilation"
        )
        pads = self._pads(len(sizes))
        if self.padding == "same" and set(strides) != {1}:
            half = tuple(d * (k - 1) // 2 for k, d in zip(kernels, dilations, strict=True))
            raise Fault(
                "E204",
                f"conv has padding same with stride {self.stride}, which torch refuses",
                argument="padding",
                help=f"write padding: {plainly(half)}, which makes the size "
                f"input/{times(strides)}, rounded up",
                mended={"padding": half},
            )
        self._check_mode(sizes, pads)
        fits(self, sizes, [left + right for left, right in pads], kernels, dilations)
        return self.out_channels, *(
            geometry.conv_size(i, geometry.extent(k, d), s, left + right)
            for i, k, s, d, (left, right) in zip(
                sizes, kernels, strides, dilations, pads, strict=True
            )
        )

    def macs(self, shape: Shape, output: Shape) -> int:
        return shape[0] // self.groups * self._kernel(shape) * prod(output)

    def saved(self, shape: Shape, output: Shape) -> Saved:
        pads = self._pads(len(shape) - 1)
        if self.padding_mode == "zeros":
            if self.padding != "same" or all(left == right for left, right in pads):
                return Saved(input=True)
            pads = [(0, abs(right - left)) for left, right in pads]  # torch pads the odd ones
        padded = shape[0] * prod(i + sum(pad) for i, pad in zip(shape[1:], pads, strict=True))
        mirrored = self.padding_mode in ("reflect", "replicate")
        return Saved(Extra(padded), input=mirrored)

    def windows(self, spatial: Shape) -> tuple[geometry.Window, ...]:
        axes = len(spatial)
        kernels, strides, dilations = self._per_axis(axes, "kernel_size", "stride", "dilation")
        return tuple(
            (k, d, s, left)
            for k, s, d, (left, _) in zip(
                kernels, strides, dilations, self._pads(axes), strict=True
            )
        )

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "in_channels": shape[0]}

    def formula(self, shape: Shape, output: Shape) -> str:
        axes = len(shape) - 1
        kernels, strides, dilations = self._per_axis(axes, "kernel_size", "stride", "dilation")
        lines = []
        for i, k, s, d, (left, right), o in zip(
            shape[1:], kernels, strides, dilations, self._pads(axes), output[1:], strict=True
        ):
            reach = f"{k}" if d == 1 else f"({d}*({k} - 1) + 1)"
            padding = f"2*{left}" if left == right else f"({left} + {right})"
            steps = f"({i} - {reach} + {padding})/{s}"
            exact = (i - geometry.extent(k, d) + left + right) % s == 0
            lines.append(f"{steps} + 1 = {o}" if exact else f"floor({steps}) + 1 = {o}")
        return each_axis(lines)

    def _pads(self, axes: int) -> list[tuple[int, int]]:
        """Left and right padding of each axis."""
        if self.padding == "same":
            kernels, dilations = self._per_axis(axes, "kernel_size", "dilation")
            return [
                geometry.same_padding(geometry.extent(k, d))
                for k, d in zip(kernels, dilations, strict=True)
            ]
        value = 0 if self.padding == "valid" else self.padding
        return [(p, p) for p in per_axis(self, "padding", value, axes)]

    def _check_mode(self, sizes: Shape, pads: list[tuple[int, int]]) -> None:
        """Padding with the input's own pixels needs enough of them."""
        spare = {"zeros": None, "replicate": None, "reflect": 1, "circular": 0}[self.padding_mode]
        if spare is None:
            return
        for size, pad in zip(sizes, pads, strict=True):
            if max(pad) > size - spare:
                fitting = f"padding: {size - spare} or " if size > spare else ""
                raise Fault(
                    "E204",
                    f"conv pads {max(pad)} by {self.padding_mode}, "
                    f"but its input has {size} pixels to take them from",
                    argument="padding",
                    help=f"write {fitting}padding_mode: zeros",
                    mended={"padding_mode": "zeros"},
                )


class ConvTranspose(_Conv):
    """A transposed convolution: nn.ConvTranspose1d, 2d or 3d."""

    kind: ClassVar[str] = "conv_transpose"
    padding: Paddings = 0
    output_padding: Paddings = 0
    padding_mode: Literal["zeros"] = "zeros"

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        self._check_channels(shape[0])
        _, strides, dilations, _, outs = self._all(len(sizes))
        most = tuple(
            min(o, max(s, d) - 1) for o, s, d in zip(outs, strides, dilations, strict=True)
        )
        for out, s, d in zip(outs, strides, dilations, strict=True):
            if out >= s and out >= d:
                raise Fault(
                    "E204",
                    f"conv_transpose has output_padding {out}, which must be smaller than "
                    f"its stride {s} or its dilation {d}",
                    argument="output_padding",
                    help=f"write output_padding: {plainly(most)}, the most that fits",
                    mended={"output_padding": most},
                )
        output = (
            self.out_channels,
            *(
                geometry.conv_transpose_size(i, geometry.extent(k, d), s, p, out)
                for i, k, s, d, p, out in zip(sizes, *self._all(len(sizes)), strict=True)
            ),
        )
        if min(output) < 1:
            most = tuple(
                (i - 1) * s + geometry.extent(k, d) + out - 1
                for i, k, s, d, _, out in zip(sizes, *self._all(len(sizes)), strict=True)
            )
            fitting = plainly([twice // 2 for twice in most])
            nonempty(self, shape, output, f"write padding: {fitting}, the most that leaves a pixel")
        return output

    def macs(self, shape: Shape, output: Shape) -> int:
        return self.out_channels // self.groups * self._kernel(shape) * prod(shape)

    def windows(self, spatial: Shape) -> tuple[geometry.Window, ...]:
        kernels, strides, dilations, paddings, _ = self._all(len(spatial))
        return tuple(zip(kernels, dilations, strides, paddings, strict=True))

    @staticmethod
    def look(field: geometry.Field, window: geometry.Window) -> geometry.Field:
        return geometry.see_transposed(field, window)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "in_channels": shape[0]}

    def formula(self, shape: Shape, output: Shape) -> str:
        lines = []
        for i, k, s, d, p, out, o in zip(
            shape[1:], *self._all(len(shape) - 1), output[1:], strict=True
        ):
            reach = f"{k}" if d == 1 else f"({d}*({k} - 1) + 1)"
            lines.append(f"({i} - 1)*{s} - 2*{p} + {reach} + {out} = {o}")
        return each_axis(lines)

    def _all(self, axes: int) -> tuple[Shape, ...]:
        names = ("kernel_size", "stride", "dilation", "padding", "output_padding")
        return self._per_axis(axes, *names)
