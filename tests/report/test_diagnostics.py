"""Diagnostics as a user sees them: the whole text, plain and coloured, at any width."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapecalc import Diagnostic, SpecError, loads, trace
from shapecalc.diagnostics import Place
from shapecalc.report.diagnostics import as_json, render

POOL = Diagnostic(
    "E203",
    "max_pool needs an input of at least 2x2, but gets 1x1",
    Place("specs/small.yaml", 14, 5, 16, "  - max_pool: 2"),
    "layers.9",
    "input is [64, 1, 1]",
    "the smallest input for this spec is 46x46 (now 32x32)",
)


def report(text: str, width: int = 80) -> str:
    with pytest.raises(SpecError) as caught:
        trace(loads(text, file="small.yaml"))
    return render(caught.value.diagnostics, width=width)


def bare(text: str) -> str:
    return re.sub(r"\033\[[0-9;]*m", "", text)


def test_plain() -> None:
    assert render([POOL], width=80) == (
        "error[E203]: max_pool needs an input of at least 2x2, but gets 1x1\n"
        "  --> specs/small.yaml:14:5 (layers.9)\n"
        "   |\n"
        "14 |   - max_pool: 2\n"
        "   |     ^^^^^^^^^^^ input is [64, 1, 1]\n"
        "   |\n"
        "   = help: the smallest input for this spec is 46x46 (now 32x32)"
    )


def test_coloured() -> None:
    red, blue, bold, off = "\033[1;31m", "\033[1;34m", "\033[1m", "\033[0m"
    text = render([POOL], width=80, color=True)
    assert text == (
        f"{red}error[E203]{off}: {bold}{POOL.message}{off}\n"
        f"  {blue}-->{off} specs/small.yaml:14:5 (layers.9)\n"
        f"   {blue}|{off}\n"
        f"{blue}14{off} {blue}|{off}   - max_pool: 2\n"
        f"   {blue}|{off}     {red}^^^^^^^^^^^{off} {red}input is [64, 1, 1]{off}\n"
        f"   {blue}|{off}\n"
        f"   {blue}={off} {bold}help{off}: the smallest input for this spec is 46x46 (now 32x32)"
    )
    assert bare(text) == render([POOL], width=80)


def test_a_warning_has_its_own_colour() -> None:
    lint = Diagnostic("E206", "odd", severity="warning")
    assert render([lint]) == "warning[E206]: odd"
    assert render([lint], color=True).startswith("\033[1;33mwarning[E206]")


def test_without_a_place() -> None:
    assert render([POOL._replace(place=None)], width=80) == (
        "error[E203]: max_pool needs an input of at least 2x2, but gets 1x1\n"
        " --> layers.9\n"
        "  = help: the smallest input for this spec is 46x46 (now 32x32)"
    )
    fault = Diagnostic("E100", "a.yaml does not exist", help="did you mean b.yaml?")
    assert render([fault]) == ("error[E100]: a.yaml does not exist\n  = help: did you mean b.yaml?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (  # a kernel larger than its input
            "input: [3, 32, 32]\nlayers:\n  - conv: {out_channels: 8, kernel_size: 5}\n"
            "  - max_pool: 4\n  - conv: {out_channels: 8, kernel_size: 9}\n",
            """\
error[E203]: conv needs an input of at least 9x9, but gets 7x7
 --> small.yaml:5:29 (layers.2)
  |
5 |   - conv: {out_channels: 8, kernel_size: 9}
  |                             ^^^^^^^^^^^^^^ input is [8, 7, 7]
  |
  = help: the smallest input for this spec is 40x40 (now 32x32); or the largest
          kernel_size that fits here is 7""",
        ),
        (  # a misspelt key
            "input: [3, 32, 32]\nlayers:\n  - conv: {out_chanels: 8, kernel_size: 3}\n",
            """\
error[E104]: conv has no argument 'out_chanels'
 --> small.yaml:3:12
  |
3 |   - conv: {out_chanels: 8, kernel_size: 3}
  |            ^^^^^^^^^^^
  |
  = help: did you mean out_channels?""",
        ),
        (  # unknown kinds, each told
            "input: [3, 32, 32]\nlayers:\n  - conv2d: {out_channels: 8, kernel_size: 3}\n"
            "  - ReLU\n  - Dense: 10\n",
            """\
error[E105]: there is no kind of layer called 'conv2d'
 --> small.yaml:3:5
  |
3 |   - conv2d: {out_channels: 8, kernel_size: 3}
  |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: did you mean conv? The input's rank decides between 1d, 2d and 3d

error[E105]: there is no kind of layer called 'ReLU'
 --> small.yaml:4:5
  |
4 |   - ReLU
  |     ^^^^
  |
  = help: did you mean relu?

error[E105]: there is no kind of layer called 'Dense'
 --> small.yaml:5:5
  |
5 |   - Dense: 10
  |     ^^^^^^^^^
  |
  = help: did you mean linear?""",
        ),
        (  # a wrong type
            'input: [3, 32, 32]\nlayers:\n  - linear: "8"\n',
            """\
error[E106]: linear needs a whole number for out_features, not '8'
 --> small.yaml:3:5
  |
3 |   - linear: "8"
  |     ^^^^^^^^^^^
  |
  = help: write 8: numbers have no leading zeros and no quotes""",
        ),
        (  # a missing argument
            "input: [3, 32, 32]\nlayers:\n  - conv: 8\n",
            """\
error[E107]: conv needs kernel_size
 --> small.yaml:3:5
  |
3 |   - conv: 8
  |     ^^^^^^^
  |
  = help: write conv: {out_channels: 8, kernel_size: 3}, for example""",
        ),
        (  # a wrong claim
            "input: [3, 32, 32]\nlayers:\n  - flatten\n"
            "  - linear: {in_features: 100, out_features: 5}\n",
            """\
error[E202]: linear is given in_features 100, but its input has 3072
 --> small.yaml:4:14 (layers.1)
  |
4 |   - linear: {in_features: 100, out_features: 5}
  |              ^^^^^^^^^^^^^^^^ is 3072
  |
  = help: write in_features: 3072, or leave it out: it is inferred""",
        ),
        (  # a key given twice
            "input: [3, 32, 32]\nlayers:\n  - relu\ninput: [1, 32, 32]\n",
            """\
error[E102]: the key 'input' is given twice, at lines 1 and 4
 --> small.yaml:4:1
  |
4 | input: [1, 32, 32]
  | ^^^^^ first at line 1
  |
  = help: remove one of the two, or give the second another name than 'input'""",
        ),
        (  # no YAML
            "input: [3, 32, 32]\nlayers:\n\t- relu\n",
            """\
error[E101]: YAML is indented with spaces, not tabs
 --> small.yaml:3:1
  |
3 |  - relu
  | ^
  |
  = help: write two spaces for each tab""",
        ),
        (  # an expression
            "input: [3, 32, 32]\nparams: {classes: 15}\nlayers:\n  - linear: ${clases}\n",
            """\
error[E108]: nothing is called 'clases' here
 --> small.yaml:4:5
  |
4 |   - linear: ${clases}
  |     ^^^^^^^^^^^^^^^^^
  |
  = help: did you mean classes?""",
        ),
    ],
)
def test_whole_reports(text: str, expected: str) -> None:
    assert report(text) == expected


def test_the_smallest_input_that_is_told_works_and_one_less_does_not() -> None:
    text = "input: [3, {0}, {0}]\nlayers: [conv: {{out_channels: 8, kernel_size: 5}}, max_pool: 4, "
    text += "conv: {{out_channels: 8, kernel_size: 9}}, flatten, linear: 2]\n"
    told = re.search(r"the smallest input for this spec is (\d+)x(\d+)", report(text.format(32)))
    assert told
    height, width = map(int, told.groups())
    assert height == width
    trace(loads(text.format(height)))
    with pytest.raises(SpecError):
        trace(loads(text.format(height - 1)))


def test_a_long_line_is_cut_so_that_its_place_is_seen() -> None:
    name = "a" * 200
    text = report(
        "input: [3, 32, 32]\nlayers:\n"
        f"  - conv: {{name: {name}, out_channels: 8, kernel_size: 3, stide: 2, padding: 1}}\n",
        width=60,
    )
    _, where, _, shown, caret, *_ = text.splitlines()
    assert where == " --> small.yaml:3:253"
    assert max(map(len, (shown, caret))) <= 60
    assert "..." in shown
    assert shown[caret.index("^") : caret.rindex("^") + 1] == "stide"


def test_control_characters_neither_move_the_caret_nor_reach_the_terminal() -> None:
    text = report(
        "input: [3, 32, 32]\nlayers:\n"
        '  - conv: {"kernel_size":\t3, \t"out_channels": "\\e[31mred"}\n'
    )
    assert "\033" not in text
    assert "\t" not in text
    lines = text.splitlines()
    caret = lines[4]
    assert lines[3][caret.index("^") : caret.rindex("^") + 1] == '"out_channels": "\\e[31mred"'
    wild = POOL._replace(message="a\033[31m\nb", note="\x9b2J", help="\x07c")
    assert "error[E203]: a?[31m b\n" in render([wild])
    assert all(line.isprintable() for line in render([wild]).splitlines())


_LINES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(_LINES, st.data(), st.integers(1, 200))
def test_the_caret_stands_below_its_place(line: str, data: st.DataObject, width: int) -> None:
    column = data.draw(st.integers(1, len(line)))
    end = data.draw(st.integers(column + 1, len(line) + 1))
    place = Place("a.yaml", 7, column, end, line)
    lines = render([Diagnostic("E106", "wrong", place)], width=width).splitlines()
    assert len(lines) == 5
    shown, caret = lines[3][4:], lines[4][4:]
    assert len(shown) <= max(width - 4, 30)
    start, length = caret.index("^"), caret.count("^")
    assert caret == " " * start + "^" * length
    below = shown[start : start + length]
    expected = "".join(
        " " if c.isspace() else c if c.isprintable() else "?" for c in line[column - 1 : end - 1]
    )
    assert below
    for seen, real in zip(below, expected, strict=False):
        assert seen in (real, ".")
    if len(line) <= width - 4:
        assert below == expected


@pytest.mark.parametrize("width", [1, 40, 60, 80])
def test_messages_and_mends_fit_the_width(width: int) -> None:
    long = POOL._replace(message="many words " * 20, help="and more of them " * 20)
    for line in render([long], width=width).splitlines():
        assert len(line) <= max(width, 40) or line.startswith(("  -->", "   |     ^"))


IN_A_BLOCK = """\
input: [3, 16, 16]
blocks:
  stage:
    params: {width: null}
    layers:
      - conv: {out_channels: "${width}", kernel_size: 3, padding: 1}
      - residual: [conv: {out_channels: "${width}", kernel_size: 3, stride: 2, padding: 1}]
layers:
  - repeat: {times: 3, index: i, layers: [stage: "${8 * (i + 1)}"]}
"""


def test_a_fault_in_a_block_in_a_repeat_in_a_narrow_terminal() -> None:
    text = report(IN_A_BLOCK, width=60)
    assert (
        text
        == """\
error[E207]: residual adds [8, 8, 8] of its layers to [8,
16, 16] of its input
 --> small.yaml:7:9 (layers.0.0.1)
  |
7 |       - residual: [conv: {out_channels: "${width}", k...
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |         [8, 8, 8] + [8, 16, 16]
  |
  = in: stage at small.yaml:9:43
  = in: i = 0 of repeat at small.yaml:9:5
  = help: write shortcut: [conv: {out_channels: 8,
          kernel_size: 1, stride: 2}]"""
    )
    assert max(map(len, text.splitlines())) <= 60


def test_a_fault_in_a_block_in_a_repeat_as_json() -> None:
    with pytest.raises(SpecError) as caught:
        trace(loads(IN_A_BLOCK, file="small.yaml"))
    (found,) = as_json(caught.value.diagnostics)
    assert json.loads(json.dumps(found)) == found
    assert (found["code"], found["path"], found["line"]) == ("E207", "layers.0.0.1", 7)
    assert found["message"] == "residual adds [8, 8, 8] of its layers to [8, 16, 16] of its input"
    assert found["help"] == "write shortcut: [conv: {out_channels: 8, kernel_size: 1, stride: 2}]"
    assert found["in"] == [{"what": "i = 0 of repeat", "line": 9}, {"what": "stage", "line": 9}]


def test_json() -> None:
    assert as_json([POOL, Diagnostic("E100", "gone", severity="warning")]) == [
        {
            "code": "E203",
            "severity": "error",
            "message": POOL.message,
            "help": POOL.help,
            "path": "layers.9",
            "file": "specs/small.yaml",
            "line": 14,
            "column": 5,
            "end_column": 16,
            "in": [],
        },
        {
            "code": "E100",
            "severity": "warning",
            "message": "gone",
            "help": "",
            "path": "",
            "file": None,
            "line": None,
            "column": None,
            "end_column": None,
            "in": [],
        },
    ]
