"""The walk over a spec: rows, paths, totals, the smallest input, and errors with their place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from clock import within
from graphs import Graph, TooLarge, judge
from hypothesis import given, reject
from strategies import FUZZ, towers

from shapecalc import Diagnostic, Spec, SpecError, load, loads, trace
from shapecalc.tracer import smallest_input

SPECS = Path(__file__).parent.parent / "specs"
APPAREL = load(SPECS / "apparel.yaml")


def fault(text: str) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        trace(loads(text))
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def test_apparel_network_is_counted_as_published() -> None:
    traced = trace(APPAREL)
    assert [row.output_shape for row in traced.rows] == [
        (8, 510, 510), (16, 508, 508), (16, 254, 254), (16, 254, 254),
        (32, 250, 250), (32, 248, 248), (32, 62, 62), (32, 62, 62),
        (64, 60, 60), (64, 56, 56), (64, 28, 28), (64, 28, 28),
        (128, 24, 24), (128, 22, 22), (128, 11, 11), (128, 11, 11),
        (15488,), (15,),
    ]  # fmt: skip
    assert (traced.params, traced.buffers) == (729_279, 0)
    assert (traced.input_shape, traced.output_shape) == ((3, 512, 512), (15,))
    assert [row.path for row in traced.rows] == [f"layers.{n}" for n in range(18)]
    assert [row.line for row in traced.rows] == list(range(7, 25))


def test_first_linear_layer_shows_the_product_of_its_in_features() -> None:
    found = trace(APPAREL).first_linear
    assert found is not None
    row, factors = found
    assert (row.path, row.arguments["in_features"], factors) == ("layers.17", 15488, (128, 11, 11))
    assert trace(Spec(input=(8,), layers=[{"linear": 3}])).first_linear is None


def test_formula_is_written_as_a_person_would() -> None:
    said = [row.formula for row in trace(APPAREL).rows]
    assert said[0] == "(512 - 3 + 2*0)/1 + 1 = 510"
    assert said[2] == "508 / 2 = 254"
    assert said[16] == "128 x 11 x 11 = 15488"
    (row,) = trace(Spec(input=(1, 9, 8), layers=[{"max_pool": 2}])).rows
    assert row.formula == "floor(9 / 2) = 4; 8 / 2 = 4"


def test_params_and_macs_are_the_textbooks() -> None:
    assert trace(load(SPECS / "zoo" / "alexnet.yaml")).params == 61_100_840
    assert trace(load(f"{SPECS}/zoo/vgg.yaml@vgg16")).params == 138_357_544
    assert trace(load(f"{SPECS}/zoo/vgg.yaml@vgg16")).macs == 15_470_264_320
    assert trace(load(SPECS / "lenet5.yaml")).params == 61_706


NESTED = """\
input: [3, 8, 8]
layers:
  - conv: {name: entry, out_channels: 4, kernel_size: 3}
  - relu
  - sequential:
      name: stem
      layers:
        - conv: {out_channels: 4, kernel_size: 3}
        - sequential: [relu, {conv: {name: inner, out_channels: 2, kernel_size: 1}}]
  - sequential: [flatten]
"""


def test_paths_follow_names_and_numbers_and_containers_hold_their_children() -> None:
    traced = trace(loads(NESTED))
    assert [(row.path, row.children) for row in traced.rows] == [
        ("entry", ()),
        ("layers.1", ()),
        ("stem", ("stem.0", "stem.1")),
        ("stem.0", ()),
        ("stem.1", ("stem.1.0", "stem.1.inner")),
        ("stem.1.0", ()),
        ("stem.1.inner", ()),
        ("layers.3", ("layers.3.0",)),
        ("layers.3.0", ()),
    ]


def test_container_sums_what_it_holds_and_totals_count_layers_once() -> None:
    traced = trace(loads(NESTED))
    rows = {row.path: row for row in traced.rows}
    for number in ("params", "buffers", "macs"):
        held = getattr(rows["stem.0"], number) + getattr(rows["stem.1.inner"], number)
        assert getattr(rows["stem"], number) == held
        total = held + getattr(rows["entry"], number)
        assert getattr(traced, number) == total
    stem = rows["stem"]
    assert (stem.input_shape, stem.output_shape) == ((4, 6, 6), (2, 4, 4))
    assert stem.is_container
    assert stem.receptive_field == 5


def test_expression_sees_the_tensor_at_its_place() -> None:
    layers = [
        {"conv": {"out_channels": "${x.channels * 2}", "kernel_size": "${x.height - 3}"}},
        {"avg_pool": ["${x.height}", "${x.width}"]},
        "flatten",
        {"linear": "${x.features + 1}"},
    ]
    traced = trace(Spec(input=(3, 8, 9), layers=layers))
    assert [row.output_shape for row in traced.rows] == [(6, 4, 5), (6, 1, 1), (6,), (7,)]


@pytest.mark.parametrize("name", ["zoo/alexnet", "zoo/vgg", "apparel", "lenet5", "keywords_1d"])
def test_smallest_input_works_and_one_less_fails(name: str) -> None:
    spec = load(SPECS / f"{name}.yaml")
    channels, *sizes = spec.input_shape()
    least = smallest_input(spec, tuple(sizes))
    assert least is not None
    assert trace(spec.with_input((channels, *least))).output_shape == trace(spec).output_shape
    for axis in range(len(least)):
        less = tuple(size - (at == axis) for at, size in enumerate(least))
        with pytest.raises(SpecError):
            trace(spec.with_input((channels, *less)))


def test_smallest_input_is_found_for_each_axis_of_an_oblong() -> None:
    layers = [{"conv": {"out_channels": 2, "kernel_size": (7, 3)}}, {"max_pool": (1, 4)}]
    spec = Spec(input=(1, 30, 20), layers=layers)
    assert smallest_input(spec, (30, 20)) == (7, 6)
    assert smallest_input(spec, (20, 20)) == (7, 7)


def test_no_smallest_input_where_none_works() -> None:
    spec = Spec(
        input=(3, 8, 8), layers=[{"conv": {"out_channels": 4, "kernel_size": 3, "groups": 2}}]
    )
    assert smallest_input(spec, (8, 8)) is None


def test_input_too_small_is_an_error_with_place_path_and_a_mend_that_works() -> None:
    text = """\
input: [3, 20, 20]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - sequential:
      name: body
      layers:
        - max_pool: 4
        - max_pool: {kernel_size: 5, name: last}
"""
    diagnostic = fault(text)
    assert (diagnostic.code, diagnostic.path) == ("E203", "body.last")
    assert diagnostic.message == "max_pool needs an input of at least 5x5, but gets 4x4"
    assert diagnostic.note == "input is [8, 4, 4]"
    assert "the smallest input for this spec is 22x22 (now 20x20)" in diagnostic.help
    assert diagnostic.place is not None
    assert diagnostic.place.line == 8
    assert trace(loads(text).with_input((3, 22, 22))).output_shape == (8, 1, 1)


@FUZZ
@given(towers())
def test_a_size_that_falls_to_nothing_is_told_with_the_smallest_input_that_works(
    tower: tuple[tuple[int, ...], list[dict[str, Any]]],
) -> None:
    sizes, layers = tower
    spec = Spec(input=(2, *sizes), layers=layers)

    def taken(trial: tuple[int, ...]) -> bool:
        try:
            return judge(Graph((2, *trial), {}, layers)) is not None
        except TooLarge:
            reject()

    try:
        trace(spec)
    except SpecError as error:
        (found,) = error.diagnostics
    else:
        assert taken(sizes)
        return
    assert not taken(sizes)
    mend = re.search(r"the smallest input for this spec is ([0-9x]+) \(now ([0-9x]+)\)", found.help)
    assert mend, found
    least, now = (tuple(map(int, said.split("x"))) for said in mend.groups())
    assert now == sizes
    assert taken(least)
    trace(spec.with_input((2, *least)))
    smaller = {(*least[:axis], size - 1, *least[axis + 1 :]) for axis, size in enumerate(least)}
    if len(set(sizes)) == 1:  # a square stays one
        smaller = {tuple(size - 1 for size in least)}
    for trial in smaller:
        assert min(trial) == 0 or not taken(trial), trial


@pytest.mark.parametrize(
    ("layers", "code", "path", "line", "words"),
    [
        ("[flatten, conv: {out_channels: 1, kernel_size: 1}]", "E201", "layers.1", 2, "conv"),
        ("[linear: {out_features: 1, in_features: 9}]", "E202", "layers.0", 2, "8"),
        ("[batch_norm: {num_features: 3}]", "E202", "layers.0", 2, "num_features 3"),
        ("[prelu: 3]", "E204", "layers.0", 2, "num_parameters 3"),
        ("[group_norm: 3]", "E204", "layers.0", 2, "num_groups 3"),
        ("[adaptive_avg_pool: 1, group_norm: 4]", "E204", "layers.1", 2, "each of the 4 values"),
        ("[flatten: 5]", "E204", "layers.0", 2, "start_dim 5"),
        ("[flatten: 0]", "E204", "layers.0", 2, "batch axis"),
        ("[softmax: 0]", "E204", "layers.0", 2, "batch axis"),
        ("[max_pool: {kernel_size: 2, padding: 2}]", "E204", "layers.0", 2, "padding: 1"),
        ("[conv_transpose: {out_channels: 1, kernel_size: 1, padding: 4}]", "E205", "layers.0", 2,
         "empty"),
        ("[relu: {name: a}, tanh: {name: a}]", "E102", "a", 2, "two layers are called a"),
    ],
)  # fmt: skip
def test_misfit_carries_code_path_line_and_numbers(
    layers: str, code: str, path: str, line: int, words: str
) -> None:
    diagnostic = fault(f"input: [4, 8, 8]\nlayers: {layers}")
    assert (diagnostic.code, diagnostic.path) == (code, path)
    assert words in f"{diagnostic.message} {diagnostic.help}"
    assert diagnostic.place is not None
    assert diagnostic.place.line == line


def test_wrong_claims_are_all_reported_before_the_first_misfit() -> None:
    layers = (
        "[batch_norm: {num_features: 3}, conv: {out_channels: 2, kernel_size: 9, in_channels: 7}]"
    )
    with pytest.raises(SpecError) as caught:
        trace(loads(f"input: [4, 8, 8]\nlayers: {layers}"))
    assert [d.code for d in caught.value.diagnostics] == ["E202", "E202", "E203"]


def test_huge_networks_are_counted_exactly() -> None:
    big = 10**9
    conv: dict[str, Any] = {"out_channels": big, "kernel_size": 3, "padding": 1}
    traced = trace(Spec(input=(big, 10**6, 10**6), layers=[{"conv": conv}]))
    assert traced.params == 9 * big**2 + big
    assert traced.macs == 9 * big**2 * 10**12
    assert traced.rows[0].activation_bytes == 4 * big * 10**12


def test_deep_network_has_a_row_for_each_layer() -> None:
    conv = {"conv": {"out_channels": 4, "kernel_size": 3, "padding": 1, "bias": False}}
    traced = trace(Spec(input=(4, 8, 8), layers=[conv] * 10_000))
    assert len(traced.rows) == 10_000
    assert traced.params == 10_000 * 144
    assert traced.rows[-1].receptive_field == 20_001


@pytest.mark.parametrize("size", ["[3, 32, 32]", "[3, 32, 33]"])
def test_a_deep_network_is_not_searched_for_its_smallest_input(size: str) -> None:
    with within(1):
        found = fault(
            f"input: {size}\nlayers:\n  - conv: {{out_channels: 3, kernel_size: 77}}\n"
            "  - repeat: {times: 9000, layers: [relu, {max_pool: 1}]}\n"
        )
        assert found.code == "E203"
        assert "smallest input" not in found.help


def test_the_search_ends_with_its_layers() -> None:
    spec = loads("input: [3, 4, 9]\nlayers: [{conv: {out_channels: 3, kernel_size: 7}}, relu]")
    assert smallest_input(spec, (4, 9)) == (7, 7)
    assert smallest_input(spec, (4, 9), most=20) is None
