"""A dropout right before a batch_norm.

dropout scales what it keeps by 1/(1 - p), so that the mean is the same with and without it. The
variance is not: while training it is at least 1/(1 - p) times as large. batch_norm keeps that one,
and in evaluation, where nothing is dropped, divides by a variance that is no longer there (Li,
Chen, Hu, Yang 2019, arXiv:1801.05134). Behind the batch_norm a dropout does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding

CODE = "W113"
BAD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3, bias: false}
  - dropout: 0.5
  - batch_norm
  - relu
"""
GOOD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3, bias: false}
  - batch_norm
  - dropout: 0.5
  - relu
"""


def find(graph: Graph) -> Iterator[Finding]:
    for norm in graph.of("batch_norm"):
        (index,) = graph.sources[norm]
        if graph.kind(index) not in ("dropout", "channel_dropout"):
            continue
        row = graph.rows[index]
        p = getattr(row.layer, "p", 0)
        if 0 < p < 1:
            yield Finding(
                index,
                f"{row.kind} of {p:g} right before the batch_norm {graph.rows[norm].path}: the "
                f"variance that it learns is at least {1 / (1 - p):.3g} times that of evaluation",
                help="move it behind the batch_norm",
            )
