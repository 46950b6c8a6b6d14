"""A linear layer on a tensor of channels and pixels, which maps its last axis alone.

torch applies a linear layer to the last axis of whatever it gets: of [C, H, W] that is the width,
and every row of every channel goes through the same small map. Mostly a flatten was forgotten.
Where channels were moved to the end by permute, or positions made one axis by flatten, it is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from shapecalc.analysis.graph import INPUT, Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.layers.base import AXES, Window, show

CODE = "W107"
BAD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - relu
  - linear: 10
"""
GOOD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - relu
  - flatten
  - linear: 10
"""

MOVED = ("permute", "unflatten", "flatten", "linear", "unfold")
"""Behind these the last axis need not be one of pixels."""


def find(graph: Graph) -> Iterator[Finding]:
    if not any(len(graph.rows[index].input_shape) > 1 for index in graph.of("linear")):
        return
    pixels = {INPUT: len(graph.trace.input_shape) > 2}  # of [C, L] that is not said
    for node, sources in graph.sources.items():
        kind = graph.kind(node)
        row = graph.rows[node] if kind else None
        if row is not None and kind == "linear" and pixels[sources[0]] and len(row.input_shape) > 1:
            shape = row.input_shape
            sizes = " x ".join(map(str, shape))
            yield Finding(
                node,
                f"linear gets {show(shape)} and maps its {AXES[len(shape) - 1][-1]} of "
                f"{shape[-1]} alone",
                note=f"input is {show(shape)}",
                help=f"write flatten before it, for {sizes} = {prod(shape)} in-features; or "
                f"adaptive_avg_pool: 1 and flatten, for {shape[0]}",
            )
        if row is not None and (isinstance(row.layer, Window) or "adaptive" in kind):
            pixels[node] = len(row.output_shape) > 1
        else:
            pixels[node] = kind not in MOVED and all(pixels[source] for source in sources)
