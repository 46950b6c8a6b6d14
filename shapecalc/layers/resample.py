"""More pixels, fewer, or the same in another order."""

import struct
from fractions import Fraction
from math import floor, gcd, prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Carried,
    Fields,
    Layer,
    Positive,
    Saved,
    Shape,
    Sizes,
    Tensor,
    each_axis,
    mixed,
    nearest_divisor,
    nonempty,
    of_rank,
    per_axis,
    slide,
    spatial,
    times,
)

Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SMOOTH = {1: ("linear",), 2: ("bilinear", "bicubic"), 3: ("trilinear",)}
"""The modes that torch has for one number of axes only."""


class Upsample(Layer):
    """The input at another size: nn.Upsample."""

    kind: ClassVar[str] = "upsample"
    main: ClassVar[str] = "scale_factor"
    size: Sizes | None = None
    scale_factor: Factor | Annotated[tuple[Factor, ...], Field(strict=False)] | None = Field(
        default=None, kw_only=False
    )
    mode: Literal[
        "nearest", "linear", "bilinear", "bicubic", "trilinear", "nearest-exact", "area"
    ] = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        self._check(len(sizes))
        return nonempty(self, shape, (shape[0], *self._targets(sizes)))

    def see(self, tensor: Tensor) -> Fields:
        sizes = tensor.shape[1:]
        targets = self._targets(sizes)
        factors = self._factors(len(sizes)) or (None,) * len(sizes)
        return slide(tensor, tuple(zip(sizes, targets, factors, strict=True)), self._see)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        arguments = super().arguments(shape)
        if self.size is None:
            del arguments["size"]
        else:
            del arguments["scale_factor"]
        return arguments

    def formula(self, shape: Shape, output: Shape) -> str:
        factors = self._factors(len(shape) - 1)
        if factors is None:
            return ""
        lines = [
            f"{i}*{f:g} = {o}" if i * f == o else f"floor({i}*{f:g}) = {o}"
            for i, f, o in zip(shape[1:], factors, output[1:], strict=True)
        ]
        return each_axis(lines)

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(input=self.mode == "area" and prod(output[1:]) > 1)  # an adaptive_avg_pool

    def _check(self, axes: int) -> None:
        """Which arguments go together. Raises Fault."""
        if (self.size is None) == (self.scale_factor is None):
            given = "neither of" if self.size is None else "both"
            raise Fault(
                "E204",
                f"upsample has {given} size and scale_factor, and takes one",
                argument="" if self.size is None else "scale_factor",
                help="write upsample: 2, or leave one of them out",
            )
        if self.recompute_scale_factor and self.size is not None:
            raise Fault(
                "E204",
                "upsample has recompute_scale_factor, but no scale_factor",
                argument="recompute_scale_factor",
                help="leave it out: the size is given",
            )
        smooth = self.mode in sum(SMOOTH.values(), ())
        if smooth and self.mode not in SMOOTH[axes]:
            raise Fault(
                "E204",
                f"upsample has mode {self.mode}, which torch does not have for {axes} "
                f"spatial {'axis' if axes == 1 else 'axes'}",
                argument="mode",
                help=f"write mode: {' or '.join(SMOOTH[axes])}",
            )
        if not smooth and self.align_corners is not None:
            raise Fault(
                "E204",
                f"upsample has align_corners, which mode {self.mode} does not take",
                argument="align_corners",
                help=f"leave it out, or write mode: {SMOOTH[axes][0]}",
            )

    def _targets(self, sizes: Shape) -> Shape:
        """The output's spatial sizes. Raises Fault."""
        factors = self._factors(len(sizes))
        if factors is None:
            return per_axis(self, "size", self.size, len(sizes))
        try:
            return tuple(int(i * f) for i, f in zip(sizes, factors, strict=True))
        except OverflowError:
            raise Fault(
                "E204",
                f"upsample has scale_factor {self.scale_factor}, which makes more pixels of "
                f"{times(sizes)} than can be counted",
                argument="scale_factor",
            ) from None

    def _factors(self, axes: int) -> tuple[float, ...] | None:
        given = self.scale_factor
        if given is None or isinstance(given, float):
            return None if given is None else (given,) * axes
        return per_axis(self, "scale_factor", given, axes)

    def _see(self, field: geometry.Field, axis: tuple[int, int, float | None]) -> geometry.Field:
        """The field along an axis of (size, output size, factor)."""
        size, out, factor = axis
        if self.mode == "area":
            return geometry.see_parts(field, size, out)
        if self.align_corners:
            return geometry.see_resampled(
                field, Fraction(size - 1, max(1, out - 1)), Fraction(0), self._around
            )
        scale = Fraction(size, out)
        if factor is not None and not self.recompute_scale_factor:
            scale = 1 / _ratio(factor)
        if self.mode.startswith("nearest"):
            start = Fraction(self.mode == "nearest-exact", 2)
            around: geometry.Around = "below" if _falls_short(scale, start, out) else "floor"
            return geometry.see_resampled(field, scale, start * scale, around)
        if size == out and self._around == "linear":
            return field  # torch copies it, whatever the factor
        return geometry.see_resampled(field, scale, (scale - 1) / 2, self._around)

    @property
    def _around(self) -> Literal["linear", "cubic"]:
        return "cubic" if self.mode == "bicubic" else "linear"


class PixelShuffle(Layer):
    """Channels spread out as pixels, upscale_factor along each axis: nn.PixelShuffle."""

    kind: ClassVar[str] = "pixel_shuffle"
    main: ClassVar[str] = "upscale_factor"
    upscale_factor: Positive = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        height, width = of_rank(self, shape, 2)
        factor = self.upscale_factor
        if shape[0] % factor**2:
            below = shape[0] // factor**2 * factor**2
            fitting = [size for size in (below, below + factor**2) if size]
            raise Fault(
                "E204",
                f"pixel_shuffle makes {factor}x{factor} pixels of {factor**2} channels, which does "
                f"not divide its {shape[0]} channels",
                argument="upscale_factor",
                help=f"{' or '.join(map(str, fitting))} channels can be spread out",
            )
        return shape[0] // factor**2, height * factor, width * factor

    def see(self, tensor: Tensor) -> Fields:
        factor = self.upscale_factor
        windows = [(factor, 1, factor, 0)] * 2
        return slide(mixed(tensor), windows, geometry.see_transposed)

    def carry(self, tensor: Tensor) -> Carried:
        return mixed(tensor).carried

    def formula(self, shape: Shape, output: Shape) -> str:
        r = self.upscale_factor
        lines = [f"{i}*{r} = {o}" for i, o in zip(shape[1:], output[1:], strict=True)]
        return f"{shape[0]} / {r}^2 = {output[0]}; {each_axis(lines)}"


class PixelUnshuffle(Layer):
    """Pixels stacked as channels, downscale_factor along each axis: nn.PixelUnshuffle."""

    kind: ClassVar[str] = "pixel_unshuffle"
    main: ClassVar[str] = "downscale_factor"
    downscale_factor: Positive = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        height, width = of_rank(self, shape, 2)
        factor = self.downscale_factor
        if height % factor or width % factor:
            common = gcd(factor, height, width)
            raise Fault(
                "E204",
                f"pixel_unshuffle has downscale_factor {factor}, which does not divide its "
                f"{height}x{width} pixels",
                argument="downscale_factor",
                help=f"{common} divides both" if common > 1 else "pad its input, or crop it",
            )
        return shape[0] * factor**2, height // factor, width // factor

    def see(self, tensor: Tensor) -> Fields:
        factor = self.downscale_factor
        return slide(mixed(tensor), [(factor, 1, factor, 0)] * 2, geometry.see)

    def carry(self, tensor: Tensor) -> Carried:
        return mixed(tensor).carried

    def formula(self, shape: Shape, output: Shape) -> str:
        r = self.downscale_factor
        lines = [f"{i} / {r} = {o}" for i, o in zip(shape[1:], output[1:], strict=True)]
        return f"{shape[0]}*{r}^2 = {output[0]}; {each_axis(lines)}"


class ChannelShuffle(Layer):
    """Channels dealt out, one of each group in turn: nn.ChannelShuffle."""

    kind: ClassVar[str] = "channel_shuffle"
    main: ClassVar[str] = "groups"
    groups: Positive = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        spatial(self, shape)
        if shape[0] % self.groups:
            divisor = nearest_divisor(shape[0], self.groups)
            raise Fault(
                "E204",
                f"channel_shuffle has groups {self.groups}, which does not divide "
                f"its {shape[0]} channels",
                argument="groups",
                help=f"write groups: {divisor}, which divides {shape[0]}",
                mended={"groups": divisor},
            )
        return shape

    def see(self, tensor: Tensor) -> Fields:
        return mixed(tensor).fields

    def carry(self, tensor: Tensor) -> Carried:
        return mixed(tensor).carried


def _ratio(factor: float) -> Fraction:
    """The ratio of small numbers that a factor stands for, where it stands for one."""
    simple = Fraction(factor).limit_denominator(geometry.MAX_SPANS)
    return simple if float(simple) == factor else Fraction(factor)


def _falls_short(scale: Fraction, start: Fraction, out: int) -> bool:
    """Whether torch, which multiplies (n + start) * scale in single precision, misses an input
    that a position n below `out` falls on exactly, and takes the one before it."""
    every = scale.denominator  # positions from one that falls on an input to the next
    first = 0
    if start:  # a half: (2n + 1) * numerator / (2 * denominator) is to be whole
        if every % 2 == 0 or scale.numerator % 2:
            return False
        first = (every - 1) // 2
    exact = every & (every - 1) == 0 and 2 * scale.numerator * out < 2**24
    if exact or scale > 2**24:  # nothing is rounded, or nothing can be said
        return False
    step, shift = _single(float(scale)), float(start)
    positions = range(first, min(out, 2**16), every)
    return any(floor(_single((n + shift) * step)) < (n + start) * scale for n in positions)


def _single(number: float) -> float:
    """A number in single precision."""
    (rounded,) = struct.unpack("f", struct.pack("f", number))
    return float(rounded)
