"""A linear layer behind a flatten that holds most of a large network's params.

A flatten gives the first linear layer a weight for every channel at every position. In AlexNet and
VGG that one layer is most of the network. The mean of each channel over all positions, as networks
since 2014 have it, needs a weight for each channel alone, and takes any input size.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.layers.linear import Linear

CODE = "W108"
BAD = """\
input: [3, 64, 64]
layers:
  - conv: {out_channels: 32, kernel_size: 3, padding: 1}
  - relu
  - max_pool: 2
  - flatten
  - linear: 64
  - relu
  - linear: 10
"""
GOOD = """\
input: [3, 64, 64]
layers:
  - conv: {out_channels: 32, kernel_size: 3, padding: 1}
  - relu
  - max_pool: 2
  - adaptive_avg_pool: 1
  - flatten
  - linear: 64
  - relu
  - linear: 10
"""

MANY = 1_000_000
PASSING = ("dropout", "alpha_dropout", "relu", "identity")
"""Kinds that may stand between the flatten and the linear layer."""


def find(graph: Graph) -> Iterator[Finding]:
    total = graph.trace.params
    if total <= MANY:
        return
    for index in graph.of("linear"):
        row = graph.rows[index]
        if row.params <= MANY or 2 * row.params <= total:
            continue
        flat = graph.behind(graph.sources[index][0], *PASSING)
        if graph.kind(flat) != "flatten":
            continue
        shape = graph.rows[flat].input_shape
        if len(shape) < 2 or prod(shape[1:]) == 1 or len(row.input_shape) > 1:
            continue
        layer = row.layer
        assert isinstance(layer, Linear)
        left = shape[0] * layer.out_features + layer.out_features * layer.bias
        yield Finding(
            index,
            f"linear has {row.params:,} of the network's {total:,} params, "
            f"{row.params / total:.0%}: a weight for each of {' x '.join(map(str, shape))} inputs",
            help=f"adaptive_avg_pool: 1 before the flatten {graph.rows[flat].path} leaves it "
            f"{left:,} params, {row.params - left:,} fewer",
        )
