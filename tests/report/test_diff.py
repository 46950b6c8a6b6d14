"""Two networks side by side as text and JSON."""

from __future__ import annotations

import json

import pytest

from shapecalc import loads, trace
from shapecalc.analysis.diff import diff
from shapecalc.report.diff import as_json, as_text

FIRST = """\
name: before
input: [3, 16, 16]
layers:
  - conv: {out_channels: 4, kernel_size: 3}
  - batch_norm
  - relu
  - max_pool: 2
  - flatten
  - linear: 10
"""
SECOND = """\
name: after
input: [3, 16, 16]
layers:
  - conv: {out_channels: 4, kernel_size: 3}
  - batch_norm
  - relu
  - conv: {out_channels: 8, kernel_size: 3}
  - relu
  - adaptive_avg_pool: 1
  - flatten
  - linear: 10
"""


def texts(first: str, second: str, **options: bool | int) -> str:
    pair = (trace(loads(text, file=f"{name}.yaml")) for text, name in ((first, "a"), (second, "b")))
    return as_text(diff(*pair), **options)  # type: ignore[arg-type]


def test_text() -> None:
    assert (
        texts(FIRST, SECOND)
        == """\
- before (a.yaml)
+ after (b.yaml)

   path      layer                      output   params    MACs
             (3 layers alike)
-  layers.3  max_pool(2)                4x7x7
+  layers.3  conv(4, 8, kernel_size=3)  8x12x12     296  41,472
+  layers.4  relu                       8x12x12
+  layers.5  adaptive_avg_pool(1)       8x1x1
<  layers.4  flatten                    196
>  layers.6  flatten                    8
<  layers.5  linear(196, 10)            10        1,970   1,960
>  layers.7  linear(8, 10)              10           90      80

they part at max_pool(2) at layers.3 (a.yaml:7) of the first, which the other does not have

               first   second         difference
layers             6        8        +2 (+33.3%)
params         2,090      506    -1,584 (-75.8%)
MACs          23,128   62,720  +39,592 (+171.2%)
in-features      196        8      -188 (-95.9%)
input        3x16x16  3x16x16
output            10       10"""
    )


def test_networks_that_are_the_same() -> None:
    assert (
        texts(FIRST, FIRST)
        == """\
- before (a.yaml)
+ before (b.yaml)

  path  layer             output  params  MACs
        (6 layers alike)

all layers are the same

               first   second  difference
layers             6        6           0
params         2,090    2,090           0
MACs          23,128   23,128           0
in-features      196      196           0
input        3x16x16  3x16x16
output            10       10"""
    )


def test_layers_alike_are_written_out_on_demand() -> None:
    lines = texts(FIRST, SECOND, every=True).splitlines()
    assert "alike" not in "".join(lines)
    assert lines[4] == "   layers.0  conv(3, 4, kernel_size=3)  4x14x14     112  21,168"


def test_a_narrow_terminal_does_without_paths_and_counts() -> None:
    assert texts(FIRST, SECOND, width=40).splitlines()[3:10] == [
        "   layer                      output",
        "   (3 layers alike)",
        "-  max_pool(2)                4x7x7",
        "+  conv(4, 8, kernel_size=3)  8x12x12",
        "+  relu                       8x12x12",
        "+  adaptive_avg_pool(1)       8x1x1",
        "<  flatten                    196",
    ]
    table = texts(FIRST, SECOND, width=30).split("\n\n")[1].splitlines()
    assert table[3] == "+  conv(4, 8, kern...  8x12x12"


def test_a_large_growth_is_told_as_a_factor() -> None:
    wide = FIRST.replace("out_channels: 4", "out_channels: 400")
    assert "(x" in texts(FIRST, wide)


def test_colours() -> None:
    lines = texts(FIRST, SECOND, color=True).splitlines()
    assert lines[5].startswith("\033[31m-  layers.3")
    assert lines[6].startswith("\033[32m+  layers.3")
    assert lines[9].startswith("\033[33m<  layers.4")
    assert lines[5].endswith("\033[0m")


def test_json() -> None:
    pair = trace(loads(FIRST)), trace(loads(SECOND))
    data = json.loads(as_json(diff(*pair)))
    assert data["first"] == {
        "name": "before", "input": [3, 16, 16], "output": [10], "params": 2090, "macs": 23128,
        "first_linear_in_features": 196,
    }  # fmt: skip
    assert data["difference"] == {"params": -1584, "macs": 39592}
    assert data["parting"] == {"first": "layers.3", "second": None}
    assert [layer["mark"] for layer in data["layers"]] == [
        *["same"] * 3, "removed", *["added"] * 3, "changed", "changed",
    ]  # fmt: skip
    last = data["layers"][-1]
    assert last["differs"] == ["arguments", "input_shape", "params", "macs"]
    assert (last["first"]["path"], last["second"]["path"]) == ("layers.5", "layers.7")
    assert last["second"]["args"]["in_features"] == 8


@pytest.mark.parametrize("text", [FIRST, SECOND])
def test_json_of_the_same(text: str) -> None:
    traced = trace(loads(text))
    data = json.loads(as_json(diff(traced, traced)))
    assert data["parting"] is None
    assert {layer["mark"] for layer in data["layers"]} == {"same"}
