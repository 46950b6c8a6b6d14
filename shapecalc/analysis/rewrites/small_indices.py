"""Where the numbers that max_pool takes came from, kept in a byte instead of eight.

For its backward pass torch keeps the index of each number within the whole plane, and the pool's
input, of which only the shape is needed. Which pixel of its window it was is enough. A relu behind
the pool needs nothing more: one of the byte's values says that the number was not above zero.
"""

from __future__ import annotations

from math import prod

from shapecalc.analysis.flow import Step
from shapecalc.analysis.rewrites.draft import Draft, Found
from shapecalc.analysis.windows import axes
from shapecalc.layers.base import Extra, Saved
from shapecalc.layers.pool import MaxPool
from shapecalc.layers.rectifier import Relu
from shapecalc.tracer import Row

SAID = "keeps a byte for each number of {places}"

MOST_PIXELS = 255
"""Pixels in a window: one value of the byte means none of them."""


def rewrite(draft: Draft) -> Found | None:
    if not draft.target.kernels:
        return None
    last = draft.steps[-1]
    if last.does == "layer" and isinstance(last.row.layer, MaxPool) and _has_kernel(last.row):
        return Found(1, (_pool(draft, last.row, last),), last.row.path)
    if isinstance(last.row.layer, Relu) and last.does == "layer" and (chain := draft.chain(2)):
        pool = chain[0]
        if pool.does == "pool" and len(pool.rows) == 1:
            return Found(2, (_pool(draft, pool.row, pool, last),), pool.row.path)
    return None


def _has_kernel(row: Row) -> bool:
    found = axes(row)
    return len(found) == 2 and prod(axis.kernel for axis in found) <= MOST_PIXELS


def _pool(draft: Draft, row: Row, first: Step, *relu: Step) -> Step:
    """The pool of a row that begins as one step does, and ends with a relu where there is one."""
    (x,) = first.inputs
    kept = Saved(Extra(prod(row.output_shape), 1)) if draft.training and x.gradient else Saved()
    outputs = (relu or (first,))[-1].outputs
    return Step(row, "pool", first.inputs, outputs, kept, (row, *(step.row for step in relu)))
