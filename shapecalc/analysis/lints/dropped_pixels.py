"""A stride that does not divide what it walks over, so that pixels at the border are never seen.

A window that steps by 2 over 7 pixels ends at the sixth: the last row and column are cut off. What
is there is lost to this layer. An input of another size, a padding or a pool's ceil_mode makes the
windows come out even. Less than a hundredth of an axis is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.analysis.windows import SLIDING, Axis, along, axes, one
from shapecalc.diagnostics import SpecError
from shapecalc.geometry import conv_size, pool_size
from shapecalc.language.writer import flow as written
from shapecalc.layers.base import times
from shapecalc.tracer import Row, Trace, trace

CODE = "W104"
BAD = """\
input: [8, 7, 7]
layers:
  - max_pool: 2
"""
GOOD = """\
input: [8, 7, 7]
layers:
  - max_pool: {kernel_size: 2, ceil_mode: true}
"""

SHARE = 100
"""Of so many pixels, one that is dropped is told."""


def find(graph: Graph) -> Iterator[Finding]:
    for index in graph.of(*SLIDING):
        row = graph.rows[index]
        if getattr(row.layer, "stride", None) == 1:
            continue
        dropped = [axis for axis in axes(row) if drops(axis)]
        if dropped:
            counts = dict.fromkeys(f"{axis.left_over} of {axis.size}" for axis in dropped)
            yield Finding(
                index,
                f"{row.kind} never sees the last {' and '.join(counts)} pixels {along(dropped)}",
                help=_help(graph.trace, row),
            )


def drops(axis: Axis) -> bool:
    """Whether pixels at the end of an axis are lost."""
    return axis.left_over * SHARE >= axis.size and axis.left_over > 0 and not axis.skips


def _help(traced: Trace, row: Row) -> str:
    mends = []
    found = axes(row)
    padding = [_padding(row, axis) for axis in found]
    if row.kind != "conv" and _ceil_mends(row, found):
        mends.append("write ceil_mode: true")
    elif all(pad is not None for pad in padding):
        mends.append(f"write padding: {written(one(pad or 0 for pad in padding))}")
    sizes = _even_input(traced, row, found)
    if sizes:
        now = times(traced.input_shape[1:])
        mends.append(f"an input of {times(sizes)} (now {now}) drops none here")
    return "; or ".join(mends)


def _ceil_mends(row: Row, found: Sequence[Axis]) -> bool:
    def out(axis: Axis) -> int:
        return pool_size(axis.size, axis.extent, axis.stride, axis.padding, True)

    return not any(axis._replace(out=out(axis)).left_over > 0 for axis in found)


_TRIED = 1_000
"""Paddings that are tried for a mend."""


def _padding(row: Row, axis: Axis) -> int | None:
    """The least padding with which nothing is dropped, today's where that does."""
    most = axis.extent - 1 if row.kind == "conv" else axis.kernel // 2
    if row.kind == "lp_pool":  # has none
        most = 0
    for padding in range(axis.padding, min(most, axis.padding + _TRIED) + 1):
        out = conv_size(axis.size, axis.extent, axis.stride, 2 * padding)
        if axis._replace(padding=padding, out=out).left_over <= 0:
            return padding
    return None


def _even_input(traced: Trace, row: Row, found: Sequence[Axis]) -> tuple[int, ...] | None:
    """The input nearest to today's for which this layer drops nothing, where it is easily found:
    the pixels that are dropped fewer, or those to the next window more."""
    shape = traced.input_shape
    if len(row.jumps) != len(found) or not all(jump > 0 for jump in row.jumps):
        return None
    for more in (False, True):
        sizes = []
        for size, axis, jump in zip(shape[1:], found, row.jumps, strict=True):
            step = axis.stride - axis.left_over if more else -axis.left_over
            sizes.append(int(size + step * jump / axis.stride) if drops(axis) else size)
        if min(sizes) > 0 and _is_even(traced, row, tuple(sizes)):
            return tuple(sizes)
    return None


def _is_even(traced: Trace, row: Row, sizes: tuple[int, ...]) -> bool:
    try:
        other = trace(traced.spec.with_input((traced.input_shape[0], *sizes)))
    except SpecError:
        return False
    same = next((found for found in other.rows if found.path == row.path), None)
    if same is None or same.kind != row.kind:
        return False
    return not any(axis.left_over > 0 for axis in axes(same))
