"""Outputs each of which sees only a part of the input.

A network that ends in a map of answers, without a flatten, a global pool or the like, gives each
position what its receptive field holds. Where that is smaller than the input, no output knows the
whole of it. Only networks with classes or a recipe are looked at, and not those that give a map as
large as the input, a class for each pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.layers.base import times

CODE = "W109"
BAD = """\
input: [3, 65, 65]
params: {classes: 10}
layers:
  - conv: {out_channels: 16, kernel_size: 5, stride: 2}
  - relu
  - conv: {out_channels: "${classes}", kernel_size: 3, stride: 2}
"""
GOOD = """\
input: [3, 65, 65]
params: {classes: 10}
layers:
  - conv: {out_channels: 16, kernel_size: 5, stride: 2}
  - relu
  - conv: {out_channels: "${classes}", kernel_size: 3, stride: 2}
  - adaptive_avg_pool: 1
  - flatten
"""

LARGE = 7
"""The largest kernel that is proposed."""


def find(graph: Graph) -> Iterator[Finding]:
    spec = graph.trace.spec
    if not graph.kind(graph.output) or not (spec.train or "classes" in spec.params):
        return
    last, size = graph.rows[graph.output], graph.trace.input_shape[1:]
    out = last.output_shape[1:]
    seen = last.receptive_fields
    if len(out) != len(size) or not any(map(int.__lt__, seen, size)):
        return
    if any(map(int.__ge__, out, size)) or next(graph.of("conv"), None) is None:
        return
    further = [
        ceil((n - s) / jump) + 1 if jump and s < n else 1
        for n, s, jump in zip(size, seen, last.jumps, strict=True)
    ]
    more = f"; or go on with a convolution of kernel_size {times(further)}"
    fits = max(further) <= LARGE and all(map(int.__ge__, out, further))
    yield Finding(
        graph.output,
        f"each of the {times(out)} outputs sees {times(seen)} of the {times(size)} input",
        help="write adaptive_avg_pool: 1 and flatten behind it, for one answer from all of the "
        f"input{more if fits else ''}",
    )
