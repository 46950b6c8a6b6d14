"""A batch_norm that meets a single value of each channel while training, which torch refuses.

batch_norm needs the spread of a channel over the batch and all positions. Behind a flatten or a
global pool there is one position, and so with a batch of one sample there is one value. With larger
batches only a last batch of one would do that; `shapecalc train` leaves that one out.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.layers.base import show

CODE = "W111"
BAD = """\
input: [64]
layers:
  - linear: {out_features: 32, bias: false}
  - batch_norm
  - relu
train: {batch_size: 1}
"""
GOOD = """\
input: [64]
layers:
  - linear: {out_features: 32, bias: false}
  - batch_norm
  - relu
train: {batch_size: 2}
"""


def find(graph: Graph) -> Iterator[Finding]:
    for index in graph.of("batch_norm"):
        shape = graph.rows[index].input_shape
        if prod(shape[1:]) > 1:
            continue
        if graph.recipe is None or graph.recipe.batch_size > 1:
            return
        yield Finding(
            index,
            f"batch_norm gets {show(shape)}, one value of each channel, and batch_size is 1: "
            "training stops, for there is no spread of one value",
            note=f"input is {show(shape)}",
            help="write train: {batch_size: 2} or more, or layer_norm in its place",
        )
