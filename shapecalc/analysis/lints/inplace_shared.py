"""An activation that overwrites a tensor which something else still needs.

With inplace: true a layer writes its output over its input. That saves memory as long as nobody
else reads the input. At the start of a residual or a branch, or behind a save, somebody does: the
other side then gets the changed values, or torch stops in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.graph import OUTPUT, Graph
from shapecalc.analysis.lints.finding import Finding

CODE = "W115"
BAD = """\
input: [8, 32, 32]
layers:
  - residual:
      - relu: {inplace: true}
      - conv: {out_channels: 8, kernel_size: 3, padding: 1}
"""
GOOD = """\
input: [8, 32, 32]
layers:
  - residual:
      - relu
      - conv: {out_channels: 8, kernel_size: 3, padding: 1}
"""

_INPLACE = (
    *("relu", "relu6", "leaky_relu", "rrelu", "threshold", "elu", "celu", "selu", "silu", "mish"),
    *("hardtanh", "hardsigmoid", "hardswish", "dropout", "channel_dropout", "alpha_dropout"),
)
"""The kinds that have the argument."""

VIEWS = ("flatten", "unflatten", "permute", "identity")
"""Kinds whose output lies in the memory of their input."""


def find(graph: Graph) -> Iterator[Finding]:
    for index in graph.of(*_INPLACE):
        if not getattr(graph.rows[index].layer, "inplace", False):
            continue
        reader, source = index, graph.sources[index][0]
        while len(graph.uses[source]) == 1 and graph.kind(source) in VIEWS:
            reader, source = source, graph.sources[source][0]
        others = [node for node in graph.uses[source] if node != reader]
        if others:
            other = others[0]
            needed = "the output" if other == OUTPUT else f"the {graph.kind(other) or 'branches'}"
            where = graph.rows[other].path if graph.kind(other) else ""
            kind = graph.rows[index].kind
            yield Finding(
                index,
                f"{kind} overwrites a tensor that {needed} {where}".rstrip() + " needs as it was",
                argument="inplace",
                help="write inplace: false",
            )
