"""Which input sizes work, against brute force: every size traced, or counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from graphs import Graph, graphs
from hypothesis import HealthCheck, assume, given, settings

from shapecalc import Spec, SpecError, load, loads, sizes, trace
from shapecalc.analysis.sizes import MOST
from shapecalc.report.sizes import as_json, as_text, said

SPECS = Path(__file__).parents[2] / "specs"
ALL = sorted(SPECS.glob("*.yaml"))


def works(spec: Spec, *spatial: int) -> bool:
    try:
        trace(spec.with_input((spec.input_shape()[0], *spatial)))
    except SpecError:
        return False
    return True


def features(spec: Spec, *spatial: int) -> int | None:
    if not works(spec, *spatial):
        return -1
    traced = trace(spec.with_input((spec.input_shape()[0], *spatial)))
    return traced.first_linear[0].input_shape[-1] if traced.first_linear else None


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_smallest_works_and_one_less_fails(path: Path) -> None:
    spec = load(path)
    found = sizes(spec)
    today = spec.input_shape()[1:]
    assert works(spec, *found.smallest)
    for index, axis in enumerate(found.axes):
        assert axis.today == today[index]
        less = list(found.smallest)
        less[index] -= 1
        assert not works(spec, *less)
        alone = list(today)
        alone[index] = axis.smallest
        assert works(spec, *alone)
        alone[index] -= 1
        assert not works(spec, *alone)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_range_that_keeps_the_in_features_is_tight(path: Path) -> None:
    spec = load(path)
    if path.stem == "unet":  # without a linear layer it is the output that is kept
        assert [axis.same_features for axis in sizes(spec).axes] == [range(256, 257)] * 2
        return
    found = sizes(spec)
    today = spec.input_shape()[1:]
    assert found.features == features(spec, *today)

    def at(index: int, size: int) -> int | None:
        return features(spec, *today[:index], size, *today[index + 1 :])

    for index, axis in enumerate(found.axes):
        span = axis.same_features
        assert today[index] in span
        assert at(index, span[0]) == at(index, (span[0] + span[-1]) // 2) == found.features
        if span[0] > axis.smallest:
            assert at(index, span[0] - 1) != found.features
        if span[-1] == MOST:
            assert at(index, 10 * MOST) == found.features
        else:
            assert at(index, span[-1]) == found.features
            assert at(index, span[-1] + 1) != found.features


def test_lossless_sizes_are_those_without_a_remainder() -> None:
    text = """\
input: [1, 40, 41]
layers:
  - conv: {out_channels: 2, kernel_size: 5, stride: 3, padding: [1, 0]}
  - max_pool: {kernel_size: 3, stride: 2}
  - avg_pool: 2
"""

    def dropped(size: int, padding: int) -> bool:
        """Pixels that the last window of a layer leaves over, by sliding it along."""
        for kernel, stride, pad in ((5, 3, padding), (3, 2, 0), (2, 2, 0)):
            starts = range(-pad, size + pad - kernel + 1, stride)
            if not starts or starts[-1] + kernel < size:
                return True
            size = len(starts)
        return False

    height, width = sizes(loads(text)).axes
    assert (height.axis, width.axis) == ("height", "width")
    for axis, padding in ((height, 1), (width, 0)):
        near = range(max(axis.smallest, axis.today - 64), axis.today + 65)
        assert axis.lossless == tuple(n for n in near if not dropped(n, padding))
        assert len(axis.lossless) > 3


def test_sizes_without_loss_are_found_behind_large_strides() -> None:
    (axis,) = sizes(loads("input: [1, 1000]\nlayers: [max_pool: 16, max_pool: 16]")).axes
    assert 768 in axis.lossless
    assert 1024 in axis.lossless
    assert all(size % 256 == 0 for size in axis.lossless)


def test_unequal_sides_are_found_one_by_one() -> None:
    spec = loads("input: [1, 40, 20]\nlayers: [max_pool: [8, 4], max_pool: [2, 1]]")
    found = sizes(spec)
    assert found.smallest == (16, 4)
    assert found.features is None
    assert [list(axis.same_features)[:: len(axis.same_features) - 1] for axis in found.axes] == [
        [32, 47],
        [20, 23],
    ]


def test_a_size_that_fits_one_only() -> None:
    (axis,) = sizes(loads("input: [1, 9]\nlayers: [conv: {out_channels: 1, kernel_size: 9}]")).axes
    assert axis.same_features == range(9, 10)


@pytest.mark.parametrize(
    "text", ["input: [8]\nlayers: [relu]", "input: [1, 3]\nlayers: [max_pool: 4]"]
)
def test_refusals(text: str) -> None:
    with pytest.raises(SpecError, match=r"no spatial axes|at least 4, but gets 3"):
        sizes(loads(text))


def test_the_spec_is_left_as_it_is() -> None:
    spec = load(SPECS / "lenet5.yaml")
    before = spec.to_yaml()
    assert sizes(spec).spec is spec
    assert spec.to_yaml() == before


@pytest.mark.parametrize(
    ("name", "rule", "lossless"),
    [
        ("unet", "multiples of 16", "multiples of 16"),
        ("apparel", "every size from 192 on", "multiples of 32 from 192 on"),
        ("zoo/alexnet", "every size from 63 on", "63 to 65, and so on every 32"),
        ("zoo/inception_v3", "every size from 75 on", "75 + 32k"),
        ("zoo/squeezenet", "every size from 21 on", "odd sizes from 21 on"),
        ("zoo/resnet", "every size", "every size"),
        ("keywords_1d", "every size from 492 on", "492 + 256k"),
    ],
)
def test_rules_are_found(name: str, rule: str, lossless: str) -> None:
    for axis in sizes(load(SPECS / f"{name}.yaml")).axes:
        assert (said(axis.works), said(axis.without_loss)) == (rule, lossless)
        assert axis.today in axis.works
        assert any(axis.today in run for run in axis.works.tried)


def test_sizes_that_divide_and_sizes_that_an_expression_asks_for() -> None:
    text = """\
input: [4, 24, 24]
layers:
  - pixel_unshuffle: 3
  - conv: {out_channels: 8, kernel_size: "${3 if x.height % 2 else 2}"}
  - max_pool: {kernel_size: 2, stride: 3}
"""
    found = sizes(loads(text))
    assert [said(axis.works) for axis in found.axes] == [
        "multiples of 3 from 12 on",
        "multiples of 3 from 9 on",
    ]
    assert found.smallest == (12, 12)


def test_axes_that_depend_on_each_other() -> None:
    text = """\
input: [1, 24, 24]
layers:
  - max_pool: "${2 if x.height == x.width else 30}"
"""
    found = sizes(loads(text))
    assert found.square is not None
    assert said(found.square) == "every size from 2 on"
    assert [said(axis.works) for axis in found.axes] == ["24", "24"]


def test_given_in_features_leave_few_sizes() -> None:
    layers = "[conv: {out_channels: 8, kernel_size: 3, stride: 2}, max_pool: 2, flatten, "
    layers += "linear: {in_features: 3648, out_features: 3}]"
    found = sizes(loads(f"input: [3, 100, 80]\nlayers: {layers}"))
    assert [said(axis.works) for axis in found.axes] == ["97 to 100", "77 to 80"]
    assert found.smallest == (97, 77)


def test_a_stride_larger_than_its_kernel_only_drops_what_it_passes_over_anyway() -> None:
    layers = "[conv: {out_channels: 2, kernel_size: 1, stride: 2}, lp_pool: {norm_type: 2, "
    layers += "kernel_size: 3}]"
    (axis,) = sizes(loads(f"input: [1, 30]\nlayers: {layers}")).axes
    assert said(axis.without_loss) == "5 to 6, and so on every 6"


def test_unfolding_drops_pixels_too() -> None:
    found = sizes(loads("input: [1, 9, 9]\nlayers: [unfold: {kernel_size: 3, stride: 3}]"))
    assert [said(axis.without_loss) for axis in found.axes] == ["multiples of 3"] * 2


def test_steps_are_the_in_features_by_size() -> None:
    spec = load(SPECS / "lenet5.yaml")
    steps = sizes(spec).steps
    assert [(step.first, step.last, step.features) for step in steps[:3]] == [
        *((16, 19, 16), (20, 23, 64), (24, 27, 144)),
    ]
    for step in steps[:6]:
        assert features(spec, step.first, step.first) == step.features
        assert features(spec, step.last, step.last) == step.features


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_rules_agree_with_tracing(graph: Graph) -> None:
    blocks = {
        name: {"params": {"n": None}, "layers": layers} for name, layers in graph.blocks.items()
    }
    spec = Spec(input=graph.shape, blocks=blocks, layers=graph.layers)  # type: ignore[arg-type]
    assume(works(spec, *graph.shape[1:]))
    found = sizes(spec)
    today = list(graph.shape[1:])
    for index, axis in enumerate(found.axes):
        for size in (*range(1, 20), *range(20, 81, 7)):
            taken = works(spec, *today[:index], size, *today[index + 1 :])
            assert taken == (size in axis.works), (graph, axis.axis, size)


def test_json_reads_back() -> None:
    data = json.loads(as_json(sizes(load(SPECS / "zoo" / "alexnet.yaml"))))
    assert data["name"] == "alexnet"
    assert (data["smallest"], data["in_features"]) == ([63, 63], 9216)
    assert data["axes"]["height"]["same_in_features"] == [63, None]
    assert 224 in data["axes"]["height"]["lossless"]
    assert as_text(sizes(load(SPECS / "zoo" / "alexnet.yaml"))).count("from 63 on") == 2
