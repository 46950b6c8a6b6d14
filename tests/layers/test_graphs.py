"""Random nested networks: every shape, every count and every refusal is torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from graphs import Graph, Judged, TooLarge, graphs, judge
from hypothesis import event, given
from strategies import FUZZ

from shapecalc import Spec, SpecError, Trace, build, loads, trace


def spec(graph: Graph) -> Spec:
    blocks = {
        name: {"params": {"n": None}, "layers": layers} for name, layers in graph.blocks.items()
    }
    return Spec(input=graph.shape, blocks=blocks, layers=graph.layers)  # type: ignore[arg-type]


def calculated(graph: Graph) -> Trace | None:
    try:
        return trace(spec(graph))
    except SpecError:
        return None


def check(graph: Graph) -> str:
    """Compare a graph with torch run layer by layer: `taken`, `refused` or `too large` to run."""
    try:
        traced, judged = calculated(graph), judge(graph)
    except TooLarge:
        return "too large"
    if traced is None or judged is None:
        assert traced is None, graph
        assert judged is None, graph
        return "refused"
    ours = Judged({row.path: row.output_shape for row in traced.rows}, traced.params)
    assert ours == judged, graph
    shapes = {}

    def hook(path: str) -> Any:
        return lambda module, inputs, output: shapes.update({path: tuple(output.shape[1:])})

    model = build(traced).eval()
    for row in traced.rows:
        model.get_submodule(row.path).register_forward_hook(hook(row.path))
    with torch.no_grad():
        model(torch.zeros(2, *graph.shape))
    assert shapes == judged.shapes, graph
    assert loads(traced.spec.to_yaml()) == traced.spec, graph
    return "taken"


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_random_graph_is_what_torch_makes_of_it() -> None:
    @FUZZ
    @given(graphs())
    def agree(graph: Graph) -> None:
        event(check(graph))

    agree()


COUNTER_EXAMPLES = {
    "a merge that does not fit behind a call of a block": Graph(
        (4, 4, 4),
        {"part": [{"upsample": 2}]},
        [{"save": "a"}, {"part": {"n": 1}}, "relu", {"add": "a"}],
    ),
}
"""What once went wrong, in words."""


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("graph", COUNTER_EXAMPLES.values(), ids=COUNTER_EXAMPLES)
def test_counter_example_is_still_what_torch_makes_of_it(graph: Graph) -> None:
    check(graph)


def test_refused_merges_behind_a_block_that_ends_in_a_transposed_convolution() -> None:
    up = {"conv_transpose": {"out_channels": "${n + 2}", "kernel_size": 2, "stride": 2}}
    adds = {"sequential": {"layers": [{"add": "a"}, {"add": "a"}]}}
    layers = [{"save": "a"}, {"part": {"n": "${x.channels}"}}, adds]
    assert check(Graph((4, 4, 3), {"piece": [], "part": [up, {"piece": {"n": 1}}]}, layers)) == (
        "refused"
    )
