"""The graph of a Trace: the same as which tensors the built modules are handed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shapecalc import Spec, build, load, loads, trace
from shapecalc.analysis.graph import INPUT, OUTPUT, Graph

SPECS = Path(__file__).parents[2] / "specs"

MIXED = """\
input: [4, 8, 8]
blocks:
  pair:
    params: {channels: null}
    layers:
      - conv: {out_channels: "${channels}", kernel_size: 3, padding: 1}
      - relu
layers:
  - pair: 4
  - save: first
  - residual:
      layers: [{pair: 8}, {conv: {out_channels: 4, kernel_size: 1}}]
      shortcut: [{conv: {out_channels: 4, kernel_size: 1}}, batch_norm]
  - residual: [tanh]
  - residual: {layers: [gelu], shortcut: false}
  - repeat: {times: 2, layers: [{pair: 4}, {save: turn}]}
  - repeat: {times: 2, layers: [{max_pool: {kernel_size: 3, stride: 1, padding: 1}}]}
  - branches:
      - []
      - [sigmoid, {branches: {merge: add, layers: [[silu], [elu, selu]]}}]
  - concat: [first, turn]
  - sequential: {name: head, layers: [flatten, {linear: 3}]}
"""


def handed(spec: Spec, graph: Graph) -> tuple[dict[int, set[int]], int]:
    """For each node that is a module of its own, the nodes that made the tensors it was handed; and
    which made the output. Found by running the model."""
    maker: dict[int, int] = {}
    found: dict[int, set[int]] = {}
    kept: list[Any] = []  # so that no id is used again
    with torch.device("meta"):
        model = build(spec).eval()

        def before(node: int, args: Any) -> None:
            inputs = [a for a in args if isinstance(a, Tensor)]
            if len(args) > 1 and graph.kind(node) in ("concat", "add", "multiply"):
                layer: Any = graph.rows[node].layer
                inputs += [args[1][name] for name in layer.tensors]
            kept.extend(inputs)
            found[node] = {maker[id(x)] for x in inputs}

        def after(node: int, out: Tensor) -> None:
            kept.append(out)
            maker[id(out)] = node

        for node in graph.sources:
            if graph.kind(node):
                module = model.get_submodule(graph.rows[node].path)
                if not graph.rows[node].is_container:
                    module.register_forward_pre_hook(lambda _, a, node=node: before(node, a))
                module.register_forward_hook(lambda _, a, out, node=node: after(node, out))
        x = torch.empty(2, *trace(spec).input_shape)
        maker[id(x)] = INPUT
        out = model(x)
    return found, maker[id(out)]


@pytest.mark.parametrize(
    "spec",
    [
        loads(MIXED),
        *(load(SPECS / f"{name}.yaml") for name in ("unet", "resnet9", "convmixer")),
        *(
            load(SPECS / f"zoo/{name}.yaml")
            for name in ("googlenet", "densenet", "mobilenet_v3", "regnet")
        ),
    ],
    ids=lambda spec: spec.name,
)
def test_sources_are_the_makers_of_what_the_modules_are_handed(spec: Spec) -> None:
    graph = Graph(trace(spec))
    found, output = handed(spec, graph)
    layers = {
        node: set(sources)
        for node, sources in graph.sources.items()
        if graph.kind(node) and not graph.rows[node].is_container
    }
    assert found == layers
    assert output == graph.output


def test_uses_are_the_sources_the_other_way_round() -> None:
    graph = Graph(trace(loads(MIXED)))
    pairs = {(source, node) for node, sources in graph.sources.items() for source in sources}
    ends = {(source, node) for source, nodes in graph.uses.items() for node in nodes}
    assert ends == pairs | {(graph.output, OUTPUT)}


def test_each_branch_of_a_split_reads_a_share_of_its_own() -> None:
    text = "input: [4, 8, 8]\nlayers: [relu, {branches: {split: 2, layers: [[tanh], []]}}, selu]"
    graph = Graph(trace(loads(text)))
    relu, branches, tanh, selu = range(4)
    (share,) = graph.sources[tanh]
    assert graph.kind(share) == ""
    assert graph.sources[share] == (relu,)
    assert len(graph.uses[relu]) == 2
    assert graph.sources[branches] == (tanh, graph.uses[relu][1])
    assert graph.before(selu) == INPUT  # a container made it
    assert graph.before(tanh) == INPUT


def test_a_tensor_that_goes_elsewhere_too_is_not_before_one() -> None:
    text = "input: [4]\nlayers: [relu, {save: a}, tanh, selu, {add: a}]"
    graph = Graph(trace(loads(text)))
    relu, save, tanh, selu, add = range(5)
    assert graph.before(tanh) == INPUT
    assert graph.before(selu) == tanh
    assert graph.before(add) == INPUT
    assert graph.sources[add] == (selu, relu)
    assert not graph.unused
    assert save not in graph.sources


def test_a_single_branch_is_a_group() -> None:
    graph = Graph(trace(loads("input: [4, 8, 8]\nlayers: [{branches: [[relu]]}, tanh]")))
    branches, relu, tanh = range(3)
    assert graph.sources == {relu: (INPUT,), tanh: (relu,)}
    assert graph.parents == [-1, branches, -1]


def test_no_layers() -> None:
    graph = Graph(trace(loads("input: [4]\nlayers: []")))
    assert graph.output == INPUT
    assert graph.uses == {INPUT: [OUTPUT]}
    assert Graph(trace(loads("input: [4]\nlayers: [{save: a}]"))).unused == {0}
