"""The integer rules: output sizes, paddings and receptive fields. Exact for integers of any size.

Sizes follow PyTorch: `aten/src/ATen/native/Pool.h` for pools, the documentation of `torch.nn` for
the rest. Receptive fields follow Araujo, Norris and Sim, "Computing receptive fields of
convolutional neural networks", Distill 2019, and are kept for each position where those of
neighbours differ, as they do after a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import ceil, floor, gcd, lcm
from typing import Literal

Number = int | Fraction
Span = tuple[Number, Number] | None
"""The first and the last pixel that a position sees; None where it sees nothing."""

Field = tuple[tuple[Span, ...], Number, Number]
"""What one axis of a tensor sees of the input, as (spans, step, jump): the spans of its first
positions, after which they repeat, `step` pixels further on. `jump` is step / number of spans, the
pixels between neighbours on average."""

Around = Literal["floor", "below", "linear", "cubic"]
"""Which inputs a resampled position meets."""

Window = tuple[int, int, int, int]
"""How a layer looks along one axis: (kernel, dilation, stride, padding on the left)."""

ONE: Window = (1, 1, 1, 0)
"""A window on each position by itself."""

POINT: Field = (((0, 0),), 1, 1)
"""The field of the input itself."""

MAX_SPANS = 128
"""Spans after which fields are no longer kept position by position, but as what covers them."""


def extent(kernel: int, dilation: int) -> int:
    """Pixels that a kernel spans with its holes: d*(k - 1) + 1."""
    return dilation * (kernel - 1) + 1


def conv_size(size: int, extent: int, stride: int, padding: int) -> int:
    """Output size of a convolution; `padding` is that of both sides together."""
    return (size + padding - extent) // stride + 1


def pool_size(size: int, extent: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Output size of a pool; `padding` is that of one side.

    With `ceil_mode` a window may start past the end of the input, but not in its right padding.
    """
    rest = stride - 1 if ceil_mode else 0
    out = (size + 2 * padding - extent + rest) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    return out


def conv_transpose_size(
    size: int, extent: int, stride: int, padding: int, output_padding: int
) -> int:
    """Output size of a transposed convolution; `padding` is that of one side."""
    return (size - 1) * stride - 2 * padding + extent + output_padding


def same_padding(extent: int) -> tuple[int, int]:
    """Left and right padding that keep the size at stride 1; the odd pixel goes right."""
    total = extent - 1
    return total // 2, total - total // 2


def see(field: Field, window: Window) -> Field:
    """The field after a layer: its output n meets inputs n*s - p + t*d, for t from 0 to k - 1."""
    kernel, dilation, stride, padding = window
    spans, step, _ = field
    if len(spans) == 1 and spans[0]:  # all positions alike, as without transposed layers
        low, high = spans[0]
        low, high = low - padding * step, high + (dilation * (kernel - 1) - padding) * step
        return ((low, high),), step * stride, step * stride
    taps = _ends(kernel, len(spans) // gcd(len(spans), dilation))
    shared = gcd(len(spans), stride)
    return _field(
        (
            _join(_at(field, n * stride - padding + t * dilation) for t in taps)
            for n in range(len(spans) // shared)
        ),
        step * (stride // shared),
    )


def see_transposed(field: Field, window: Window) -> Field:
    """The field after a transposed layer: its output n meets inputs i with n + p - i*s = t*d."""
    kernel, dilation, stride, padding = window
    if len(field[0]) * stride > MAX_SPANS:
        return _see_transposed_smoothly(_smooth(field), window)
    spans, step, _ = field
    apart = stride // gcd(stride, dilation)  # taps from one that meets an input to the next
    onward = dilation // gcd(stride, dilation)  # and the inputs between the two
    taps = _ends(kernel, apart * (len(spans) // gcd(len(spans), onward)))
    return _field(
        (
            _join(
                _at(field, (n + padding - t * dilation) // stride)
                for t in taps
                if (n + padding - t * dilation) % stride == 0
            )
            for n in range(len(spans) * stride)
        ),
        step,
    )


def see_parts(field: Field, size: int, parts: int) -> Field:
    """The field after a layer that looks at `parts` parts of its `size` inputs: output n meets
    inputs floor(n*size/parts) to ceil((n + 1)*size/parts) - 1."""
    scale = Fraction(size, parts)
    before = Fraction(scale.denominator - 1, scale.denominator)
    after = Fraction(scale.numerator - 1, scale.denominator)
    return _see_scaled(field, scale, lambda x: (floor(x), ceil(x + scale) - 1), before, after)


def see_resampled(field: Field, scale: Fraction, offset: Fraction, around: Around) -> Field:
    """The field after resampling: output n meets the inputs around x = n*scale + offset.

    Those are the last one up to x (`floor`), that or the one before (`below`: what floating point
    makes of it), the nearest on both sides (`linear`) or two on both sides (`cubic`); just x where
    it is an input itself and `around` is `linear` or `cubic`. Inputs beyond the border stand for
    those at the border.
    """
    ends: dict[str, Callable[[Fraction], tuple[int, int]]] = {
        "floor": lambda x: (floor(x), floor(x)),
        "below": lambda x: (ceil(x) - 1, floor(x)),
        "linear": lambda x: (floor(x), ceil(x)),
        "cubic": lambda x: (floor(x) - 1, ceil(x) + 1) if x.denominator > 1 else (int(x), int(x)),
    }
    before, after = {"floor": (1, 0), "below": (1, 0), "linear": (1, 1), "cubic": (2, 2)}[around]
    return _see_scaled(field, scale, lambda x: ends[around](x + offset), before - offset,
                       after + offset)  # fmt: skip


def see_fractional(field: Field, size: int, parts: int, kernel: int) -> Field:
    """The field after a pool of `parts` windows at random steps, the last at the end of `size`
    inputs: the window of output n starts at n*(size - kernel)/(parts - 1), rounded either way."""
    if parts == 1:
        return see(field, (kernel, 1, 1, kernel - size))
    scale = Fraction(size - kernel, parts - 1)
    return _see_scaled(field, scale, lambda x: (floor(x), ceil(x) + kernel - 1), 1, kernel)


def widest_part(size: int, parts: int) -> int:
    """The largest number of inputs in one of the windows of `see_parts`."""
    rest = size % parts // gcd(size, parts)
    return size // parts + min(rest, 2)


def see_all(field: Field, size: int) -> Field:
    """The field after a layer that looks at all `size` positions at once."""
    return _field((_join(_at(field, n) for n in _ends(size, len(field[0]))),), 0)


def union(first: Field, second: Field, size: int) -> Field:
    """The field where two tensors of `size` positions meet element by element."""
    if first is second or first == second:
        return first
    count = lcm(len(first[0]), len(second[0]))
    if first[2] == second[2] and count <= MAX_SPANS:
        spans = (_join((_at(first, n), _at(second, n))) for n in range(count))
        return _field(spans, count * first[2])
    if 0 in (first[2], second[2]):  # one of the two sees the same from everywhere
        every = (_at(see_all(field, size), 0) for field in (first, second))
        return _field((_join(every),), 0)
    slow, fast = sorted((_smooth(first), _smooth(second)), key=lambda field: field[2])
    drift = (fast[2] - slow[2]) * (size - 1)  # how far the slower one falls behind
    behind = slow[0][0] and (slow[0][0][0] - drift, slow[0][0][1])
    return _field((_join((behind, fast[0][0])),), fast[2])


def receptive_field(field: Field) -> int:
    """Pixels from the first to the last that one position sees: the most of any position."""
    return max(floor(span[1] - span[0]) + 1 if span else 0 for span in field[0])


def _field(spans: Iterable[Span], step: Number) -> Field:
    spans = tuple(spans)
    if len(spans) == 1:
        return spans, step, step
    jump = Fraction(step) / len(spans)
    return spans, step, jump.numerator if jump.denominator == 1 else jump


def _at(field: Field, position: int) -> Span:
    """What any position sees, negative ones included."""
    spans, step, _ = field
    turns, index = divmod(position, len(spans))
    span = spans[index]
    return span and (span[0] + turns * step, span[1] + turns * step)


def _ends(count: int, period: int) -> set[int]:
    """The first and the last numbers below `count`: those between see nothing beyond them."""
    return {*range(count)[:period], *range(count)[-period:]}


def _join(spans: Iterable[Span]) -> Span:
    seen = [span for span in spans if span]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None


def _smooth(field: Field) -> Field:
    """A field of one span, in fractions of pixels, that covers all those of `field`."""
    spans, _, jump = field
    moved = (span and (span[0] - n * jump, span[1] - n * jump) for n, span in enumerate(spans))
    return (_join(moved),), jump, jump


def _see_transposed_smoothly(field: Field, window: Window) -> Field:
    """As `see_transposed`, between the inputs (n + p - d*(k - 1))/s and (n + p)/s."""
    kernel, dilation, stride, padding = window
    (span,), _, jump = field
    reach = dilation * (kernel - 1)
    after = span and (
        span[0] + Fraction(padding - reach, stride) * jump,
        span[1] + Fraction(padding, stride) * jump,
    )
    return _field((after,), Fraction(jump) / stride)


def _see_scaled(
    field: Field,
    scale: Fraction,
    ends: Callable[[Fraction], tuple[int, int]],
    before: Number,
    after: Number,
) -> Field:
    """The field after a layer whose output n meets the inputs `ends(n*scale)`, the first and the
    last, which lie no more than `before` and `after` from n*scale."""
    turns = len(field[0]) // gcd(len(field[0]), scale.numerator)
    if turns * scale.denominator > MAX_SPANS:
        (span,), _, jump = _smooth(field)
        return _field((span and (span[0] - before * jump, span[1] + after * jump),), scale * jump)
    windows = (ends(n * scale) for n in range(turns * scale.denominator))
    spans = (
        _join(_at(field, first + t) for t in _ends(last + 1 - first, len(field[0])))
        for first, last in windows
    )
    return _field(spans, turns * scale.numerator * field[2])
