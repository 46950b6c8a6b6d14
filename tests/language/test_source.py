"""YAML text to plain data with places: strict scalars, limits, and nothing ever constructed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from clock import within

from shapecalc import SpecError, load
from shapecalc.diagnostics import Diagnostic
from shapecalc.language.source import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, Source

TEXT = """\
name: small   # a comment
input: [3, 32, 16]
layers:
  - conv: {out_channels: 8, kernel_size: [3, 1]}
  - relu
  - max_pool:
      kernel_size: 2
      "stride": 2
  - flatten:
train: {epochs: 3}
"""


def data(text: str) -> Any:
    return Source(text, "<text>").data


def refusal(text: str) -> Diagnostic:
    """The single Diagnostic of a text, given at once."""
    with within(4), pytest.raises(SpecError) as caught:  # the slowest takes 1 s on an idle core
        Source(text, "<text>")
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


@pytest.mark.parametrize(
    ("path", "part", "stretch"),
    [
        (("name",), "value", (1, "small")),
        (("name",), "key", (1, "name")),
        (("name",), "entry", (1, "name: small")),
        (("input",), "value", (2, "[3, 32, 16]")),
        (("input", 1), "value", (2, "32")),
        (("layers", 0), "value", (4, "conv: {out_channels: 8, kernel_size: [3, 1]}")),
        (("layers", 0, "conv"), "key", (4, "conv")),
        (("layers", 0, "conv", "out_channels"), "value", (4, "8")),
        (("layers", 0, "conv", "out_channels"), "entry", (4, "out_channels: 8")),
        (("layers", 0, "conv", "kernel_size", 1), "value", (4, "1")),
        (("layers", 1), "value", (5, "relu")),
        (("layers", 2, "max_pool"), "key", (6, "max_pool")),
        (("layers", 2, "max_pool", "kernel_size"), "entry", (7, "kernel_size: 2")),
        (("layers", 2, "max_pool", "stride"), "key", (8, '"stride"')),
        (("layers", 3, "flatten"), "key", (9, "flatten")),
        (("train", "epochs"), "value", (10, "3")),
        (("train", "nowhere"), "value", (10, "train: {epochs: 3}")),
    ],
)
def test_every_value_and_key_has_its_place(path: Any, part: Any, stretch: Any) -> None:
    place = Source(TEXT, "small.yaml").place(path, part)
    assert (place.line, place.text[place.column - 1 : place.end - 1]) == stretch
    assert (place.file, place.text) == ("small.yaml", TEXT.splitlines()[place.line - 1])


def test_place_counts_columns_in_characters() -> None:
    place = Source("näme: {größe: [1, 20]}", "<text>").place(("näme", "größe", 1))
    assert place.text[place.column - 1 : place.end - 1] == "20"


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        *[(word, word) for word in ("no", "yes", "on", "off", "y", "n", "No", "YES", "Off")],
        *[(word, word) for word in ("010", "0o10", "0x1f", "0b11", "1_000", "1:30", "190:20:30")],
        *[(word, word) for word in ("2024-01-01", "1e", "e5", "1.2.3", "+-1", "<<", "=", "-", ".")],
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        *[("0", 0), ("-0", 0), ("12", 12), ("+3", 3), ("-7", -7), ("9" * MAX_DIGITS, 10**40 - 1)],
        *[("1e-3", 0.001), ("1E5", 1e5), ("1.", 1.0), (".5", 0.5), ("-1.5e+2", -150.0)],
        *[(".inf", math.inf), ("-.inf", -math.inf)],
        *[('"12"', "12"), ("'true'", "true"), ('""', ""), ("!!str 12", "12"), ("'no'", "no")],
    ],
)
def test_scalar_is_what_it_looks_like(scalar: str, value: Any) -> None:
    found = data(f"key: {scalar}" if scalar != "-" else "key: '-'")["key"]
    assert (found, type(found)) == (value, type(value))


def test_merge_keys_are_ordinary_words() -> None:
    assert data("a: &a {b: 1}\nc: {<<: *a}") == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


def test_alias_stands_for_its_value() -> None:
    source = Source("a: &x [1, 2]\nb: *x\nc: {d: *x}", "<text>")
    assert source.data == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}
    assert source.place(("b",), "entry").line in (1, 2)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (bomb(9), "E103", "more than 200,000 values"),
        (f"a: &a [{', '.join(['1'] * 1000)}]\nb: [{', '.join(['*a'] * 1000)}]", "E103", "values"),
        ("a: &a [*a]", "E103", "*a contains itself"),
        ("a: &a {b: {c: *a}}", "E103", "*a contains itself"),
        ("a: *nothing", "E101", "nothing"),
        ("[" * 10_000 + "]" * 10_000, "E103", f"more than {MAX_DEPTH} deep"),
        ("[" * 10_000, "E103", f"more than {MAX_DEPTH} deep"),
        ("{a: " * 10_000, "E103", f"more than {MAX_DEPTH} deep"),
        ("\n".join(" " * n + "a:" for n in range(1000)), "E103", f"more than {MAX_DEPTH} deep"),
        ("a: " + "x" * (MAX_BYTES + 1), "E103", "characters"),
        ("a: " + "9" * 5000, "E103", "5,000 digits"),
        ("a: 1." + "9" * 5000, "E103", "digits"),
        ("a: [" + "1, " * 500_000 + "]", "E103", "values"),
        ("", "E107", "empty"),
        ("# nothing\n", "E107", "empty"),
        ("a: 1\n---\nb: 2", "E101", "one YAML document"),
        ("a: [1, 2", "E101", ""),
        ("a: b: c", "E101", "second ':'"),
        ("a:\n\t- b", "E101", "tabs"),
        ("{[1, 2]: 3}", "E101", "a key must be a word"),
        ("? {a: b}\n: 3", "E101", "a key must be a word"),
        ("a: \x00", "E101", "not YAML"),
        ("a: \x07", "E101", "not YAML"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_text_beyond_the_language_is_refused_at_once(text: str, code: str, words: str) -> None:
    diagnostic = refusal(text)
    assert (diagnostic.code, words in diagnostic.message) == (code, True), diagnostic.message


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:pathlib.Path.touch [{canary}]",
        "!!python/object/apply:os.system ['touch {canary}']",
        "!!python/object/new:os.system ['touch {canary}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
        "!!binary aGVsbG8=",
        "!!timestamp 2024-01-01",
        "!!set {{a, b}}",
        "!!int 12",
        "!!float '1'",
        "!own {{a: 1}}",
        "!<tag:yaml.org,2002:python/name:os.system> x",
    ],
)
def test_tags_are_refused_and_nothing_is_constructed(tag: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    file = tmp_path / "spec.yaml"
    file.write_text(f"input: [3]\nlayers: [relu]\nparams:\n  a: {tag.format(canary=canary)}\n")
    with pytest.raises(SpecError, match="tags are not part of the language") as caught:
        load(file)
    place = caught.value.diagnostics[0].place
    assert place is not None
    assert place.line == 4
    assert not canary.exists()


def test_duplicate_keys_are_all_named_with_both_lines() -> None:
    with pytest.raises(SpecError) as caught:
        Source("a: 1\nb: {c: 1,\n    c: 2}\na: 3\n", "<text>")
    said = [(d.code, d.message, d.place and d.place.line) for d in caught.value.diagnostics]
    assert said == [
        ("E102", "the key 'c' is given twice, at lines 2 and 3", 3),
        ("E102", "the key 'a' is given twice, at lines 1 and 4", 4),
    ]


def test_large_spec_within_the_limits_is_read_quickly() -> None:
    text = "layers:\n" + "  - conv: {out_channels: 8, kernel_size: 3}\n" * 20_000
    with within(3):  # half a second on an idle core
        assert len(data(text)["layers"]) == 20_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("spec.yaml", None, "does not exist"),
        ("", None, "is a directory"),
        ("bytes.yaml", b"a: \xff\xfe", "is not UTF-8 text"),
        ("big.yaml", b"a: " + b"x" * MAX_BYTES, "has more than"),
        ("sp\0ec.yaml", None, "is not the name of a file"),
        ("x" * 300, None, "cannot be read"),
    ],
)
def test_file_that_cannot_be_read_is_one_error(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=words) as caught:
        load(f"{tmp_path}/{name}")
    assert [d.code for d in caught.value.diagnostics] == ["E100"]


def test_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "apparel.yaml").touch()
    with pytest.raises(SpecError, match=r"did you mean .*apparel\.yaml\?"):
        load(tmp_path / "aparel.yaml")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_count_the_same_for_every_line_end(newline: str) -> None:
    place = Source(TEXT.replace("\n", newline), "<text>").place(("train", "epochs"))
    assert (place.line, place.text) == (10, "train: {epochs: 3}")


def test_unusual_line_separators_do_not_shift_lines() -> None:
    place = Source('a: "x\u2028y"\nb: "p\x85q"\nc: [1, 2]\n', "<text>").place(("c", 1))
    assert place.text[place.column - 1 : place.end - 1] == "2"


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"\xef\xbb\xbfinput: [3]\nlayers: [relu]\n")
    assert load(file).input == (3,)
