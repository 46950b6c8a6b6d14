"""Each lint: what it says in full, what mends it, what it does not find, and how it is silenced."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from graphs import Graph as DrawnGraph
from graphs import graphs
from hypothesis import given
from jsonschema import Draft7Validator
from strategies import FUZZ

from shapecalc import Spec, SpecError, build, check, load, loads, trace
from shapecalc.analysis import lints as package
from shapecalc.analysis.lints import RULES, Rule, linear_on_linear, lints
from shapecalc.diagnostics import CODES, Diagnostic
from shapecalc.language.schema import schema
from shapecalc.report.diagnostics import as_json, render

SPECS = Path(__file__).parents[2] / "specs"


def found(text: str) -> list[Diagnostic]:
    return lints(trace(loads(text, file="a.yaml")))


def told(text: str) -> list[str]:
    return [d.code for d in found(text)]


def name(rule: Rule) -> str:
    return rule.__name__.rpartition(".")[2]


BY_NAME = {name(rule): rule for rule in RULES}

REPORTS = {
    "linear_on_linear": """\
warning[W101]: conv directly follows the conv layers.0: two linear maps in a row are one
 --> a.yaml:4:5 (layers.1)
  |
4 |   - conv: {out_channels: 16, kernel_size: 3}
  |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write relu between them, or one conv: {out_channels: 16, kernel_size: 5}, which computes
          the same with 1,216 params instead of 1,392 and 940,800 MACs instead of 1,097,568
""",
    "softmax_before_cross_entropy": """\
warning[W102]: softmax stands before the loss cross_entropy, which takes the softmax itself: with 10
classes the loss cannot fall below 1.46
 --> a.yaml:4:5 (layers.1)
  |
4 |   - softmax
  |     ^^^^^^^
  |
  = help: remove it; predict and eval give probabilities without it
""",
    "bias_before_norm": """\
warning[W103]: conv has a bias of 8 params, which the batch_norm layers.1 right behind it takes away
 --> a.yaml:3:5 (layers.0)
  |
3 |   - conv: {out_channels: 8, kernel_size: 3}
  |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write bias: false, which saves 8 params
""",
    "dropped_pixels": """\
warning[W104]: max_pool never sees the last 1 of 7 pixels along height and width
 --> a.yaml:3:5 (layers.0)
  |
3 |   - max_pool: 2
  |     ^^^^^^^^^^^
  |
  = help: write ceil_mode: true; or an input of 6x6 (now 7x7) drops none here
""",
    "skipped_pixels": """\
warning[W105]: conv steps by 3 with a kernel of 2 and so sees 4 of every 9 pixels along height and
width
 --> a.yaml:3:45 (layers.0)
  |
3 |   - conv: {out_channels: 8, kernel_size: 2, stride: 3}
  |                                             ^^^^^^^^^
  |
  = help: write kernel_size: 3, or stride: 2
""",
    "padding_of_zeros": """\
warning[W106]: conv has padding 1 around a kernel of 1: 2 of 34 windows along height and width hold
only zeros
 --> a.yaml:3:45 (layers.0)
  |
3 |   - conv: {out_channels: 8, kernel_size: 1, padding: 1}
  |                                             ^^^^^^^^^^
  |
  = help: write padding: 0
""",
    "unflattened_linear": """\
warning[W107]: linear gets [8, 30, 30] and maps its width of 30 alone
 --> a.yaml:5:5 (layers.2)
  |
5 |   - linear: 10
  |     ^^^^^^^^^^ input is [8, 30, 30]
  |
  = help: write flatten before it, for 8 x 30 x 30 = 7200 in-features; or adaptive_avg_pool: 1 and
          flatten, for 8
""",
    "most_of_the_params": """\
warning[W108]: linear has 2,097,216 of the network's 2,098,762 params, 100%: a weight for each of 32
x 32 x 32 inputs
 --> a.yaml:7:5 (layers.4)
  |
7 |   - linear: 64
  |     ^^^^^^^^^^
  |
  = help: adaptive_avg_pool: 1 before the flatten layers.3 leaves it 2,112 params, 2,095,104 fewer
""",
    "narrow_view": """\
warning[W109]: each of the 15x15 outputs sees 9x9 of the 65x65 input
 --> a.yaml:6:5 (layers.2)
  |
6 |   - conv: {out_channels: "${classes}", kernel_size: 3, stride: 2}
  |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write adaptive_avg_pool: 1 and flatten behind it, for one answer from all of the input
""",
    "outputs_not_classes": """\
warning[W110]: the network gives 12 outputs, but params has classes: 10
 --> a.yaml:4:5 (layers.0)
  |
4 |   - linear: 12
  |     ^^^^^^^^^^
  |
  = help: write out_features: ${classes}
""",
    "single_value_batch_norm": """\
warning[W111]: batch_norm gets [32], one value of each channel, and batch_size is 1: training stops,
for there is no spread of one value
 --> a.yaml:4:5 (layers.1)
  |
4 |   - batch_norm
  |     ^^^^^^^^^^ input is [32]
  |
  = help: write train: {batch_size: 2} or more, or layer_norm in its place
""",
    "odd_channels": """\
warning[W112]: conv has 60 out_channels, no multiple of 8, which tensor cores work on at a time in
bf16
 --> a.yaml:3:12 (layers.0)
  |
3 |   - conv: {out_channels: 60, kernel_size: 3}
  |            ^^^^^^^^^^^^^^^^
  |
  = help: write out_channels: 64, or 56
""",
    "dropout_before_batch_norm": """\
warning[W113]: dropout of 0.5 right before the batch_norm layers.2: the variance that it learns is
at least 2 times that of evaluation
 --> a.yaml:4:5 (layers.1)
  |
4 |   - dropout: 0.5
  |     ^^^^^^^^^^^^
  |
  = help: move it behind the batch_norm
""",
    "no_effect": """\
warning[W114]: dropout has no effect: p is 0
 --> a.yaml:5:5 (layers.2)
  |
5 |   - dropout: 0.0
  |     ^^^^^^^^^^^^
  |
  = help: remove it
""",
    "inplace_shared": """\
warning[W115]: relu overwrites a tensor that the residual layers.0 needs as it was
 --> a.yaml:4:16 (layers.0.layers.0)
  |
4 |       - relu: {inplace: true}
  |                ^^^^^^^^^^^^^
  |
  = help: write inplace: false
""",
}
"""What is said of each rule's bad example."""

_TWO = "  - conv: {out_channels: 8, kernel_size: 3}\n  - conv: {out_channels: 16, kernel_size: 3}\n"
MENDS: dict[str, list[tuple[str, str]]] = {
    "linear_on_linear": [
        ("  - conv: {out_channels: 16", "  - relu\n  - conv: {out_channels: 16"),
        (_TWO, "  - conv: {out_channels: 16, kernel_size: 5}\n"),
    ],
    "softmax_before_cross_entropy": [("  - softmax\n", "")],
    "bias_before_norm": [("kernel_size: 3}", "kernel_size: 3, bias: false}")],
    "dropped_pixels": [
        ("max_pool: 2", "max_pool: {kernel_size: 2, ceil_mode: true}"),
        ("[8, 7, 7]", "[8, 6, 6]"),
    ],
    "skipped_pixels": [("kernel_size: 2", "kernel_size: 3"), ("stride: 3", "stride: 2")],
    "padding_of_zeros": [("padding: 1", "padding: 0")],
    "unflattened_linear": [
        ("  - linear", "  - flatten\n  - linear"),
        ("  - linear", "  - adaptive_avg_pool: 1\n  - flatten\n  - linear"),
    ],
    "most_of_the_params": [("  - flatten", "  - adaptive_avg_pool: 1\n  - flatten")],
    "narrow_view": [("stride: 2}\n$", "stride: 2}\n  - adaptive_avg_pool: 1\n  - flatten\n")],
    "outputs_not_classes": [("linear: 12", "linear: {out_features: '${classes}'}")],
    "single_value_batch_norm": [
        ("batch_size: 1", "batch_size: 2"),
        ("- batch_norm", "- layer_norm"),
    ],
    "odd_channels": [
        ("out_channels: 60", "out_channels: 64"),
        ("out_channels: 60", "out_channels: 56"),
    ],
    "dropout_before_batch_norm": [
        ("  - dropout: 0.5\n  - batch_norm\n", "  - batch_norm\n  - dropout: 0.5\n")
    ],
    "no_effect": [("  - dropout: 0.0\n", "")],
    "inplace_shared": [("inplace: true", "inplace: false")],
}
"""What the help of each report says, done to the text; `$` is its end."""


class TestEachRule:
    def test_all_are_here_and_complete(self) -> None:
        """A rule is a file, a code in the catalogue, words that say what and why, and examples."""
        folder = Path(inspect.getfile(package)).parent
        files = {path.stem for path in folder.glob("*.py")} - {"__init__", "finding"}
        assert {name(rule) for rule in RULES} == files == REPORTS.keys() == MENDS.keys()
        codes = [rule.CODE for rule in RULES]
        assert codes == sorted(set(codes)) == [code for code in CODES if code.startswith("W")]
        for rule in RULES:
            what, why = (rule.__doc__ or "").split("\n\n", 1)
            assert what.endswith("."), rule
            assert len(why) > 100, rule

    @pytest.mark.parametrize("rule", RULES, ids=name)
    def test_bad_example_is_told_in_full(self, rule: Rule) -> None:
        (lint,) = check(loads(rule.BAD, file="a.yaml"))
        assert render([lint]) + "\n" == REPORTS[name(rule)]
        assert lint.severity == "warning"

    @pytest.mark.parametrize("rule", RULES, ids=name)
    def test_good_example_has_nothing(self, rule: Rule) -> None:
        assert check(loads(rule.GOOD)) == []

    @pytest.mark.parametrize(
        ("rule", "old", "new"),
        [(rule, old, new) for rule in RULES for old, new in MENDS[name(rule)]],
    )
    def test_mend_works(self, rule: Rule, old: str, new: str) -> None:
        end = old.endswith("$")
        old = old.removesuffix("$")
        assert rule.BAD.count(old) == 1 or end
        bad = rule.BAD.removesuffix(old) + new if end else rule.BAD.replace(old, new)
        assert rule.CODE not in told(bad)

    def test_colours(self) -> None:
        (lint,) = found(BY_NAME["no_effect"].BAD)
        text = render([lint], color=True)
        assert text.startswith("\033[1;33mwarning[W114]\033[0m: \033[1m")
        plain = re.sub(r"\033\[[\d;]*m", "", text)
        assert plain + "\n" == REPORTS["no_effect"]

    def test_json(self) -> None:
        (lint,) = as_json(found(BY_NAME["no_effect"].BAD))
        assert (lint["severity"], lint["code"], lint["line"]) == ("warning", "W114", 5)

    def test_no_rule_imports_torch(self) -> None:
        for path in Path(inspect.getfile(package)).parent.glob("*.py"):
            tree = ast.parse(path.read_text())
            modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
            assert not any((module or "").startswith("torch") for module in modules)


class Case(NamedTuple):
    """A network that a rule finds something in, what it says, and the text mended."""

    rule: str
    text: str
    message: str
    help: str
    mended: str = ""


FIRES = [
    Case(
        "linear_on_linear",
        "input: [8]\nlayers: [linear: 6, linear: 5]",
        "linear directly follows the linear layers.0",
        "write relu between them, or one linear: {out_features: 5}, which computes the same with "
        "45 params instead of 89 and 40 MACs instead of 78",
        "input: [8]\nlayers: [linear: 5]",
    ),
    Case(  # through a group and a residual's start
        "linear_on_linear",
        "input: [8]\nlayers: [sequential: [linear: 8], sequential: [sequential: [linear: 8]]]",
        "linear directly follows the linear layers.0.0",
        "linear: {out_features: 8}",
    ),
    Case(  # padding in the second is around the first one's outputs
        "linear_on_linear",
        "input: [8, 9, 9]\nlayers:\n"
        "- conv: {out_channels: 8, kernel_size: 3, stride: 2, padding: 1}\n"
        "- conv: {out_channels: 8, kernel_size: [3, 1], padding: [1, 0]}",
        "conv directly follows",
        "one conv: {out_channels: 8, kernel_size: [7, 3], stride: 2, padding: [3, 1]} computes the "
        "same but at the border, with 1,352 params instead of 784",
    ),
    Case(
        "linear_on_linear",
        "input: [8, 9, 9]\nlayers:\n"
        "- conv: {out_channels: 8, kernel_size: 3, dilation: 2}\n"
        "- conv: {out_channels: 8, kernel_size: 3}",
        "conv directly follows",
        "write relu between them",
    ),
    Case(
        "softmax_before_cross_entropy",
        "input: [8]\nlayers: [linear: 3, log_softmax]",
        "log_softmax stands before the loss cross_entropy, which takes it itself",
        "remove it; or keep it and write train: {loss: nll}",
        "input: [8]\nlayers: [linear: 3, log_softmax]\ntrain: {loss: nll}",
    ),
    Case(
        "softmax_before_cross_entropy",
        "input: [8, 2, 2]\nlayers: [conv: {out_channels: 15, kernel_size: 2}, sigmoid, flatten]\n"
        "train: {loss: {cross_entropy: {label_smoothing: 0.1}}}",
        "sigmoid stands before the loss cross_entropy, which takes the softmax itself: with 15 "
        "classes the loss cannot fall below 1.82",
        "remove it",
    ),
    Case(
        "bias_before_norm",
        "input: [8, 5, 5]\nlayers: [conv_transpose: {out_channels: 4, kernel_size: 2}, "
        "instance_norm]",
        "conv_transpose has a bias of 4 params, which the instance_norm layers.1",
        "write bias: false",
    ),
    Case(
        "bias_before_norm",
        "input: [8]\nlayers: [linear: 4, residual: {layers: [batch_norm], shortcut: false}]",
        "linear has a bias of 4 params, which the batch_norm layers.1.layers.0",
        "write bias: false, which saves 4 params",
    ),
    Case(
        "dropped_pixels",
        "input: [3, 20, 33]\nlayers: [conv: {out_channels: 4, kernel_size: 3, stride: 3}]",
        "conv never sees the last 2 of 20 pixels along height",
        "write padding: [1, 0]; or an input of 18x33 (now 20x33) drops none here",
        "input: [3, 20, 33]\nlayers: "
        "[conv: {out_channels: 4, kernel_size: 3, stride: 3, padding: [1, 0]}]",
    ),
    Case(  # pixels of the input, not of the pool's own
        "dropped_pixels",
        "input: [3, 30]\nlayers: [max_pool: 2, conv: {out_channels: 4, kernel_size: 2, stride: 2}]",
        "conv never sees the last 1 of 15 pixels along length",
        "write padding: 1; or an input of 28 (now 30) drops none here",
        "input: [3, 28]\nlayers: [max_pool: 2, conv: {out_channels: 4, kernel_size: 2, stride: 2}]",
    ),
    Case(
        "skipped_pixels",
        "input: [3, 9, 9]\nlayers: [conv: {out_channels: 4, kernel_size: 1, stride: [2, 1]}]",
        "conv steps by 2 with a kernel of 1 and so sees 1 of every 2 pixels along height",
        "write kernel_size: [2, 1], or stride: 1",
        "input: [3, 9, 9]\nlayers: [conv: {out_channels: 4, kernel_size: [2, 1], stride: [2, 1]}]",
    ),
    Case(  # both sides look at the same quarter
        "skipped_pixels",
        "input: [3, 9, 9]\nlayers: [residual: {"
        "layers: [conv: {out_channels: 4, kernel_size: 1, stride: 2}], "
        "shortcut: [conv: {out_channels: 4, kernel_size: 1, stride: 2}]}]",
        "and so sees 1 of every 4 pixels",
        "write kernel_size: 2",
    ),
    Case(  # taps at 0 and 2, which are even at every step
        "skipped_pixels",
        "input: [3, 9]\nlayers: [max_pool: {kernel_size: 2, dilation: 2, stride: 2}]",
        "max_pool steps by 2 with a kernel of 2 and so sees 1 of every 2 pixels",
        "write stride: 1",
        "input: [3, 9]\nlayers: [max_pool: {kernel_size: 2, dilation: 2, stride: 1}]",
    ),
    Case(
        "padding_of_zeros",
        "input: [3, 9, 9]\nlayers: "
        "[conv: {out_channels: 4, kernel_size: 3, stride: 2, padding: [1, 4]}]",
        "conv has padding 4 around a kernel of 3: 2 of 8 windows along width hold only zeros",
        "write padding: 1",
        "input: [3, 9, 9]\nlayers: "
        "[conv: {out_channels: 4, kernel_size: 3, stride: 2, padding: 1}]",
    ),
    Case(
        "unflattened_linear",
        "input: [3, 8, 8]\nlayers: [linear: 10]",
        "linear gets [3, 8, 8] and maps its width of 8 alone",
        "write flatten before it, for 3 x 8 x 8 = 192 in-features",
    ),
    Case(
        "narrow_view",
        "input: [3, 17, 17]\nlayers: [conv: {out_channels: 8, kernel_size: 8, stride: 3}]\n"
        "train: {epochs: 3}",
        "each of the 4x4 outputs sees 8x8 of the 17x17 input",
        "or go on with a convolution of kernel_size 4x4",
        "input: [3, 17, 17]\nlayers: [conv: {out_channels: 8, kernel_size: 8, stride: 3}, relu, "
        "conv: {out_channels: 8, kernel_size: 4}]\ntrain: {epochs: 3}",
    ),
    Case(
        "outputs_not_classes",
        "input: [8, 4, 4]\nlayers: [conv: {out_channels: 9, kernel_size: 1}, relu, "
        "adaptive_avg_pool: 1, flatten]\ntrain: {data: {torchvision: CIFAR10}}",
        "the network gives 9 outputs, but the data has classes: 10",
        "write out_channels: 10",
        "input: [8, 4, 4]\nlayers: [conv: {out_channels: 10, kernel_size: 1}, relu, "
        "adaptive_avg_pool: 1, flatten]\ntrain: {data: {torchvision: CIFAR10}}",
    ),
    Case(
        "outputs_not_classes",
        "input: [8, 2, 2]\nlayers: [conv: {out_channels: 3, kernel_size: 1}, flatten]\n"
        "train: {data: synthetic_apparel}",
        "the network gives 12 outputs, but the data has classes: 15",
        "let it end in linear: 15",
        "input: [8, 2, 2]\nlayers: [conv: {out_channels: 3, kernel_size: 1}, flatten, linear: 15]\n"
        "train: {data: synthetic_apparel}",
    ),
    Case(
        "single_value_batch_norm",
        "input: [8, 4, 4]\nlayers: [adaptive_avg_pool: 1, batch_norm]\ntrain: {batch_size: 1}",
        "batch_norm gets [8, 1, 1], one value of each channel",
        "write train: {batch_size: 2}",
    ),
    Case(
        "odd_channels",
        "input: [64]\nlayers: [linear: 100, relu, linear: 10]\ntrain: {precision: fp16}",
        "linear has 100 out_features, no multiple of 8",
        "write out_features: 104, or 96",
    ),
    Case(
        "dropout_before_batch_norm",
        "input: [8, 4, 4]\nlayers: [channel_dropout: 0.2, {save: a}, batch_norm, {add: a}]",
        "channel_dropout of 0.2 right before the batch_norm layers.2: the variance that it learns "
        "is at least 1.25 times",
        "move it behind the batch_norm",
    ),
    *(
        Case("no_effect", f"input: [8, 4, 4]\nlayers: [tanh, {layer}]", message, "remove it")
        for layer, message in [
            ("identity", "identity has no effect: an identity gives out what it gets"),
            ("drop_path: 0.0", "drop_path has no effect: p is 0"),
            ("max_pool: 1", "max_pool has no effect: a window of 1 is the pixel itself"),
            ("avg_pool: [1, 1]", "avg_pool has no effect"),
            ("'permute': [0, 1, 2, -1]", "permute has no effect: the axes stay where they are"),
            ("upsample: 1.0", "upsample has no effect: the size is [8, 4, 4] before and behind it"),
            ("upsample: {size: 4, mode: bilinear}", "upsample has no effect"),
            ("constant_pad: 0", "constant_pad has no effect: padding is 0"),
            ("reflection_pad: [0, 0, 0, 0]", "reflection_pad has no effect: padding is 0"),
            ("pixel_shuffle: 1", "pixel_shuffle has no effect: upscale_factor is 1"),
            ("channel_shuffle: 1", "channel_shuffle has no effect: groups is 1"),
            ("save: a", "save has no effect: a is not used later"),
        ]
    ),
    Case(
        "no_effect",
        "input: [8, 4, 4]\nlayers: [flatten, {linear: 3}, flatten]",
        "flatten has no effect: its input [3] is flat",
        "remove it",
    ),
    Case(
        "no_effect",
        "input: [8, 4, 4]\nlayers: [sigmoid, max_pool: 2, flatten, relu]",
        "relu has no effect: what the sigmoid layers.0 gives is not negative",
        "remove it",
    ),
    Case(
        "inplace_shared",
        "input: [8, 4, 4]\nlayers: [tanh, {save: a}, flatten, silu: {inplace: true}, "
        "unflatten: {dim: 1, unflattened_size: [8, 4, 4]}, {add: a}]",
        "silu overwrites a tensor that the add layers.5 needs as it was",
        "write inplace: false",
    ),
    Case(
        "inplace_shared",
        "input: [8, 4, 4]\nlayers: [tanh, branches: [[dropout: {inplace: true}], [gelu]]]",
        "dropout overwrites a tensor that the gelu layers.1.1.0 needs as it was",
        "write inplace: false",
    ),
]


@pytest.mark.parametrize("case", FIRES, ids=lambda case: f"{case.rule}-{case.text[-30:]}")
def test_fires(case: Case) -> None:
    code = BY_NAME[case.rule].CODE
    lint, *more = (d for d in found(case.text) if d.code == code)
    assert lint.message.startswith(case.message) or case.message in lint.message
    assert case.help in lint.help
    assert len(more) <= 1  # the other side of a residual
    if case.mended:
        assert code not in told(case.mended)


QUIET = {
    "linear_on_linear": [
        "input: [8]\nlayers: [linear: 8, relu, linear: 8]",
        "input: [8]\nlayers: [linear: 8, dropout, linear: 8]",
        "input: [8]\nlayers: [linear: 8, {save: a}, linear: 8, {add: a}]",  # goes elsewhere too
        "input: [8]\nlayers: [linear: 8, residual: [linear: 8]]",
        "input: [8]\nlayers: [residual: [linear: 8], linear: 8]",  # a sum is before it
        "input: [64]\nlayers: [linear: 4, linear: 64]",  # a narrow middle, at an eighth of the cost
        # depthwise and pointwise
        "input: [8, 9, 9]\nlayers: [conv: {out_channels: 8, kernel_size: 3, groups: 8}, "
        "conv: {out_channels: 16, kernel_size: 1}]",
    ],
    "softmax_before_cross_entropy": [
        "input: [8]\nlayers: [linear: 3, softmax]\ntrain: {loss: multi_margin}",
        "input: [8]\nlayers: [softmax, linear: 3]",
        "input: [8]\nlayers: [linear: 3, tanh]",
    ],
    "bias_before_norm": [
        "input: [8, 4, 4]\nlayers: [conv: {out_channels: 8, kernel_size: 1}, group_norm: 4]",
        "input: [8, 4, 4]\nlayers: [conv: {out_channels: 8, kernel_size: 1}, layer_norm]",
        "input: [8, 4, 4]\nlayers: [conv: {out_channels: 8, kernel_size: 1}, relu, batch_norm]",
        "input: [8, 4]\nlayers: [linear: 5, batch_norm]",  # the bias is along the other axis
        # the bias reaches the sum
        "input: [8, 4, 4]\nlayers: [conv: {out_channels: 8, kernel_size: 1}, residual: "
        "[batch_norm]]",
    ],
    "dropped_pixels": [
        "input: [8, 8, 8]\nlayers: [max_pool: 2]",
        "input: [8, 7, 7]\nlayers: [max_pool: {kernel_size: 3, stride: 2}]",
        "input: [8, 201, 201]\nlayers: [max_pool: 2]",  # less than a hundredth
        # what is left over is padding
        "input: [8, 8, 8]\nlayers: [conv: {out_channels: 8, kernel_size: 3, stride: 2, "
        "padding: 1}]",
        "input: [8, 7, 7]\nlayers: [conv: {out_channels: 8, kernel_size: 3}]",
    ],
    "skipped_pixels": [
        "input: [8, 8, 8]\nlayers: [conv: {out_channels: 8, kernel_size: 2, stride: 2}]",
        # the other side sees everything
        "input: [8, 8, 8]\nlayers: [residual: {layers: [conv: {out_channels: 8, kernel_size: 3, "
        "padding: 1, stride: 2}], shortcut: [conv: {out_channels: 8, kernel_size: 1, stride: 2}]}]",
        "input: [8, 9]\nlayers: [conv: {out_channels: 8, kernel_size: 2, dilation: 3, stride: 2}]",
        "input: [8, 4]\nlayers: [conv: {out_channels: 8, kernel_size: 4, stride: 9}]",  # one window
    ],
    "padding_of_zeros": [
        "input: [8, 8, 8]\nlayers: [conv: {out_channels: 8, kernel_size: 3, padding: 2}]",
        "input: [8, 8, 8]\nlayers: [conv: {out_channels: 8, kernel_size: 3, padding: 4, "
        "dilation: 2}]",
        "input: [8, 8, 8]\nlayers: [conv: {out_channels: 8, kernel_size: 1, padding: 1, "
        "padding_mode: replicate}]",
    ],
    "unflattened_linear": [
        "input: [8, 4, 4]\nlayers: [permute: [0, 2, 3, 1], linear: 5]",
        "input: [8, 4, 4]\nlayers: [flatten: 2, linear: 5]",  # positions mixed, as in an MLP-Mixer
        "input: [9, 64]\nlayers: [linear: 5]",  # maybe nine vectors
    ],
    "most_of_the_params": [
        "input: [8, 4, 4]\nlayers: [flatten, linear: 100]",  # few
        "input: [2000]\nlayers: [linear: 1000]",  # nothing to pool
        "input: [2000, 1, 1]\nlayers: [flatten, linear: 1000]",
    ],
    "narrow_view": [
        "input: [3, 65, 65]\nlayers: [conv: {out_channels: 8, kernel_size: 5, stride: 2}]",
        "input: [3, 64, 64]\nparams: {classes: 2}\nlayers: [conv: {out_channels: 2, "
        "kernel_size: 3, padding: 1}]",
        "input: [3, 9, 9]\nparams: {classes: 2}\nlayers: [conv: {out_channels: 2, "
        "kernel_size: 9, stride: 2, padding: 4}, conv: {out_channels: 2, kernel_size: 3}]",
    ],
    "outputs_not_classes": [
        "input: [8]\nparams: {classes: [cat, dog]}\nlayers: [linear: 2]",
        "input: [8]\nlayers: [linear: 2]\ntrain: {data: {folder: nowhere}}",
        "input: [8, 4, 4]\nparams: {classes: 2}\nlayers: [conv: {out_channels: 2, kernel_size: 1}]",
    ],
    "single_value_batch_norm": [
        "input: [8]\nlayers: [batch_norm]",
        "input: [8, 2]\nlayers: [batch_norm]\ntrain: {batch_size: 1}",
    ],
    "odd_channels": [
        "input: [64]\nlayers: [linear: 100, relu, linear: 16]",
        "input: [64]\nlayers: [linear: 64, relu, linear: 100, softmax]\ntrain: {precision: bf16}",
        "input: [64]\nlayers: [linear: 20, relu, linear: 16]\ntrain: {precision: bf16}",
    ],
    "dropout_before_batch_norm": [
        "input: [8]\nlayers: [dropout: 0.5, linear: 8, batch_norm]",
        "input: [8]\nlayers: [dropout: 0.5, layer_norm]",
    ],
    "no_effect": [
        "input: [8, 4, 4]\nlayers: [adaptive_avg_pool: 4]",  # for inputs of another size
        "input: [8, 4, 4]\nparams: {p: 0.0}\nlayers: [dropout: '${p}']",
        "input: [8, 4, 4]\nparams: {act: identity}\nlayers: ['${act}']",
        "input: [8, 4, 4]\nlayers: [upsample: {scale_factor: 1.2, mode: bilinear}]",
        "input: [8, 4, 4]\nlayers: [tanh, relu]",
        "input: [8, 4, 4]\nlayers: [relu, conv: {out_channels: 3, kernel_size: 1}, relu]",
        "input: [8, 4, 4]\nlayers: [max_pool: {kernel_size: 1, stride: 2}]",
        # in one of two turns
        "input: [8, 4, 4]\nlayers: [repeat: {times: 2, layers: [flatten, linear: 3]}]",
        "input: [8, 4, 4]\nlayers: [repeat: {times: 2, layers: [relu, tanh]}]",
        "input: [8, 4, 4]\nlayers: [{save: a}, tanh, {add: a}]",
    ],
    "inplace_shared": [
        "input: [8, 4, 4]\nlayers: [tanh, relu: {inplace: true}]",
        "input: [8, 4, 4]\nlayers: [residual: [tanh, relu: {inplace: true}]]",
        "input: [8, 4, 4]\nlayers: [branches: {split: 2, layers: [[relu: {inplace: true}], []]}]",
        "input: [8, 4, 4]\nlayers: [relu: {inplace: true}, {save: a}, tanh, {add: a}]",
    ],
}


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule, texts in QUIET.items() for text in texts]
)
def test_near_misses(rule: str, text: str) -> None:
    assert BY_NAME[rule].CODE not in told(text)


def test_every_rule_has_near_misses() -> None:
    assert QUIET.keys() == BY_NAME.keys()


class TestComposed:
    """The one layer that stands for two gives the same numbers."""

    @pytest.mark.parametrize(
        ("shape", "first", "second"),
        [
            ((7,), {"linear": 5}, {"linear": 3}),
            ((2, 11), {"conv": [4, 3]}, {"conv": [3, 2]}),
            ((2, 13, 12), {"conv": [4, 3, 2, 1]}, {"conv": [3, 3, 1, 0]}),
            ((2, 13, 12), {"conv": [4, 2, 1, 1]}, {"conv": [3, 3, 2, 0]}),
            ((2, 9, 9, 9), {"conv": [2, 2]}, {"conv": [2, 3]}),
        ],
        ids=str,
    )
    def test_numbers(
        self, shape: tuple[int, ...], first: Mapping[str, object], second: Mapping[str, object]
    ) -> None:
        """A linear map is known by what it makes of each unit, and of nothing."""

        def layer(of: Mapping[str, object]) -> dict[str, object]:
            ((kind, value),) = of.items()
            names = ("out_channels", "kernel_size", "stride", "padding")
            return {kind: dict(zip(names, value, strict=False)) if kind == "conv" else value}  # type: ignore[call-overload]

        pair = Spec(input=shape, layers=[layer(first), layer(second)])
        rows = trace(pair).rows
        single = linear_on_linear.composed(*rows)
        assert single is not None
        both, one = build(pair).double(), build(Spec(input=shape, layers=[single])).double()
        with torch.no_grad():
            zero = both(torch.zeros(1, *shape, dtype=torch.double))
            assert one(torch.zeros(1, *shape, dtype=torch.double)).shape == zero.shape
            a, b = (m.weight for m in both.modules() if hasattr(m, "weight"))
            (weight,) = (m.weight for m in one.modules() if hasattr(m, "weight"))
            (bias,) = (m.bias for m in one.modules() if hasattr(m, "bias"))
            strides = [row.arguments.get("stride", 1) for row in rows]
            weight.copy_(_product(a, b, strides[0]))
            bias.copy_(zero.flatten(2).mean(2)[0] if zero.dim() > 2 else zero[0])
            if zero.dim() > 2 and rows[0].arguments["padding"]:
                bias.copy_(b.flatten(2).sum(2) @ both.layers[0].bias + both.layers[1].bias)
            x = torch.randn(2, *shape, dtype=torch.double)
            torch.testing.assert_close(one(x), both(x))


def _product(a: torch.Tensor, b: torch.Tensor, stride: int) -> torch.Tensor:
    """The weight of b behind a: each tap of b reaches all taps of a, `stride` apart."""
    if a.dim() == 2:
        return b @ a
    kernels = [
        x + (y - 1) * stride for x, y in zip(a.shape[2:], b.shape[2:], strict=True)
    ]  # fmt: skip
    whole = torch.zeros(b.shape[0], a.shape[1], *kernels, dtype=a.dtype)
    for tap in torch.cartesian_prod(*(torch.arange(k) for k in b.shape[2:])).reshape(
        -1, a.dim() - 2
    ):
        place = tuple(
            slice(int(t) * stride, int(t) * stride + k)
            for t, k in zip(tap, a.shape[2:], strict=True)
        )
        mix = b[(slice(None), slice(None), *map(int, tap))]
        whole[(slice(None), slice(None), *place)] += torch.tensordot(mix, a, dims=([1], [0]))
    return whole


class TestSilencing:
    BAD = (
        "input: [8, 4, 4]\n{top}layers: "
        "[{{conv: {{out_channels: 8, kernel_size: 1{of}}}}}, batch_norm]"
    )

    @pytest.mark.parametrize(
        ("top", "of", "codes"),
        [
            ("", "", ["W103"]),
            ("allow: W103\n", "", []),
            ("allow: [W101, W103]\n", "", []),
            ("allow: W101\n", "", ["W103"]),
            ("", ", allow: W103", []),
            ("", ", allow: [W103, W101]", []),
            ("", ", allow: []", ["W103"]),
            ("params: {quiet: W103}\n", ", allow: '${quiet}'", []),
        ],
    )
    def test_by_layer_and_by_spec(self, top: str, of: str, codes: list[str]) -> None:
        text = self.BAD.format(top=top, of=of)
        assert told(text) == codes
        spec = loads(text)
        assert loads(spec.to_yaml()) == spec
        assert told(spec.to_yaml()) == codes

    @pytest.mark.parametrize(
        "layer",
        [
            "sequential: {allow: W114, layers: [identity]}",
            "repeat: {times: 2, allow: W114, layers: [sequential: [identity, tanh]]}",
            "residual: {layers: [sequential: [identity]], allow: W114}",
            "branches: {layers: [[], [identity]], allow: W114}",
            "idle: {allow: W114}",
        ],
    )
    def test_a_container_speaks_for_what_it_holds(self, layer: str) -> None:
        head = "input: [8, 4, 4]\nblocks: {idle: {layers: [identity]}}\nlayers:\n- "
        assert told(f"{head}{layer}") == []
        assert told(f"{head}{layer}".replace("W114", "W101")) == ["W114"]

    @pytest.mark.parametrize(
        ("text", "message", "help", "line"),
        [
            (
                "input: [3]\nlayers:\n- relu: {allow: w103}",
                "relu: allow: there is no lint w103",
                "did you mean W103?",
                3,
            ),
            (
                "input: [3]\nallow: [W103, E203]\nlayers: [relu]",
                "a spec: allow: there is no lint E203",
                f"lints are {', '.join(rule.CODE for rule in RULES)}",
                2,
            ),
            (
                "input: [3]\nlayers:\n- relu: {allow: '${1}'}",
                "relu needs a word or a list for allow, not 1",
                "",
                3,
            ),
        ],
    )
    def test_unknown_codes(self, text: str, message: str, help: str, line: int) -> None:
        with pytest.raises(SpecError) as error:
            trace(loads(text))
        (fault,) = error.value.diagnostics
        assert (fault.code, fault.message, fault.help) == ("E106", message, help)
        assert fault.place is not None
        assert fault.place.line == line

    @pytest.mark.parametrize(
        ("allow", "fits"),
        [
            *[("W103", True), (["W103", "W101"], True), ("${a}", True), (["${a}"], True)],
            *[([], True), ("W999", False), (["E203"], False), (True, False), ({}, False)],
        ],
    )
    def test_the_schema_knows_the_codes(self, allow: object, fits: bool) -> None:
        validator = Draft7Validator(schema())
        document = {"input": [3], "layers": [{"relu": {"allow": allow}}]}
        assert validator.is_valid(document) == fits
        assert validator.is_valid({"input": [3], "allow": allow, "layers": []}) == fits

    def test_a_block_has_no_parameter_called_allow(self) -> None:
        with pytest.raises(SpecError, match="a parameter cannot be called 'allow'"):
            loads("input: [3]\nblocks: {b: {params: {allow: 1}, layers: []}}\nlayers: [b]")


class TestOnce:
    def test_a_line_that_makes_many_layers_is_told_once(self) -> None:
        text = "input: [8, 4, 4]\nlayers:\n- repeat:\n    times: 3\n    layers:\n    - identity\n"
        (lint,) = found(text)
        assert lint.path == "layers.0.0"
        assert lint.message == (
            "identity has no effect: an identity gives out what it gets; the same line makes 2 "
            "more of these"
        )
        assert [said for said, _ in lint.trail] == ["turn 0 of repeat"]

    def test_two_lines_are_told_apart(self) -> None:
        assert [d.path for d in found("input: [8]\nlayers: [tanh, identity, identity]")] == [
            "layers.1",
            "layers.2",
        ]

    def test_a_spec_of_python_has_no_lines(self) -> None:
        spec = Spec(input=(8,), layers=["tanh", "identity", "identity"])
        assert [(d.path, d.place) for d in lints(trace(spec))] == [
            ("layers.1", None),
            ("layers.2", None),
        ]


PINNED = {
    # The article's network, whose convolutions are in pairs.
    "apparel": {"W101": 4},
    "apparel_2019": {"W101": 4},
    # VoxNet steps by 2 with a kernel of 5 over 32 voxels, as published.
    "voxels_3d": {"W104": 1},
    # The networks before global pooling; torchvision's VGG has biases before batch_norm, too.
    "alexnet": {"W108": 1},
    **{f"vgg{depth}": {"W108": 1} for depth in ("", 11, 13, 16, 19)},
    **{f"vgg{depth}_bn": {"W103": 1, "W108": 1} for depth in (11, 13, 16, 19)},
}
"""All that is found in the specs that are shipped, each looked at."""


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_have_no_others(path: Path) -> None:
    spec = load(path)
    for each in (spec, *map(spec.variant, spec.variants)):
        assert Counter(d.code for d in check(each)) == PINNED.get(each.name, {}), each.name


@FUZZ
@given(graphs())
def test_any_network_can_be_looked_at(graph: DrawnGraph) -> None:
    """No lint fails on a network that is traced, and each is at a place in it."""
    try:
        traced = trace(_spec(graph))
    except SpecError:
        return
    paths = {row.path for row in traced.rows}
    assert all(d.path in paths and d.help for d in lints(traced))


def _spec(graph: DrawnGraph) -> Spec:
    blocks = {n: {"params": {"n": None}, "layers": layers} for n, layers in graph.blocks.items()}
    return Spec(input=graph.shape, blocks=blocks, layers=graph.layers)
