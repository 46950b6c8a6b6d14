"""What holds for every kind of layer: the calculator, the builder and torch say the same."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, Case
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import shapecalc
from shapecalc import Sequential, Spec, Trace, build, loads, trace
from shapecalc.builder.containers import CONTAINERS
from shapecalc.builder.layers import BUILDERS
from shapecalc.layers import FAMILIES, KINDS, Layer, class_name, layer_class
from shapecalc.layers.structure import Container
from shapecalc.tracer import Row

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def spec(case: Case) -> Spec:
    return Spec(input=case.shape, layers=[{case.kind: case.arguments or None}])


def sample(case: Case, batch: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, *case.shape)


def elements(tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)


def content(given: Spec) -> tuple[Any, ...]:
    """What a spec says, without the text it was read from."""
    return given.name, given.input, given.params, given.layers, given.train


def numbers(traced: Trace) -> list[tuple[Any, ...]]:
    """What rows say, without where they come from."""
    return [(row.path, row.kind, row.arguments, *row[2:9]) for row in traced.rows]


def written_in_python(case: Case) -> Layer:
    """The layer made by its class, what it holds by theirs."""

    def made(value: Any) -> Any:
        if case.kind == "branches":
            return tuple(Spec(input=case.shape, layers=branch).layers for branch in value)
        return Spec(input=case.shape, layers=value).layers

    cls = layer_class(case.kind)
    held = cls.held if issubclass(cls, Container) else ()
    arguments = {
        name: made(value) if name in held and isinstance(value, tuple) else value
        for name, value in case.arguments.items()
    }
    return getattr(shapecalc, class_name(case.kind))(**arguments)


def kinds(layers: Any) -> set[str]:
    """The kinds in layers in the short form, those that they hold included."""
    if isinstance(layers, dict):
        return {
            *(layers if len(layers) == 1 else ()),
            *(k for v in layers.values() for k in kinds(v)),
        }
    if isinstance(layers, tuple | list):
        return {kind for layer in layers for kind in kinds(layer)}
    return {layers} if isinstance(layers, str) else set()


@every_case
def test_shape_and_counts_are_those_of_the_built_module(case: Case) -> None:
    traced = trace(spec(case))
    module = build(traced)
    assert module(sample(case, 2)).shape == (2, *traced.output_shape)
    for row in traced.rows:
        built = module.get_submodule(row.path)
        assert row.params == elements(built.parameters())
        assert row.buffers == elements(built.buffers())


@every_case
def test_macs_are_half_of_what_torch_counts_as_flops(case: Case) -> None:
    module, counter = build(spec(case)).eval(), FlopCounterMode(display=False)
    with counter:
        module(sample(case, 2))  # some normalisations refuse a batch of one value a channel
    assert trace(spec(case)).macs * 2 == counter.get_total_flops() / 2


@every_case
def test_yaml_reads_back_as_the_same_layers_and_rows(case: Case) -> None:
    before = spec(case)
    after = loads(before.to_yaml())
    assert content(after) == content(before)
    assert numbers(trace(after)) == numbers(trace(before))


@every_case
def test_python_class_is_the_same_layer_as_the_yaml(case: Case) -> None:
    assert Spec(input=case.shape, layers=[written_in_python(case)]) == spec(case)


@every_case
def test_gradient_reaches_the_input_and_every_parameter(case: Case) -> None:
    if case.kind == "binary_step":
        pytest.skip("its gradient is 0 everywhere")
    module = build(spec(case)).eval()
    x = sample(case, 2).requires_grad_()
    out = module(x * 1)
    (out * torch.linspace(1, 2, out.numel()).view_as(out) ** 2).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@every_case
def test_state_is_stored_under_the_path_of_its_row(case: Case) -> None:
    traced = trace(spec(case))
    paths = tuple(f"{row.path}." for row in traced.leaves)
    assert all(key.startswith(paths) for key in build(traced).state_dict())


@every_case
def test_row_says_its_arguments_formula_and_field(case: Case) -> None:
    for row in trace(spec(case)).rows:
        assert isinstance(row, Row)
        assert isinstance(row.formula, str)
        assert len(row.receptive_fields) == len(row.jumps) == len(case.shape) - 1
        if row.kind in (*FAMILIES["conv"], *FAMILIES["pad"], "max_pool", "avg_pool", "lp_pool"):
            assert all(f" = {size}" in row.formula for size in row.output_shape[1:])


def typed() -> set[str]:
    """The modules of layers that a type checker sees whole in `shapecalc`."""
    tree = ast.parse(Path(shapecalc.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        str(node.module).removeprefix("shapecalc.layers.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    }


def subclasses(cls: type[Layer]) -> set[type[Layer]]:
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_complete(kind: str) -> None:
    name = class_name(kind)
    missing = {
        "a row in cases.CASES": kind
        not in {k for c in CASES for k in (c.kind, *kinds(c.arguments))},
        "a builder in BUILDERS or CONTAINERS": kind not in {*BUILDERS, *CONTAINERS},
        f"a class {name} that says its kind": layer_class(kind).kind != kind,
        f"a docstring of {name}": not layer_class(kind).__doc__,
    }
    assert not any(missing.values()), f"{kind} lacks {[k for k, v in missing.items() if v]}"
    assert getattr(shapecalc, name) is layer_class(kind)
    assert name in dir(shapecalc)


def test_every_class_of_a_layer_is_listed_in_families() -> None:
    for family in FAMILIES:
        import_module(f"shapecalc.layers.{family}")
    assert typed() == set(FAMILIES), "a type checker does not see all families in shapecalc"
    kinds = {cls.kind for cls in subclasses(Layer) if "kind" in vars(cls)}
    assert kinds == set(KINDS), f"in one only: {kinds ^ set(KINDS)}"
    built = {*BUILDERS, *CONTAINERS}
    assert built <= set(KINDS), f"built but unknown: {built - set(KINDS)}"


def test_spatial_kinds_have_a_case_on_every_rank() -> None:
    ranks: dict[str, set[int]] = {}
    for case in CASES:
        ranks.setdefault(case.kind, set()).add(len(case.shape) - 1)
    spatial = [
        *(*FAMILIES["conv"], *FAMILIES["pool"], *FAMILIES["pad"], "channel_dropout", "upsample"),
        *("channel_shuffle", "instance_norm", "local_response_norm"),
    ]
    expected = {kind: {1, 2, 3} for kind in spatial} | {"fractional_max_pool": {2, 3}}
    assert {kind: ranks[kind] for kind in spatial} == expected


def test_every_case_differs() -> None:
    assert len(set(map(str, CASES))) == len(CASES)


def test_groups_nest_as_nn_sequential() -> None:
    layers = [Sequential(name="stem", layers=(shapecalc.Conv(4, kernel_size=3), shapecalc.Relu()))]
    model = build(Spec(input=(3, 8, 8), layers=layers))
    assert isinstance(model.get_submodule("stem"), nn.Sequential)
    assert isinstance(model.get_submodule("stem.1"), nn.ReLU)
