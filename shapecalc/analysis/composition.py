"""The one linear layer that two in a row come to: times 5 and then times 6 is times 30."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from shapecalc.analysis.windows import Axis, axes, one
from shapecalc.layers.base import Layer
from shapecalc.layers.conv import Conv
from shapecalc.layers.linear import Linear
from shapecalc.tracer import Row


class Taps(NamedTuple):
    """How the pixels that two kernels meet along an axis lie on the kernel of both together."""

    inner: int
    """From one element of the first kernel to the next, in elements of the kernel of both."""
    outer: int
    """From one element of the second kernel to the next."""
    kernel: int
    dilation: int


def taps(first: Axis, second: Axis) -> Taps:
    """Element a of the first kernel and b of the second meet pixel a*d1 + b*d2*s1, counted from
    where the window starts; d is a dilation and s1 the first stride."""
    steps = first.dilation, second.dilation * first.stride
    unit = gcd(*(s for s, axis in zip(steps, (first, second), strict=True) if axis.kernel > 1)) or 1
    reach = steps[0] * (first.kernel - 1) + steps[1] * (second.kernel - 1)
    return Taps(max(1, steps[0] // unit), max(1, steps[1] // unit), reach // unit + 1, unit)


def composed(first: Row, second: Row) -> Layer | None:
    """The one layer that computes what two do, but maybe at the border; None where none does."""
    a, b = first.layer, second.layer
    if isinstance(a, Linear) and isinstance(b, Linear):
        return Linear(out_features=b.out_features, bias=a.bias or b.bias)
    if not isinstance(a, Conv) or not isinstance(b, Conv) or a.groups != b.groups:
        return None
    inner, outer = axes(first), axes(second)
    for layer, found in ((a, inner), (b, outer)):  # `same` of an even kernel pads one side more
        if layer.padding == "same" and any(axis.extent % 2 == 0 for axis in found):
            return None
    pads = any(axis.padding for axis in outer)
    modes = {a.padding_mode, b.padding_mode}
    if pads and modes != {"zeros"} and not _is_pointwise(inner):
        return None
    met = [taps(x, y) for x, y in zip(inner, outer, strict=True)]
    pairs = list(zip(inner, outer, strict=True))
    return Conv(
        out_channels=b.out_channels,
        kernel_size=one(tap.kernel for tap in met),
        stride=one(x.stride * y.stride for x, y in pairs),
        padding=one(x.padding + x.stride * y.padding for x, y in pairs),
        dilation=one(tap.dilation for tap in met),
        groups=a.groups,
        padding_mode=b.padding_mode if pads else a.padding_mode,
        bias=a.bias or b.bias,
    )


def is_exact(first: Row, second: Row) -> bool:
    """Whether that layer computes the same at the border, too.

    What the second layer pads with must be what the first one would make of padding: nothing is
    padded, or each pixel is taken by itself, and zeros come to zeros or pixels to pixels.
    """
    a, b = first.layer, second.layer
    if not isinstance(a, Conv) or not isinstance(b, Conv):
        return True
    inner = axes(first)
    if not any(axis.padding for axis in axes(second)):
        return True
    if b.padding_mode != "zeros":
        return _is_pointwise(inner)
    return not a.bias and all(axis.kernel == 1 and not axis.padding for axis in inner)


def joined(first: Row, second: Row) -> Row | None:
    """Two rows as one with a layer that computes the same everywhere; None where none does."""
    layer = composed(first, second)
    if layer is None or not is_exact(first, second):
        return None
    shape, output = first.input_shape, second.output_shape
    if layer.output_shape(shape) != output:
        return None
    return first._replace(
        layer=layer,
        output_shape=output,
        params=layer.params(shape),
        macs=layer.macs(shape, output),
    )


def _is_pointwise(found: list[Axis]) -> bool:
    return all(axis.kernel == axis.stride == 1 and not axis.padding for axis in found)
