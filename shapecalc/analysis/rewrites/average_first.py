"""The mean of windows taken before a convolution of 1x1 instead of behind it.

The one sums channels, the other pixels, and sums can be taken in any order: the convolution then
has only as many pixels to do as there are windows.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from shapecalc.analysis.flow import Step, Value
from shapecalc.analysis.rewrites.draft import Draft, Found, at_shape, is_linear
from shapecalc.analysis.windows import axes
from shapecalc.layers.conv import Conv
from shapecalc.layers.pool import AdaptiveAvgPool, AvgPool

SAID = "averages before {places}"


def rewrite(draft: Draft) -> Found | None:
    chain = draft.chain(2)
    if chain is None or not is_linear(chain[0]):
        return None
    conv, pool = chain
    layer = conv.row.layer
    if not isinstance(layer, Conv) or not _means(pool, layer.bias):
        return None
    if any((axis.kernel, axis.stride, axis.padding) != (1, 1, 0) for axis in axes(conv.row)):
        return None
    if prod(pool.row.output_shape) >= prod(pool.row.input_shape):
        return None
    (x,) = conv.inputs
    before = at_shape(pool.row, conv.row.input_shape)
    middle = Value(before.output_shape, x.gradient)
    saved = before.layer.saved(before.input_shape, before.output_shape)
    after = at_shape(conv.row, middle.shape)
    out = Value(after.output_shape, conv.outputs[0].gradient)
    steps = (
        Step(before, "layer", (x,), (middle,), saved),
        replace(conv, row=after, inputs=(middle,), outputs=(out,)),
    )
    return Found(2, steps, conv.row.path)


def _means(pool: Step, biased: bool) -> bool:
    """Whether a step averages, and what is the same in all pixels, as a bias is, stays so."""
    layer = pool.row.layer
    if isinstance(layer, AvgPool) and pool.does == "layer":
        padded = any(axis.padding for axis in axes(pool.row)) and layer.count_include_pad
        return not biased or not (padded or layer.divisor_override)
    return isinstance(layer, AdaptiveAvgPool) and pool.does == "layer"
