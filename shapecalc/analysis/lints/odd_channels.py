"""Channels that tensor cores take badly in half precision.

The matrix units of a GPU work on 8 numbers of bf16 or fp16 at a time. A layer whose channels are no
multiple of 8 is padded in each step, or computed without them. It is only found where the recipe
says bf16 or fp16, and for layers of at least 32 channels with a tenth of the network's work.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding

CODE = "W112"
BAD = """\
input: [64, 16, 16]
layers:
  - conv: {out_channels: 60, kernel_size: 3}
  - relu
  - conv: {out_channels: 64, kernel_size: 3}
  - adaptive_avg_pool: 1
  - flatten
train: {precision: bf16}
"""
GOOD = """\
input: [64, 16, 16]
layers:
  - conv: {out_channels: 64, kernel_size: 3}
  - relu
  - conv: {out_channels: 64, kernel_size: 3}
  - adaptive_avg_pool: 1
  - flatten
train: {precision: bf16}
"""

MULTIPLE, FEW, SHARE = 8, 32, 10


def find(graph: Graph) -> Iterator[Finding]:
    if "precision" not in graph.trace.spec.train:
        return
    if graph.recipe is None or graph.recipe.precision not in ("bf16", "fp16"):
        return
    last = graph.behind(graph.output, "softmax", "log_softmax", "adaptive_avg_pool", "flatten")
    for index in graph.of("conv", "linear"):
        row = graph.rows[index]
        count = row.output_shape[-1 if row.kind == "linear" else 0]
        if count < FEW or count % MULTIPLE == 0 or getattr(row.layer, "groups", 1) > 1:
            continue
        if row.macs * SHARE < graph.trace.macs or index == last:
            continue
        argument = "out_features" if row.kind == "linear" else "out_channels"
        below = count // MULTIPLE * MULTIPLE
        yield Finding(
            index,
            f"{row.kind} has {count} {argument}, no multiple of {MULTIPLE}, which tensor cores "
            f"work on at a time in {graph.recipe.precision}",
            argument=argument,
            help=f"write {argument}: {below + MULTIPLE}, or {below}",
        )
