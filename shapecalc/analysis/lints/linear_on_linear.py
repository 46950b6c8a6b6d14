"""A linear layer or a convolution directly behind another, with nothing nonlinear between.

Two linear maps in a row are one linear map, as times 5 and then times 6 is times 30: the second
layer adds params and work, but nothing that a single one could not learn. A convolution of 3 behind
one of 3 sees as far as one of 5. An activation between them makes two layers of them.

Not found are a pair of which one has groups, such as a depthwise and a pointwise convolution, and a
narrow middle that makes both together cheaper than the one: such maps are taken apart on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.composition import composed, is_exact
from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.language.writer import flow as written
from shapecalc.language.writer import given_arguments
from shapecalc.layers.base import Layer
from shapecalc.tracer import Row

CODE = "W101"
BAD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - conv: {out_channels: 16, kernel_size: 3}
  - relu
"""
GOOD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - relu
  - conv: {out_channels: 16, kernel_size: 3}
  - relu
"""


def find(graph: Graph) -> Iterator[Finding]:
    for index in graph.of("conv", "linear"):
        before = graph.before(index)
        if before < 0 or graph.rows[before].kind != graph.rows[index].kind:
            continue
        first, second = graph.rows[before], graph.rows[index]
        if max(getattr(row.layer, "groups", 1) for row in (first, second)) > 1:
            continue
        single = composed(first, second)
        params, macs = first.params + second.params, first.macs + second.macs
        if single is None:
            help = "write relu between them"
        else:
            shape = first.input_shape
            few, work = single.params(shape), single.macs(shape, second.output_shape)
            if params < few and macs < work and _is_narrow(first, second):
                continue
            help = _help(single, (params, few), (macs, work), is_exact(first, second))
        yield Finding(
            index,
            f"{second.kind} directly follows the {first.kind} {first.path}: "
            "two linear maps in a row are one",
            help=help,
        )


def _is_narrow(first: Row, second: Row) -> bool:
    """Whether the tensor between two layers has fewer channels than both sides."""
    axis = -1 if first.kind == "linear" else 0
    ends = first.input_shape[axis], second.output_shape[axis]
    return first.output_shape[axis] < min(ends)


def _help(single: Layer, params: tuple[int, int], macs: tuple[int, int], exact: bool) -> str:
    same = "the same" if exact else "the same but at the border"
    what = f"{single.kind}: {written(given_arguments(single))}"
    costs = " and ".join(
        f"{ours:,} {name} instead of {both:,}"
        for name, (both, ours) in (("params", params), ("MACs", macs))
    )
    if params[1] <= params[0] and macs[1] <= macs[0]:
        return f"write relu between them, or one {what}, which computes {same} with {costs}"
    return f"write relu between them; one {what} computes {same}, with {costs}"
