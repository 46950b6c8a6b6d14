"""What `check` finds: faults of spec and recipe, and limits that are passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapecalc import Conv, Flatten, Linear, Spec, check, load, loads

SPECS = Path(__file__).parents[2] / "specs"
APPAREL = load(SPECS / "apparel.yaml")


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_are_fine(path: Path) -> None:
    assert check(load(path)) == []


def test_faults_of_layers_and_recipe_are_told_together_in_file_order() -> None:
    spec = loads(
        "train: {epochs: no, batch_size: 0}\ninput: [3, 8, 8]\nlayers:\n"
        "  - linear: {in_features: 3, out_features: 2}\n  - max_pool: 9\n"
    )
    found = check(spec)
    assert [(d.code, d.place.line, d.place.column) for d in found if d.place] == [
        ("E106", 1, 9),
        ("E106", 1, 21),
        ("E202", 4, 14),
        ("E203", 5, 5),
    ]


def test_limits_that_are_just_kept() -> None:
    limits = {"expect_in_features": 15488, "max_params": 729_279, "max_macs": 2_297_339_616}
    assert check(APPAREL, **limits) == []


def test_limits_that_are_just_passed() -> None:
    limits = {"expect_in_features": 15487, "max_params": 729_278, "max_macs": 2_297_339_615}
    by_message = {d.message: d for d in check(APPAREL, **limits)}
    assert by_message.keys() == {
        "layers.17 gets 15488 in-features, not 15487",
        "apparel has 729,279 params, more than 729,278",
        "apparel has 2,297,339,616 MACs, more than 2,297,339,615",
    }
    assert {d.code for d in by_message.values()} == {"E206"}
    largest = by_message["apparel has 2,297,339,616 MACs, more than 2,297,339,615"]
    assert (largest.path, largest.help) == (
        "layers.4",
        "layers.4 alone has 800.00 M of them, 35%",
    )
    assert largest.place is not None
    assert largest.place.text.strip() == "- conv: {out_channels: 32, kernel_size: 5}"


def test_in_features_that_there_are_not() -> None:
    spec = loads("input: [3]\nlayers: [linear: 2]", file="a.yaml")
    (found,) = check(spec, expect_in_features=3)
    assert found.message == "no linear layer comes after a convolution"
    assert found.place is not None
    assert (found.place.file, found.place.line) == ("a.yaml", 2)


def test_a_spec_written_in_python_has_no_places() -> None:
    spec = Spec(
        input=(1, 4, 4), layers=[Conv(2, kernel_size=3), Flatten(), Linear(2)], train={"epochs": 0}
    )
    found = check(spec, max_params=1)
    assert [(d.code, d.place) for d in found] == [("E106", None), ("E206", None)]
    assert found[1].path == "layers.0"
