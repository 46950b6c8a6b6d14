"""The first convolution and the max_pool behind it in one pass, with bias and relu.

Its few channels leave most of a matrix unit's tiles empty, and what it gives is by far the largest
tensor of many networks, written and read again, forward and backward, only to be pooled. A kernel
for just that keeps it in the cache, and needs but a byte for each number that is left.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from shapecalc.analysis.flow import Step
from shapecalc.analysis.rewrites.draft import Draft, Found, groups, is_linear, parts
from shapecalc.analysis.rewrites.small_indices import MOST_PIXELS
from shapecalc.analysis.windows import axes
from shapecalc.layers.base import Extra, Saved
from shapecalc.layers.conv import Conv
from shapecalc.layers.pool import MaxPool
from shapecalc.layers.rectifier import Relu
from shapecalc.tracer import Row

SAID = "convolves and pools in one pass at {places}"

_CHANNELS, _TILE, _BLOCK = 4, 16, 32
"""As many channels of pixels as a tile gains from; rows of one; pixels that stem.c does at once."""


def rewrite(draft: Draft) -> Found | None:
    chain = draft.chain(2) if draft.target.tiles else None
    if chain is None:
        return None
    before, last = chain
    if before.does == "stem" and _is(last, Relu) and not _is_rectified(before):
        step = replace(before, rows=(*before.rows, last.row), outputs=last.outputs)
        return Found(2, (step,), before.row.path)
    if before.inputs != (draft.input,) or not is_linear(before) or not _is(last, MaxPool):
        return None
    if not _convolves(before.row) or not _pools(last.row):
        return None
    kept = Extra(prod(last.row.output_shape), 1)
    saved = Saved(*before.saved.extras, *[kept] * draft.training, input=True)
    rows = (*parts(before), last.row)
    step = replace(before, does="stem", rows=rows, outputs=last.outputs, saved=saved)
    return Found(2, (step,), before.row.path)


def _is(step: Step, kind: type) -> bool:
    return step.does == "layer" and isinstance(step.row.layer, kind)


def _is_rectified(stem: Step) -> bool:
    return isinstance(stem.rows[-1].layer, Relu)


def _convolves(row: Row) -> bool:
    """Whether the kernel does such a convolution, of few channels."""
    if not isinstance(row.layer, Conv) or groups(row) > 1 or len(row.input_shape) != 3:
        return False
    if row.input_shape[0] > _CHANNELS or row.output_shape[0] % _TILE:
        return False
    found = axes(row)
    zeros = row.layer.padding_mode == "zeros" or not any(axis.padding for axis in found)
    plain = all((axis.stride, axis.dilation) == (1, 1) for axis in found)
    even = all(axis.left_over == -axis.padding for axis in found)  # the same on both sides
    return zeros and plain and even and found[1].kernel <= _TILE


def _pools(row: Row) -> bool:
    """Whether windows lie side by side, each on pixels alone, in pairs of them."""
    found = axes(row)
    high, wide = (axis.kernel for axis in found)
    apart = all(axis.kernel == axis.stride and axis.dilation == 1 for axis in found)
    inside = all(not axis.padding and axis.left_over >= 0 for axis in found)
    return apart and inside and wide % 2 == 0 and wide <= _BLOCK and high * wide <= MOST_PIXELS
