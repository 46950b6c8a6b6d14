"""Padding so wide that some windows hold nothing but zeros.

A convolution with a kernel of 1 and a padding of 1 puts a frame around the image that is its bias
and tells nothing; so does any padding that is as wide as its kernel. Half the kernel is what keeps
the size.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.analysis.windows import Axis, along, axes, one
from shapecalc.language.writer import flow as written
from shapecalc.layers.conv import Conv

CODE = "W106"
BAD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 1, padding: 1}
"""
GOOD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 1}
"""


def find(graph: Graph) -> Iterator[Finding]:
    for index in graph.of("conv"):
        row = graph.rows[index]
        layer = row.layer
        assert isinstance(layer, Conv)
        if layer.padding in (0, "same", "valid") or layer.padding_mode != "zeros":
            continue
        found = axes(row)
        wasted = [axis for axis in found if idle(axis)]
        if wasted:
            counts = dict.fromkeys(f"{idle(axis)} of {axis.out}" for axis in wasted)
            pads = dict.fromkeys(f"{axis.padding} around a kernel of {axis.extent}"
                                 for axis in wasted)  # fmt: skip
            enough = written(one(_enough(axis) for axis in found))
            yield Finding(
                index,
                f"conv has padding {' and '.join(pads)}: {' and '.join(counts)} windows "
                f"{along(wasted)} hold only zeros",
                argument="padding",
                help=f"write padding: {enough}",
            )


def idle(axis: Axis) -> int:
    """Windows that lie in the padding altogether."""
    left = (axis.padding - axis.extent) // axis.stride + 1
    right = axis.out + (-(axis.size + axis.padding) // axis.stride)
    return max(0, left) + max(0, right)


def _enough(axis: Axis) -> int:
    """The padding that keeps the size at stride 1, today's where none of it is idle."""
    return (axis.extent - 1) // 2 if idle(axis) else axis.padding
