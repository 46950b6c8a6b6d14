"""A bias that the normalisation right behind it takes away.

batch_norm and instance_norm subtract each channel's mean, and with it whatever the layer before
added to that channel. The bias is memory and work without any effect on what is learnt;
batch_norm's own bias does its part. group_norm and layer_norm take one mean of several channels,
and what a bias makes of their differences stays: before those it is not found.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding

CODE = "W103"
BAD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - batch_norm
  - relu
"""
GOOD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3, bias: false}
  - batch_norm
  - relu
"""

BIASED = ("conv", "conv_transpose", "linear")


def find(graph: Graph) -> Iterator[Finding]:
    for norm in graph.of("batch_norm", "instance_norm"):
        index = graph.before(norm)
        if index < 0:
            continue
        row = graph.rows[index]
        kind = row.kind
        if kind not in BIASED or not getattr(row.layer, "bias", False):
            continue
        if kind == "linear" and len(row.input_shape) > 1:
            continue  # its bias goes along the last axis, the norm's mean along the first
        count = row.output_shape[0]
        after = graph.rows[norm]
        yield Finding(
            index,
            f"{kind} has a bias of {count:,} params, which the {after.kind} {after.path} "
            "right behind it takes away",
            argument="bias",
            help=f"write bias: false, which saves {count:,} params",
        )
