"""A stride larger than the kernel, so that pixels between the windows are never seen.

A kernel of 1 that steps by 2 looks at one pixel of four, and the rest might as well not be there;
of a dilated kernel the same is true where its holes fall together with the steps. Where another
layer sees all of the same tensor nothing is lost, and so the shortcut of a residual is not
found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.analysis.windows import SLIDING, Axis, along, axes, one
from shapecalc.language.writer import flow as written

CODE = "W105"
BAD = """\
input: [3, 33, 33]
layers:
  - conv: {out_channels: 8, kernel_size: 2, stride: 3}
"""
GOOD = """\
input: [3, 33, 33]
layers:
  - conv: {out_channels: 8, kernel_size: 3, stride: 3}
"""


def find(graph: Graph) -> Iterator[Finding]:
    for index in graph.of(*SLIDING):
        if not _skips(graph, index):
            continue
        (source,) = graph.sources[index]
        if not all(_skips(graph, other) for other in graph.uses[source]):
            continue
        row = graph.rows[index]
        found = axes(row)
        skipping = [axis for axis in found if axis.skips]
        seen = prod(axis.met for axis in skipping)
        of = prod(axis.stride for axis in skipping)
        yield Finding(
            index,
            f"{row.kind} steps by {_each(skipping, 'stride')} with a kernel of "
            f"{_each(skipping, 'kernel')} and so sees {seen} of every {of} pixels "
            f"{along(skipping)}",
            argument="stride",
            help=_help(found),
        )


def _skips(graph: Graph, node: int) -> bool:
    if graph.kind(node) not in SLIDING:
        return False
    row = graph.rows[node]
    if getattr(row.layer, "stride", None) in (1, None):  # a pool's None is its kernel
        return False
    return any(axis.skips for axis in axes(row))


def _each(found: Sequence[Axis], what: str) -> str:
    return " and ".join(dict.fromkeys(str(getattr(axis, what)) for axis in found))


def _help(found: Sequence[Axis]) -> str:
    if any(axis.skips and axis.dilation > 1 for axis in found):
        return f"write stride: {written(one(1 if a.skips else a.stride for a in found))}"
    stride = one(min(axis.stride, axis.kernel) if axis.skips else axis.stride for axis in found)
    kernel = one(max(axis.stride, axis.kernel) if axis.skips else axis.kernel for axis in found)
    return f"write kernel_size: {written(kernel)}, or stride: {written(stride)}"
