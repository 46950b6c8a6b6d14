"""Where the numbers that max_pool takes came from, kept in a byte or two instead of eight.

For its backward pass torch keeps the index of each number within the whole plane, and the pool's
input, of which only the shape is needed. Which of a window's pixels it was is told by the last byte
of that index, as long as no two of them have the same; else the last two may do.
"""

from __future__ import annotations

from itertools import product
from math import prod

from shapecalc.analysis.flow import Step
from shapecalc.analysis.rewrites.draft import Draft, Found
from shapecalc.analysis.windows import axes
from shapecalc.layers.base import Extra, Saved
from shapecalc.layers.pool import MaxPool
from shapecalc.tracer import Row

SAID = "keeps a byte or two for each number of {places}"

_MOST = 256
"""Pixels in a window."""


def rewrite(draft: Draft) -> Found | None:
    pool = draft.steps[-1]
    if not draft.training or pool.does != "layer" or not isinstance(pool.row.layer, MaxPool):
        return None
    width = index_bytes(pool.row)
    if not width or not pool.inputs[0].gradient:
        return None
    kept = Saved(Extra(prod(pool.row.output_shape), width))
    step = Step(pool.row, "pool", pool.inputs, pool.outputs, kept)
    return Found(1, (step,), pool.row.path)


def index_bytes(row: Row) -> int:
    """The fewest bytes that tell the pixels of a max_pool's window apart; 0 where two do not."""
    if prod(axis.kernel for axis in axes(row)) > _MOST:
        return 0
    places = offsets(row)
    return next((n for n in (1, 2) if len({p % 256**n for p in places}) == len(places)), 0)


def offsets(row: Row) -> list[int]:
    """How far each pixel of a window lies behind its first one, in the plane's own order."""
    found, pixels = [range(0, 1)], 1
    for axis in reversed(axes(row)):
        found.insert(0, range(0, axis.kernel * axis.dilation * pixels, axis.dilation * pixels))
        pixels *= axis.size
    return [sum(place) for place in product(*found)]
