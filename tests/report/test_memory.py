"""The memory and time of a spec as text and JSON."""

from __future__ import annotations

import json

import pytest

from shapecalc import loads
from shapecalc.analysis.budget import Budget, budget
from shapecalc.analysis.roofline import Device
from shapecalc.report.memory import as_json, as_text, in_units

SPEC = loads(
    """
name: "small\\e[31m"
input: [1, 8, 8]
layers:
  - conv: {out_channels: 2, kernel_size: 3, padding: 1, bias: false}
  - relu
  - flatten
  - linear: {out_features: 4, bias: false}
train: {batch_size: 16, optimizer: sgd}
"""
)
ROUND = Device("round", 2**20, bandwidth=1e9, flops={"fp32": 1e9})


def found(**arguments: object) -> Budget:
    return budget(SPEC, **arguments)  # type: ignore[arg-type]


def test_text() -> None:
    assert as_text(found()) == (
        "small [31m: batch 16, fp32\n"
        "  weights                   2.07 KiB\n"
        "  gradients                 2.07 KiB\n"
        "  state of sgd                 0 B\n"
        "  the batch                 4.00 KiB\n"
        "  kept for backward         8.00 KiB\n"
        "  peak of inference        22.07 KiB\n"
        "  peak of a training step  32.32 KiB\n"
        "most is kept by layers.1 relu 8.00 KiB\n"
        "not counted: workspaces of libraries, and what a GPU's driver and allocator add"
    )


def test_what_fits_and_the_least_time() -> None:
    lines = as_text(found(device=ROUND), 400).splitlines()
    assert lines[-3] == "largest batch: 577 in 1.00 MiB"
    assert lines[-2].startswith("a step on round: at least ")
    assert lines[-2].endswith("A bound by peak rates, not a forecast.")
    none = as_text(found(room=100), 400).splitlines()[-2]
    assert none == "largest batch: none, as a single sample takes 5.84 KiB, not 100 B"


@pytest.mark.parametrize("width", [10, 40, 60])
def test_lines_fit_the_width(width: int) -> None:
    text = as_text(found(device=ROUND), width)
    assert max(map(len, text.splitlines())) <= max(width, 34)


def test_json() -> None:
    data = json.loads(as_json(found(device=ROUND)))
    assert data["name"] == "small\033[31m"
    assert (data["batch_size"], data["precision"], data["optimizer"]) == (16, "fp32", "sgd")
    assert data["weights"] == data["gradients"] == 4 * (18 + 512)
    assert data["optimizer_state"] == 0
    assert data["saved"] == 16 * data["saved_per_sample"] == 16 * 4 * 128
    assert data["most_saved"] == [
        {"path": "layers.1", "kind": "relu", "line": 6, "bytes": 16 * 4 * 128}
    ]
    assert (data["room"], data["device"]) == (2**20, "round")
    assert data["most_samples_per_second"] == pytest.approx(16 / data["least_seconds"])
    bare = json.loads(as_json(found()))
    assert {bare[key] for key in ("room", "device", "least_seconds", "largest_batch")} == {None}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (2**20, "1.00 MiB"),
        (2**40, "1,024.00 GiB"),
    ],
)
def test_units(size: int, text: str) -> None:
    assert in_units(size) == text
