"""The calculator against torch; and that a builder which is wrong does not pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from shapecalc import Row, SpecError, Trace, load, loads, trace
from shapecalc.builder import layers
from shapecalc.builder.verify import verify

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.parametrize(
    ("name", "rows", "params", "macs"),
    [
        ("lenet5", 12, "61,706", "416,520"),
        ("keywords_1d", 18, "38,243", "11,078,528"),
        ("voxels_3d", 12, "917,866", "59,637,760"),
    ],
)
def test_shipped_specs(name: str, rows: int, params: str, macs: str) -> None:
    said = verify(trace(load(SPECS / f"{name}.yaml")))
    assert re.fullmatch(
        rf"verified: {rows} rows by torch \S+, {params} params by torchinfo \S+, "
        rf"{macs} MACs by FlopCounterMode",
        said,
    )


@pytest.fixture
def small() -> Trace:
    text = """\
input: [3, 16, 16]
layers:
  - conv: {out_channels: 4, kernel_size: 3}
  - batch_norm
  - adaptive_avg_pool: 2
  - flatten
  - linear: 5
"""
    return trace(loads(text, file="small.yaml"))


def changed(kind: str, change: Callable[[nn.Module], None]) -> layers.Builder:
    """A builder that does something else than the row says."""
    right = layers.BUILDERS[kind]

    def wrong(row: Row) -> nn.Module:
        module = right(row)
        change(module)
        return module

    return wrong


def pad(module: nn.Module) -> None:
    module.padding = (1, 1)


def drop_bias(module: nn.Module) -> None:
    module.bias = None


def test_a_wrong_padding_is_told_at_its_row(small: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layers.BUILDERS, "conv", changed("conv", pad))
    with pytest.raises(SpecError) as caught:
        verify(small)
    found = {d.message: d for d in caught.value.diagnostics}
    first = found["conv: output is (4, 14, 14), but torch has (4, 16, 16)"]
    assert (first.code, first.path) == ("E301", "layers.0")
    assert first.place is not None
    assert (first.place.file, first.place.line) == ("small.yaml", 3)
    assert "batch_norm: output is (4, 14, 14), but torch has (4, 16, 16)" in found
    macs = 3 * 4 * 9
    assert (
        f"{macs * 14 * 14 + 80:,} MACs are counted, "
        f"but torch's FlopCounterMode, halved, has {macs * 16 * 16 + 80:,}"
    ) in found
    assert not any("params" in message for message in found)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("conv", drop_bias, "conv: 112 params are counted, but the module has 108"),
        (
            "batch_norm",
            lambda module: module.register_buffer("more", module.running_mean.clone()),
            "batch_norm: 9 buffers are counted, but the module has 13",
        ),
    ],
)
def test_wrong_counts_are_told_by_the_builder(
    kind: str,
    change: Callable[[nn.Module], None],
    message: str,
    small: Trace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(layers.BUILDERS, kind, changed(kind, change))
    with pytest.raises(SpecError) as caught:
        verify(small)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [("E301", message)]
    assert small.params == 3 * 4 * 9 + 4 + 8 + 4 * 2 * 2 * 5 + 5


def test_wrong_counts_that_cancel_out_are_told_at_their_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced = trace(loads("input: [4]\nlayers: [linear: 4, linear: {out_features: 4, bias: false}]"))

    def swapped(row: Row) -> nn.Module:
        return nn.Linear(4, 4, bias=not row.arguments["bias"])

    monkeypatch.setitem(layers.BUILDERS, "linear", swapped)
    with pytest.raises(SpecError) as caught:
        verify(traced)
    assert [(d.path, d.message) for d in caught.value.diagnostics] == [
        ("layers.0", "linear: 20 params are counted, but the module has 16"),
        ("layers.1", "linear: 16 params are counted, but the module has 20"),
    ]


def test_arguments_that_torch_refuses_are_told(
    small: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(row: Row) -> nn.Module:
        return nn.Conv2d(3, 4, 3, groups=2)

    monkeypatch.setitem(layers.BUILDERS, "conv", refused)
    with pytest.raises(SpecError, match=r"E301: torch refuses conv with .*divisible by groups"):
        verify(small)
