"""Values replaced and added in YAML texts: all else stays, and reading back gives what was put."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FUZZ

from shapecalc import Spec, loads
from shapecalc.diagnostics import Fault
from shapecalc.language.edit import edited, rewrite
from shapecalc.language.replace import replaced
from shapecalc.language.source import Source

TEXT = """\
# A text in many styles.
input: [3, 32, 32]   # C, H, W
params: {n: 3}
layers:
  - conv: {out_channels: 8, kernel_size: 3}  # flow
  - max_pool: 2 # main
  - conv:
      out_channels: 8  # block
      kernel_size: [3, 1]

  # between
  - max_pool:
      - 2
      - 2
  - residual:
      - conv: {out_channels: 8, kernel_size: 3,
               padding: 1}
  - {avg_pool: 1}
  - relu
  - batch_norm:
  - linear: ${n}
train:
  epochs: 3
"""


def lines(text: str, path: Any, value: Any) -> tuple[list[str], list[str]]:
    """The lines that an edit takes out, and those that it puts in."""
    after = edited(text, {path: value})
    old, new = text.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        old.pop(0), new.pop(0)
    while old and new and old[-1] == new[-1]:
        old.pop(), new.pop()
    return old, new


CONV, POOL = ("layers", 0, "conv"), ("layers", 1, "max_pool")
BLOCK, LIST = ("layers", 2, "conv"), ("layers", 3, "max_pool")


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("input", 1), 64, ["input: [3, 32, 32]   # C, H, W"], ["input: [3, 64, 32]   # C, H, W"]),
        (("params", "n"), 4, ["params: {n: 3}"], ["params: {n: 4}"]),
        (
            (*CONV, "kernel_size"),
            5,
            ["  - conv: {out_channels: 8, kernel_size: 3}  # flow"],
            ["  - conv: {out_channels: 8, kernel_size: 5}  # flow"],
        ),
        (
            (*CONV, "padding"),
            "same",
            ["  - conv: {out_channels: 8, kernel_size: 3}  # flow"],
            ["  - conv: {out_channels: 8, kernel_size: 3, padding: same}  # flow"],
        ),
        ((*POOL, "kernel_size"), 3, ["  - max_pool: 2 # main"], ["  - max_pool: 3 # main"]),
        (
            (*POOL, "stride"),
            1,
            ["  - max_pool: 2 # main"],
            ["  - max_pool: {kernel_size: 2, stride: 1} # main"],
        ),
        ((*BLOCK, "out_channels"), 16, ["      out_channels: 8  # block"],
         ["      out_channels: 16  # block"]),
        ((*BLOCK, "kernel_size"), (3, 3), ["      kernel_size: [3, 1]"],
         ["      kernel_size: [3, 3]"]),
        ((*BLOCK, "kernel_size"), 3, ["      kernel_size: [3, 1]"], ["      kernel_size: 3"]),
        ((*BLOCK, "stride"), (2, 1), [], ["      stride: [2, 1]"]),
        ((*LIST, "kernel_size"), (2, 3), ["      - 2"], ["      - 3"]),
        (
            (*LIST, "kernel_size"),
            3,
            ["  - max_pool:", "      - 2", "      - 2"],
            ["  - max_pool: 3"],
        ),
        (
            ("layers", 4, "residual", "layers", 0, "conv", "padding"),
            2,
            ["               padding: 1}"],
            ["               padding: 2}"],
        ),
        (
            ("layers", 4, "residual", "layers", 0, "conv", "dilation"),
            2,
            ["               padding: 1}"],
            ["               padding: 1, dilation: 2}"],
        ),
        (
            ("layers", 5, "avg_pool", "stride"),
            2,
            ["  - {avg_pool: 1}"],
            ["  - {avg_pool: {kernel_size: 1, stride: 2}}"],
        ),
        (("layers", 6, "relu", "inplace"), True, ["  - relu"], ["  - relu: {inplace: true}"]),
        (
            ("layers", 7, "batch_norm", "affine"),
            False,
            ["  - batch_norm:"],
            ["  - batch_norm: {affine: false}"],
        ),
        (
            ("layers", 8, "linear", "bias"),
            False,
            ["  - linear: ${n}"],
            ['  - linear: {out_features: "${n}", bias: false}'],
        ),
        (("train", "batch_size"), 8, [], ["  batch_size: 8"]),
        (("train", "epochs"), 4, ["  epochs: 3"], ["  epochs: 4"]),
    ],
)  # fmt: skip
def test_nothing_but_the_value_changes(path: Any, value: Any, old: Any, new: Any) -> None:
    taken, put = lines(TEXT, path, value)
    assert (taken, put) == (old, new)
    assert loads(edited(TEXT, {path: value})) == replaced(loads(TEXT), {path: value})


@pytest.mark.parametrize(
    ("text", "path", "value", "after"),
    [
        ("layers: [max_pool: 2]", ("layers", 0, "max_pool", "stride"), 1,
         "layers: [max_pool: {kernel_size: 2, stride: 1}]"),
        ("layers: [relu, tanh]", ("layers", 0, "relu", "inplace"), True,
         "layers: [relu: {inplace: true}, tanh]"),
        ("layers: [relu: {}]", ("layers", 0, "relu", "inplace"), True,
         "layers: [relu: {inplace: true}]"),
        ("a: {b: 1,}", ("a", "c"), 2, "a: {b: 1, c: 2,}"),
        ("a: {b: 1  # one\n}", ("a", "c"), 2, "a: {b: 1, c: 2  # one\n}"),
        ("a: &x 3\nb: *x", ("a",), 4, "a: &x 4\nb: *x"),
        ("a: &x 3\nb: *x", ("b",), 4, "a: &x 3\nb: 4"),
        ("a: &x {n: 3}\nb: *x", ("b", "n"), 4, "a: &x {n: 4}\nb: *x"),
        ("a: !!str 3", ("a",), 4, "a: !!str 4"),
        ("a:\nb: 1", ("a",), 4, "a: 4\nb: 1"),
        ("a: 'é\U0001f600'\nb: 1 # ü", ("b",), 2, "a: 'é\U0001f600'\nb: 2 # ü"),
        ("\ufeffa: 1\nb: 2", ("b",), 3, "\ufeffa: 1\nb: 3"),
        ("a: 1\r\nb: {c: 2}\r\n", ("d",), 3, "a: 1\r\nb: {c: 2}\r\nd: 3\r\n"),
        ("a: 1 # end", ("train", "batch_size"), 3, "a: 1 # end\ntrain: {batch_size: 3}"),
        ("a:\n  b: |\n    text\nc: 1\n", ("a", "d"), 3, "a:\n  b: |\n    text\n  d: 3\nc: 1\n"),
        ("a:\n  - 1\n  - 2\nb: 1", ("a", 1), 3, "a:\n  - 1\n  - 3\nb: 1"),
        ("a:\n- 1\n- 2\nb: 1", ("a",), 3, "a: 3\nb: 1"),
        ("---\na: 1\n...\n", ("a",), 2, "---\na: 2\n...\n"),
    ],
)  # fmt: skip
def test_odd_texts(text: str, path: Any, value: Any, after: str) -> None:
    assert edited(text, {path: value}) == after


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("layers: [relu]", ("layers", 3, "relu", "inplace")),
        ("layers: [relu]", ("layers", 0, "tanh", "inplace")),
        ("layers: [my_block: 3]", ("layers", 0, "my_block", "stride")),
        ("a: &x {n: 3}\nb: *x", ("b", "m")),
        ("a: 3", ("a", 0)),
    ],
)
def test_a_place_that_is_not_there(text: str, path: Any) -> None:
    with pytest.raises(Fault, match=r"cannot be changed in place"):
        edited(text, {path: 1})


comments = st.sampled_from(["", "  # note", " # é: {1}"])
numbers = st.integers(1, 9)
gaps = st.sampled_from(["", "\n", "\n  # alone\n"])


@st.composite
def texts(draw: Any) -> tuple[str, list[tuple[Any, ...]]]:
    """A spec written in a random layout, and the paths of its layers."""
    layers, paths = [], []
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv", "max_pool", "avg_pool", "group"]))
        kernel = draw(numbers)
        note, gap = draw(comments), draw(gaps)
        path: tuple[Any, ...] = ("layers", index, kind)
        if kind == "conv":
            arguments = {"out_channels": draw(numbers), "kernel_size": kernel}
        else:
            arguments = {"kernel_size": kernel}
        if draw(st.booleans()):
            arguments["stride"] = draw(numbers)
        style = draw(st.sampled_from(["flow", "wide", "block", "main"]))
        if kind == "group":
            path = ("layers", index, "sequential", "layers", 0, "max_pool")
            form = draw(st.sampled_from([
                "  - sequential:\n      - max_pool: {0}{1}\n",
                "  - sequential: [max_pool: {0}]{1}\n",
                "  - sequential:{1}\n      name: g{2}\n      layers:\n      - max_pool: {0}\n",
            ]))  # fmt: skip
            layers.append(form.format(kernel, note, index))
        elif style == "main" and list(arguments) == ["kernel_size"]:
            layers.append(f"  - {kind}: {kernel}{note}\n")
        elif style in ("flow", "main"):
            inner = ", ".join(f"{k}: {v}" for k, v in arguments.items())
            layers.append(f"  - {kind}: {{{inner}}}{note}\n")
        elif style == "wide":
            inner = f",{note}\n      ".join(f"{k}: {v}" for k, v in arguments.items())
            layers.append(f"  - {kind}: {{{inner}}}\n")
        else:
            inner = "".join(f"      {k}: {v}{note}\n" for k, v in arguments.items())
            layers.append(f"  - {kind}:{note}\n{inner}")
        layers[-1] += gap
        paths.append(path)
    size = draw(numbers)
    text = f"input: [{size}, 900, {draw(numbers)}]{draw(comments)}\nlayers:\n{''.join(layers)}"
    text = text.rstrip("\n") if draw(st.booleans()) else text
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return text.replace("\n", newline), paths


@given(texts(), st.data())
@FUZZ
def test_random_edits_of_random_texts(made: Any, data: Any) -> None:
    text, paths = made
    before = loads(text)
    path = data.draw(st.sampled_from(paths))
    argument = data.draw(st.sampled_from(["kernel_size", "stride", "padding", "ceil_mode"]))
    value: Any = data.draw(numbers | st.tuples(numbers, numbers))
    if argument == "ceil_mode":
        argument, value = ("stride", 3) if path[-1] == "conv" else ("ceil_mode", True)
    place = (*path, argument)
    after = edited(text, {place: value})
    assert loads(after) == replaced(before, {place: value})
    kept = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in after.splitlines() if line.lstrip().startswith("#")] == kept
    start = 0
    while start < min(len(text), len(after)) and text[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(text), len(after)) - start and text[-1 - end] == after[-1 - end]:
        end += 1
    taken = text[start : len(text) - end]
    assert len(taken) <= 5, "more than a number was taken out"
    assert after.count("#") == text.count("#")
    if "\r\n" in text:
        assert "\n" not in after.replace("\r\n", "")
    assert edited(after, {place: value}) == after
    assert Source(after, "<text>").data["input"] == Source(text, "<text>").data["input"]


@given(texts(), st.data())
@FUZZ
def test_a_value_put_back_gives_the_same_text(made: Any, data: Any) -> None:
    text, paths = made
    path = data.draw(st.sampled_from(paths))
    old = loads(text)
    there = edited(text, {(*path, "kernel_size"): 77})
    item: Any = old.layers[path[1]]
    item = item if len(path) == 3 else item.layers[0]
    assert there != text
    assert edited(there, {(*path, "kernel_size"): item.kernel_size}) == text


class TestRewrite:
    def test_bytes_and_mode_stay(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_bytes("a: 1\r\n# é\r\nb: 2".encode())
        file.chmod(0o640)
        link = tmp_path / "link.yaml"
        link.symlink_to(file)
        rewrite(link, {("a",): 3}, lambda: None)
        assert file.read_bytes() == "a: 3\r\n# é\r\nb: 2".encode()
        assert file.stat().st_mode & 0o777 == 0o640
        assert link.is_symlink()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.yaml", "link.yaml"]

    def test_it_is_undone_where_the_check_fails(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text("a: 1\n")
        seen = []

        def check() -> None:
            seen.append(file.read_text())
            raise Fault("E109", "no")

        with pytest.raises(Fault, match="no"):
            rewrite(file, {("a",): 3}, check)
        assert seen == ["a: 3\n"]
        assert file.read_text() == "a: 1\n"
        assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]


def test_a_spec_made_in_python_is_replaced_alike() -> None:
    spec = loads(TEXT)
    copy = Spec(**dict(spec))
    values: Any = {(*CONV, "stride"): 2, ("params", "n"): 5}
    assert replaced(copy, values) == replaced(spec, values)
    with pytest.raises(Fault, match="conv needs at least 1 for stride, not 0"):
        replaced(spec, {(*CONV, "stride"): 0})
