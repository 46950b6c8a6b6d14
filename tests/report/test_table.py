"""A Trace as a table, JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from shapecalc import Trace, load, loads, trace
from shapecalc.report.table import (
    as_csv,
    as_json,
    as_latex,
    as_markdown,
    as_table,
    quantity,
    summary,
)

SPECS = Path(__file__).parents[2] / "specs"
ALL = sorted(SPECS.glob("*.yaml"))
NESTED = """\
name: nested
input: [1, 12, 10]
layers:
  - sequential:
      name: my_stem
      layers:
        - conv: {out_channels: 4, kernel_size: [3, 5], padding: [1, 0], name: first_conv}
        - max_pool: 2
  - flatten
  - linear: {out_features: 3, name: head}
"""
WHOLE = """\
path                layer                                       output   params   MACs     RF
---------------------------------------------------------------------------------------------
input                                                           1x12x10
my_stem             sequential of 2                             4x6x3        64  4,320    4x6
my_stem.first_conv    conv(1, 4, kernel_size=3x5, padding=1x0)  4x12x6       64  4,320    3x5
my_stem.1             max_pool(2)                               4x6x3                     4x6
layers.1            flatten                                     72                        4x6
head                linear(72, 3)                               3           219    216  14x10
---------------------------------------------------------------------------------------------
nested: 283 params, 4,536 MACs for one sample (4.54 k), output 3
in-features of the first linear layer (head): 4 x 6 x 3 = 72"""


@pytest.fixture
def nested() -> Trace:
    return trace(loads(NESTED))


def test_whole_table(nested: Trace) -> None:
    assert as_table(nested) == WHOLE


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(path: Path, width: int) -> None:
    traced = trace(load(path))
    lines = as_table(traced, width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 30)
    assert all(line == line.rstrip() for line in lines)
    rules = [i for i, line in enumerate(lines) if set(line) == {"-"}]
    assert rules == [1, len(traced.rows) + 3]  # the heading; the input and all rows between rules
    assert lines[2].startswith("input ")
    if traced.first_linear:
        row, factors = traced.first_linear
        product = f"{' x '.join(map(str, factors))} = {row.input_shape[-1]}"
        assert lines[-1].endswith(product)


def test_columns_are_left_out_one_by_one_and_named() -> None:
    traced = trace(load(SPECS / "apparel.yaml"))
    left_out = []
    for width in (120, 80, 70, 60, 40):
        found = re.search(r"^\(too narrow for: ([^)]*)\)$", as_table(traced, width=width), re.M)
        left_out.append(" ".join(found[1].split()) if found else "")
    assert left_out == [
        "",
        "",
        "path, RF",
        "MACs, path, RF",
        "params, MACs, path, RF",
    ]


def test_formulas_are_never_cut() -> None:
    traced = trace(load(SPECS / "apparel.yaml"))
    for width in (20, 40, 120):
        text = as_table(traced, explain=True, width=width)
        assert all(row.formula in text for row in traced.rows)
    assert "  (512 - 3 + 2*0)/1 + 1 = 510\n" in text
    assert "  508 / 2 = 254\n" in text


def test_colours_are_added_and_nothing_else(nested: Trace) -> None:
    plain, coloured = as_table(nested), as_table(nested, color=True)
    assert "\033" not in plain
    assert re.sub(r"\033\[\d+m", "", coloured) == plain
    assert coloured.startswith("\033[1mpath")


def test_summary() -> None:
    assert summary(trace(load(SPECS / "apparel.yaml"))) == [
        "apparel: 729,279 params, 2,297,339,616 MACs for one sample (2.30 G), output 15",
        "in-features of the first linear layer (layers.17): 128 x 11 x 11 = 15488",
    ]
    assert summary(trace(load(SPECS / "keywords_1d.yaml"))) == [
        "keywords_1d: 38,243 params, 11,078,528 MACs for one sample (11.08 M), output 35, "
        "451 buffers",
        "in-features of the first linear layer (head): 128 x 1 = 128",
    ]
    assert summary(trace(loads("input: [8]\nlayers: [linear: 2]"))) == [
        "network: 18 params, 16 MACs for one sample (16), output 2"
    ]


def test_quantity() -> None:
    numbers = [0, 999, 1000, 2_297_339_616, 10**15, 10**19]
    assert list(map(quantity, numbers)) == ["0", "999", "1.00 k", "2.30 G", "1.00 P", "10000.00 P"]


def test_json_has_every_key_of_the_interface(nested: Trace) -> None:
    data = json.loads(as_json(nested))
    assert {"name", "input", "output", "layers", "totals", "first_linear_in_features"} <= set(data)
    assert (data["name"], data["input"], data["output"]) == ("nested", [1, 12, 10], [3])
    assert data["first_linear_in_features"] == 4 * 6 * 3
    assert data["totals"]["params"] == 4 * 15 + 4 + 72 * 3 + 3
    assert data["totals"]["macs"] == 15 * 4 * 12 * 6 + 72 * 3
    keys = {
        *("path", "name", "kind", "args", "input_shape", "output_shape", "params", "macs"),
        *("receptive_field", "formula", "line"),
    }
    for layer in data["layers"]:
        assert keys <= set(layer)
        assert ("children" in layer) == (layer["kind"] == "sequential")
    group, conv, pool, flatten, linear = data["layers"]
    assert group["children"] == ["my_stem.first_conv", "my_stem.1"]
    assert (group["params"], group["macs"], group["args"]) == (64, 4320, {})
    assert (conv["path"], conv["name"], conv["line"]) == ("my_stem.first_conv", "first_conv", 7)
    assert (conv["input_shape"], conv["output_shape"]) == ([1, 12, 10], [4, 12, 6])
    assert conv["args"]["in_channels"] == 1
    assert conv["args"]["kernel_size"] == [3, 5]
    assert conv["formula"] == "(12 - 3 + 2*1)/1 + 1 = 12; (10 - 5 + 2*0)/1 + 1 = 6"
    assert (conv["receptive_field"], pool["receptive_field"]) == (5, 6)
    assert (pool["name"], pool["macs"], flatten["params"]) == (None, 0, 0)
    assert linear["args"]["in_features"] == 72


def test_json_without_a_linear_layer_or_a_source() -> None:
    from shapecalc import Relu, Spec

    data = json.loads(as_json(trace(Spec(input=(3,), layers=[Relu()]))))
    assert data["first_linear_in_features"] is None
    (row,) = data["layers"]
    assert (row["line"], row["receptive_field"], row["formula"]) == (None, None, "")


def test_csv_parses(nested: Trace) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(nested))))
    assert [row["path"] for row in rows] == [row.path for row in nested.rows]
    conv = rows[1]
    assert conv["formula"] == nested.rows[1].formula
    assert (conv["output_shape"], conv["params"], conv["name"]) == ("4x12x6", "64", "first_conv")
    assert rows[2]["name"] == ""


def test_markdown_shows_what_is_written(nested: Trace) -> None:
    lines = as_markdown(nested, explain=True).splitlines()
    assert lines[0] == "| path | layer | output | params | MACs | RF | formula |"
    assert lines[1] == "| --- | --- | --- | ---: | ---: | ---: | --- |"
    assert lines[2].startswith(r"| my_stem | sequential of 2 | 4x6x3 | 64 | 4,320 | 4x6 |")
    assert lines[3].startswith(r"| my_stem.first_conv | conv(1, 4, kernel_size=3x5, padding=1x0) |")
    assert r"(12 - 3 + 2\*1)/1 + 1 = 12; (10 - 5 + 2\*0)/1 + 1 = 6" in lines[3]
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in lines[:7]]
    assert cells == [8] * 7
    odd = trace(loads('name: "a|b *c* <i>\\n# d"\ninput: [3]\nlayers: [relu]'))
    assert r"a\|b \*c\* \<i> # d: 0 params" in as_markdown(odd)


def test_latex_escapes(nested: Trace) -> None:
    text = as_latex(nested, explain=True)
    assert text.startswith("% nested: ")
    assert r"my\_stem.first\_conv & conv(1, 4, kernel\_size=3x5, padding=1x0) &" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [line.count("&") for line in body] == [6] * (len(nested.rows) + 1)
    odd = trace(loads('name: "x\\n\\\\input{secret}"\ninput: [3]\nlayers: [relu]'))
    first, *rest = as_latex(odd).splitlines()
    assert first.startswith("% x ")
    assert "secret" not in "\n".join(rest)


def test_a_name_cannot_command_the_terminal() -> None:
    odd = trace(loads('name: "\\e[31mred\\nx"\ninput: [3]\nlayers: [relu]'))
    assert "\033" not in as_table(odd)
    assert " [31mred x: 0 params" in as_table(odd)
