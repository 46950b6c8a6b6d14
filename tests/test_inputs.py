"""The walk of shapes alone, against the trace; and the inputs next to one that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import Graph, graphs
from hypothesis import HealthCheck, given, settings

from shapecalc import Spec, SpecError, Trace, load, loads, trace
from shapecalc.inputs import Exhausted, Shapes, nearest_inputs

SPECS = Path(__file__).parent.parent / "specs"


def traced(spec: Spec, shape: tuple[int, ...]) -> Trace | None:
    try:
        return trace(spec.with_input(shape))
    except SpecError:
        return None


@pytest.mark.parametrize(
    "name",
    [
        *("unet", "apparel", "zoo/resnet.yaml@resnet18", "zoo/googlenet", "zoo/mobilenet_v3"),
        *("zoo/shufflenet", "zoo/densenet"),
    ],
)
def test_answers_are_those_of_the_trace(name: str) -> None:
    spec = load(SPECS / (name if "@" in name else f"{name}.yaml"))
    linear = trace(spec).first_linear
    shapes = Shapes(spec, work=10**6, marked=linear[0].path if linear else "")
    for size in (1, 15, 16, 28, 29, 31, 32, 33, 48, 64, 95, 96, 191, 192):
        answer, whole = shapes.answer((3, size, size + 16)), traced(spec, (3, size, size + 16))
        assert (answer is None) == (whole is None), size
        if answer and whole:
            assert answer.shape == whole.output_shape
            found = whole.first_linear
            assert answer.marked == (found[0].input_shape if found else None)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_answers_are_those_of_the_trace_for_any_network(graph: Graph) -> None:
    blocks = {
        name: {"params": {"n": None}, "layers": layers} for name, layers in graph.blocks.items()
    }
    spec = Spec(input=graph.shape, blocks=blocks, layers=graph.layers)  # type: ignore[arg-type]
    shapes = Shapes(spec, work=10**6)
    channels, *sizes = graph.shape
    for more in range(5):
        shape = (channels, *(size + more for size in sizes))
        answer, whole = shapes.answer(shape), traced(spec, shape)
        assert (answer and answer.shape) == (whole and whole.output_shape), shape


def test_what_is_dropped_follows_axes_that_are_moved() -> None:
    spec = loads("input: [1, 8, 8]\nlayers: [permute: [0, 1, 3, 2], max_pool: [2, 1]]")
    shapes = Shapes(spec, work=100)
    answers = [shapes.answer((1, *sizes)) for sizes in ((8, 8), (9, 8), (8, 9))]
    assert [answer and answer.dropped for answer in answers] == [0, 0, 0b10]


def test_work_is_bounded() -> None:
    shapes = Shapes(load(SPECS / "unet.yaml"), work=50)
    with pytest.raises(Exhausted):
        shapes.answer((3, 64, 64))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 100, 100), [(3, 96, 96), (3, 112, 112)]),
        ((3, 100, 150), [(3, 96, 144), (3, 112, 160)]),
        ((3, 255, 256), [(3, 240, 256), (3, 256, 256)]),
        ((3, 7, 7), [(3, 16, 16)]),
    ],
)
def test_inputs_next_to_one_that_is_refused(
    shape: tuple[int, ...], expected: list[tuple[int, ...]]
) -> None:
    spec = load(SPECS / "unet.yaml").with_input(shape)
    assert nearest_inputs(spec) == expected
    assert traced(spec, shape) is None
    for other in expected:
        assert traced(spec, other) is not None


def test_a_merge_of_unequal_sizes_names_inputs_that_work() -> None:
    with pytest.raises(SpecError) as caught:
        trace(load(SPECS / "unet.yaml").with_input((3, 100, 100)))
    assert caught.value.diagnostics[0].code == "E207"
    assert caught.value.diagnostics[0].help.startswith("inputs 96x96 and 112x112 work; or ")


def test_one_input_alone() -> None:
    layers = "[branches: {merge: add, layers: [[], [upsample: {size: 2}]]}]"
    with pytest.raises(SpecError, match="input 2x2 works"):
        trace(loads(f"input: [1, 1, 1]\nlayers: {layers}"))


def test_no_input_is_named_where_none_works() -> None:
    with pytest.raises(SpecError) as caught:
        trace(loads("input: [1, 9, 9]\nlayers: [branches: {merge: add, layers: [[], "
                    "[{conv: {out_channels: 1, kernel_size: 3}}]]}]"))  # fmt: skip
    assert " work" not in caught.value.diagnostics[0].help
