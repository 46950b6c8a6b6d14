"""What `check` finds: faults of spec and recipe, and limits that are passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapecalc import Conv, Diagnostic, Flatten, Linear, Spec, check, load, loads
from shapecalc.analysis.check import check_all

SPECS = Path(__file__).parents[2] / "specs"
APPAREL = load(SPECS / "apparel.yaml")


def errors(spec: Spec, **limits: int) -> list[Diagnostic]:
    return [d for d in check(spec, **limits) if d.severity == "error"]


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_have_no_errors(path: Path) -> None:
    assert errors(load(path)) == []


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
    assert errors(APPAREL, **limits) == []


def test_limits_that_are_just_passed() -> None:
    limits = {"expect_in_features": 15487, "max_params": 729_278, "max_macs": 2_297_339_615}
    by_message = {d.message: d for d in errors(APPAREL, **limits)}
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


def test_errors_come_before_lints() -> None:
    spec = loads(
        "input: [3, 8, 8]\nlayers:\n  - identity\n  - {conv: {out_channels: 9, kernel_size: 3}}\n"
        "  - {conv: {out_channels: 9, kernel_size: 3}}\ntrain: {epochs: 0}\n"
    )
    found = check(spec, max_params=1)
    assert [(d.code, d.severity, d.place and d.place.line) for d in found] == [
        ("E206", "error", 5),
        ("E106", "error", 6),
        ("W114", "warning", 3),
        ("W101", "warning", 5),
        ("W109", "warning", 5),
    ]


class TestCheckAll:
    TEXT = """\
input: [3, 8, 8]
params: {width: 4, kernel: 3}
variants:
  same: {}
  wide: {width: 8}
  none:
  huge: {kernel: 9}
layers:
  - conv: {out_channels: "${width}", kernel_size: "${kernel}"}
  - batch_norm
"""

    def check(
        self, tmp_path: Path, overrides: dict[str, str] | None = None
    ) -> tuple[list[Diagnostic], int, list[str]]:
        path = tmp_path / "a.yaml"
        path.write_text(self.TEXT)
        asked = []

        def open_(name: str) -> Spec:
            asked.append(name.removeprefix(str(tmp_path)))
            return load(name, overrides)

        return *check_all(str(path), open_, reload=bool(overrides)), asked

    def test_a_lint_of_several_variants_is_told_once(self, tmp_path: Path) -> None:
        found, count, asked = self.check(tmp_path)
        assert [(d.code, d.place and d.place.line) for d in found] == [("W103", 9), ("E203", 9)]
        assert found[0].message.startswith("conv has a bias of 4 params")
        assert count == 5
        assert asked == ["/a.yaml", "/a.yaml@huge"]  # whose fault is looked at closely

    def test_overrides_come_after_the_variant(self, tmp_path: Path) -> None:
        found, count, asked = self.check(tmp_path, {"params.kernel": "1"})
        assert [(d.code, d.place and d.place.line) for d in found] == [("W103", 9)]
        assert count == 5
        assert asked == ["/a.yaml", "/a.yaml@wide", "/a.yaml@huge"]

    def test_what_a_variant_says_is_at_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(self.TEXT.replace("{width: 8}", '{width: "${1 // 0}"}'))
        found, _ = check_all(str(path), load)
        assert [(d.code, d.place and d.place.line) for d in found] == [
            ("W103", 9),
            ("E108", 5),
            ("E203", 9),
        ]

    def test_a_file_that_cannot_be_read(self) -> None:
        found, count = check_all("no.yaml", load)
        assert [d.code for d in found] == ["E100"]
        assert count == 1
