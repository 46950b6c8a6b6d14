"""What is wrong with a spec, in the language's own words: message, mend and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from clock import within
from hypothesis import given
from hypothesis import strategies as st

from shapecalc import Diagnostic, SpecError, load, loads, trace
from shapecalc.diagnostics import MOST_FAULTS
from shapecalc.report.diagnostics import render

HEAD = "input: [3, 32, 32]\nparams: {classes: 15}\nlayers:\n  - "
ZEROS = "numbers have no leading zeros and no quotes"


def faults(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        trace(loads(text, file="small.yaml"))
    return caught.value.diagnostics


def pointed(diagnostic: Diagnostic) -> str:
    place = diagnostic.place
    assert place is not None
    return place.text[place.column - 1 : place.end - 1]


@pytest.mark.parametrize(
    ("layer", "code", "message", "help", "at"),
    [
        # words that are close to a kind
        *[
            (word, "E105", f"there is no kind of layer called {word!r}",
             f"did you mean {kind}?", word)
            for word, kind in [
                ("ReLU", "relu"),
                ("Dense", "linear"),
                ("fc", "linear"),
                ("Tanh", "tanh"),
                ("LeakyReLU", "leaky_relu"),
                ("reul", "relu"),
                ("Swish", "silu"),
            ]
        ],
        *[
            (
                f"{word}: 2",
                "E105",
                f"there is no kind of layer called {word!r}",
                f"did you mean {kind}? The input's rank decides between 1d, 2d and 3d",
                f"{word}: 2",
            )
            for word, kind in [
                ("conv2d", "conv"),
                ("Conv1d", "conv"),
                ("MaxPool2d", "max_pool"),
                ("BatchNorm3d", "batch_norm"),
                ("ConvTranspose2d", "conv_transpose"),
            ]
        ],
        # arguments
        (
            "conv: {out_chanels: 8, kernel_size: 3}",
            "E104",
            "conv has no argument 'out_chanels'",
            "did you mean out_channels?",
            "out_chanels",
        ),
        (
            "conv: {out_channels: 8, kernel_size: 3, zzzz: 1}",
            "E104",
            "conv has no argument 'zzzz'",
            "conv takes in_channels, out_channels, kernel_size, stride, dilation, groups, bias, "
            "padding, padding_mode",
            "zzzz",
        ),
        (
            "conv: 8",
            "E107",
            "conv needs kernel_size",
            "write conv: {out_channels: 8, kernel_size: 3}, for example",
            "conv: 8",
        ),
        (
            "conv",
            "E107",
            "conv needs out_channels and kernel_size",
            "write conv: {out_channels: 8, kernel_size: 3}, for example",
            "conv",
        ),
        (
            "tanh: 3",
            "E106",
            "tanh takes no argument without its name, but is given 3",
            "write just tanh",
            "tanh: 3",
        ),
        (
            "sequential: 3",
            "E106",
            "layers must be a list, not 3",
            "write each layer on a line of its own, after '- '",
            "sequential: 3",
        ),
        (
            "3",
            "E106",
            "a layer is a word like relu, or a word with arguments, not 3",
            "write for example conv: {out_channels: 8, kernel_size: 3}",
            "3",
        ),
        # values of the wrong type or out of range
        *[
            (
                f"linear: {value}",
                "E106",
                f"linear needs {wanted} for out_features, not {shown}",
                help,
                f"linear: {value}",
            )
            for value, wanted, shown, help in [
                ('"8"', "a whole number", "'8'", f"write 8: {ZEROS}"),
                ("010", "a whole number", "010", f"write 10: {ZEROS}"),
                ("1:30", "a whole number", "1:30", ""),
                ("8.0", "a whole number", "8.0", "write 8"),
                ("8.5", "a whole number", "8.5", ""),
                ("1e3", "a whole number", "1000.0", "write 1000"),
                ("true", "a whole number", "true", ""),
                ("[8]", "a whole number", "[8]", ""),
                (".nan", "a whole number", "nan", ""),
                ("-3", "at least 1", "-3", "write 1, the least that it can be"),
                ("0", "at least 1", "0", "write 1, the least that it can be"),
                ('"\\e[31m"', "a whole number", r"'\x1b[31m'", ""),
                (f'"{"x" * 80}"', "a whole number", "x" * 47 + "...", ""),
            ]
        ],
        (
            "conv: {out_channels: 8, kernel_size: 3, bias: no}",
            "E106",
            "conv needs true or false for bias, not no",
            "write false: no is a word here",
            "bias: no",
        ),
        (
            "conv: {out_channels: 8, kernel_size: 3, padding: sam}",
            "E106",
            "conv needs same or valid for padding, not sam",
            "did you mean same?",
            "padding: sam",
        ),
        (
            "conv: {out_channels: 8, kernel_size: [3, 0]}",
            "E106",
            "conv needs at least 1 for kernel_size, not 0",
            "write 1, the least that it can be",
            "0",
        ),
        (
            "max_pool: [2, x]",
            "E106",
            "max_pool needs a whole number for kernel_size, not x",
            "",
            "x",
        ),
        (
            "conv: {out_channels: 8, kernel_size: [1, 2, 3]}",
            "E204",
            "conv has 3 values in kernel_size, [1, 2, 3], but its input has 2 spatial axes",
            "write kernel_size: [2, 3]",
            "kernel_size: [1, 2, 3]",
        ),
        (
            "dropout: 1.5",
            "E106",
            "dropout needs at most 1.0 for p, not 1.5",
            "write 0.015, which is 1.5 %",
            "dropout: 1.5",
        ),
        (
            "relu: {name: 3x}",
            "E106",
            "relu needs a word of letters, digits and _ that does not start with a digit for name, "
            "not 3x",
            "",
            "name: 3x",
        ),
        # expressions
        ("linear: ${1 / 0}", "E108", "${1 / 0} divides by zero", "", "linear: ${1 / 0}"),
        (
            "linear: ${clases}",
            "E108",
            "nothing is called 'clases' here",
            "did you mean classes?",
            "linear: ${clases}",
        ),
        (
            "linear: ${x.heigth}",
            "E108",
            "x has no heigth here",
            "x has channels, height, width",
            "linear: ${x.heigth}",
        ),
        (
            "linear: ${x.height / 3}",
            "E106",
            "linear needs a whole number for out_features, not 10.666666666666666",
            "write ${x.height // 3}, which rounds down to a whole number",
            "linear: ${x.height / 3}",
        ),
        # claims and shapes
        (
            "conv: {in_channels: 1, out_channels: 8, kernel_size: 3}",
            "E202",
            "conv is given in_channels 1, but its input has 3",
            "write in_channels: 3, or leave it out: it is inferred",
            "in_channels: 1",
        ),
        (
            "conv: {out_channels: 8, kernel_size: 3, groups: 2}",
            "E204",
            "conv has groups 2, which must divide its 3 input channels and its 8 out_channels",
            "write groups: 1",
            "groups: 2",
        ),
        (
            "max_pool: 33",
            "E203",
            "max_pool needs an input of at least 33x33, but gets 32x32",
            "the smallest input for this spec is 33x33 (now 32x32); or the largest kernel_size "
            "that fits here is 32",
            "max_pool: 33",
        ),
    ],
)  # fmt: skip
def test_one_fault(layer: str, code: str, message: str, help: str, at: str) -> None:
    (diagnostic,) = faults(HEAD + layer)
    assert (diagnostic.code, diagnostic.message, diagnostic.help) == (code, message, help)
    assert pointed(diagnostic) == at
    assert diagnostic.place is not None
    assert (diagnostic.place.file, diagnostic.place.line) == ("small.yaml", 4)


def test_an_unknown_kind_far_from_all_lists_them() -> None:
    (diagnostic,) = faults(HEAD + "foo")
    assert diagnostic.help.startswith("known kinds: conv, conv_transpose, ")


def test_numbers_that_look_like_what_they_are() -> None:
    (row,) = trace(loads(HEAD + "dropout: 1e-3")).rows
    assert row.arguments["p"] == 1e-3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "imput: [3, 8, 8]\nlayers: [relu]\n",
            [("E104", "a spec has no key 'imput'")],
        ),
        ("input: [3, 8, 8]\n", [("E107", "a spec needs layers")]),
        ("- relu\n", [("E106", "a spec is made of named sections, not [relu]")]),
        (
            "input: [3, 0, 8]\nlayers: [relu]\n",
            [("E106", "a spec needs at least 1 for input, not 0")],
        ),
        (
            "input: [3, '${h}', 8]\nparams: {h: 0}\nlayers: [relu]\n",
            [("E106", "input needs whole numbers of at least 1, not 0")],
        ),
        (
            "input: [1, 3, 8, 8, 8]\nlayers: [relu]\n",
            [("E201", "the input [1, 3, 8, 8, 8] has 5 axes, of at most 4: [C, D, H, W]")],
        ),
    ],
)
def test_the_spec_itself(text: str, found: list[tuple[str, str]]) -> None:
    assert sorted((d.code, d.message) for d in faults(text)) == sorted(found)


def test_all_faults_are_told_in_file_order() -> None:
    text = (
        "name: 3\ninput: [3, 32, 32]\nlayers:\n  - conv: {out_channels: 8}\n  - ReLU\n"
        "  - sequential: [max_pool: two, tanh: 1]\n  - linear: 0\ntraining: {}\n"
    )
    found = [(d.place.line, d.code) for d in faults(text) if d.place]
    assert found == [
        (1, "E106"),
        (4, "E107"),
        (5, "E105"),
        (6, "E106"),
        (6, "E106"),
        (7, "E106"),
        (8, "E104"),
    ]


def test_wrong_claims_are_all_told_and_do_not_stop_the_walk() -> None:
    text = HEAD + (
        "flatten\n  - linear: {in_features: 100, out_features: 5}\n"
        "  - linear: {in_features: 7, out_features: 5}\n"
    )
    messages = [d.message for d in faults(text)]
    assert messages == [
        "linear is given in_features 100, but its input has 3072",
        "linear is given in_features 7, but its input has 5",
    ]


@pytest.mark.parametrize(
    ("override", "message", "help"),
    [
        (
            ("parms.classes", "3"),
            "--set parms.classes: a spec has no key 'parms'",
            "did you mean params?",
        ),
        (
            ("params.clases", "3"),
            "--set params.clases: params has no param 'clases'",
            "did you mean classes?",
        ),
        (
            ("layers.99.relu", "3"),
            "--set layers.99.relu: layers is [{linear: ${classes}}], which has no 99",
            "",
        ),
    ],
)
def test_overrides_that_fit_nothing(override: tuple[str, str], message: str, help: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(HEAD + "linear: ${classes}", overrides=dict([override]))
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == ("E109", message)
    assert diagnostic.help == help


def test_a_fault_in_an_override_points_at_the_override() -> None:
    with pytest.raises(SpecError) as caught:
        loads(HEAD + "linear: 3", overrides={"layers.0.linear": "many"})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.place is not None
    assert diagnostic.place.file == "--set"
    assert diagnostic.message == "linear needs a whole number for out_features, not many"


@pytest.mark.parametrize(
    ("train", "message", "help", "at"),
    [
        (
            "{batch_size: 0}",
            "train needs at least 1 for batch_size, not 0",
            "write 1, the least that it can be",
            "batch_size: 0",
        ),
        (
            "{resize: squash}",
            "train needs squish, crop or pad for resize, not squash",
            "did you mean squish?",
            "resize: squash",
        ),
        (
            "{optimizer: {adam: {}, sgd: {}}}",
            "train: optimizer: takes one name with its arguments",
            "",
            "optimizer: {adam: {}, sgd: {}}",
        ),
        (
            "{normalize: {mean: [0.5], std: [0.5, 0.5]}}",
            "train: normalize: 1 means for 2 deviations",
            "",
            "normalize: {mean: [0.5], std: [0.5, 0.5]}",
        ),
    ],
)
def test_the_recipe(train: str, message: str, help: str, at: str) -> None:
    spec = loads(f"{HEAD}relu\ntrain: {train}\n")
    with pytest.raises(SpecError) as caught:
        spec.recipe()
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.message, diagnostic.help) == (message, help)
    assert pointed(diagnostic) == at


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "lenet5.yaml").write_text("")
    (tmp_path / "latin.yaml").write_bytes("name: größe".encode("latin-1"))
    for path, message, help in [
        (tmp_path / "lenet.yaml", "does not exist", f"did you mean {tmp_path / 'lenet5.yaml'}?"),
        (tmp_path / "other" / "a.yaml", "does not exist", ""),
        (tmp_path, "is a directory, not a spec", ""),
        (tmp_path / "latin.yaml", "is not UTF-8 text (byte 8)", ""),
        (Path("a\0b"), "is not the name of a file", ""),
    ]:
        with pytest.raises(SpecError) as caught:
            load(path)
        (diagnostic,) = caught.value.diagnostics
        assert (diagnostic.code, diagnostic.message) == ("E100", f"{path} {message}")
        assert diagnostic.help == help


_SCALARS = st.one_of(
    st.integers(max_value=0),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_characters="$"), max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
)


@given(value=_SCALARS, argument=st.sampled_from(["out_channels", "dilation", "groups"]))
def test_any_wrong_value_is_refused_at_its_place(value: Any, argument: str) -> None:
    arguments = {"out_channels": 8, "kernel_size": 3, argument: value}
    written = yaml.safe_dump(arguments, default_flow_style=True, width=10**6, sort_keys=False)
    try:
        trace(loads(f"{HEAD}conv: {written}", file="small.yaml"))
    except SpecError as error:
        for diagnostic in error.diagnostics:
            assert diagnostic.code in ("E101", "E106", "E203", "E204")
            assert diagnostic.message.isprintable()
            assert diagnostic.place is not None
            assert diagnostic.place.line >= 4
    else:
        assert argument == "dilation"
        assert isinstance(value, list)
        assert len(value) == 2
        assert min(value) >= 1


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            f"{HEAD}max_pool: --1",
            {},
            "max_pool needs a whole number or a list for kernel_size, not --1",
        ),
        (f"{HEAD}linear: ²0", {}, "linear needs a whole number for out_features, not ²0"),
        (
            f"{HEAD}linear: '{'9' * 5000}'",
            {},
            f"linear needs a whole number for out_features, not {'9' * 47}...",
        ),
        (f"{HEAD}relu: {{? {'9' * 5000} : 1}}", {}, f"relu has no argument '{'9' * 5000}'"),
        ("input: [3]\nname: \ud800", {}, "the text has a character that cannot be written"),
        (f"{HEAD}relu", {"name": "\udcff"}, "the text has a character that cannot be written"),
        (
            "params: 3\nvariants: {a: {n: 1}}\ninput: [3]\nlayers: []",
            {},
            "a spec needs named values for params, not 3",
        ),
        (f"{HEAD}relu", {"params": "3"}, "a spec needs named values for params, not 3"),
        (f"{HEAD}", {"layers.0.conv.out_channels": "8"}, "conv needs kernel_size"),
        (
            f"{HEAD}relu",
            {f"layers.{'9' * 5000}": "8"},
            f"--set layers.{'9' * 5000}: layers is [relu], which has no {'9' * 5000}",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_once_was_a_traceback(text: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        trace(loads(text, overrides=overrides))
    assert message in [diagnostic.message for diagnostic in caught.value.diagnostics]
    render(caught.value.diagnostics).encode()


def grown(first: str, more: str, layers: str = "[relu]") -> str:
    """A spec of which each param is made of the one before."""
    rest = "".join(f"  p{i}: {more.replace('p', f'p{i - 1}')}\n" for i in range(1, 60))
    return f"params:\n  p0: {first}\n{rest}input: [3, 8, 8]\nlayers: {layers}\n"


def repeated(times: int, layers: str, first: str = "relu") -> str:
    return (
        f"input: [3, 8, 8]\nlayers: [{first}, {{repeat: {{times: {times}, layers: [{layers}]}}}}]"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (grown("[1, 2]", '["${p}", "${p}"]'), "a list of more than 1,000 values"),
        (grown("{a: 1}", '{a: "${p}", b: "${p}"}'), "a list of more than 1,000 values"),
        (grown("abcd", '"${p}${p}"'), "a text of more than 10,000 characters"),
        (
            grown(f'"{"${0}" * 500_000}"', "1"),
            "a text of more than 10,000 characters",
        ),
        (
            repeated(9_000, "conv_transpose: {out_channels: 3, kernel_size: 9, stride: 9}"),
            "the output has a size of more than 300 digits",
        ),
        (
            repeated(6_000, "{concat: a}, {save: a}", "save: a"),
            "the output has a size of more than 300 digits",
        ),
        (
            repeated(9_000, "max_pool: {kernel_size: 3, stride: 3, padding: 1}"),
            "the output has a field of view of more than 300 digits",
        ),
    ],
    ids=["lists", "mappings", "texts", "expressions", "sizes", "channels", "fields"],
)
def test_what_grows_without_end_is_stopped_at_once(text: str, message: str) -> None:
    with within(1):
        (diagnostic,) = faults(text)
        assert diagnostic.message.endswith(message)


@pytest.mark.parametrize(
    "text",
    [
        f"input: [3, 8, 8]\nlayers: [{'reul, ' * 10_000}]",
        f"{HEAD}relu\n" + "".join(f"key{i}: 1\n" for i in range(10_000)),
        f"{HEAD}relu\ntrain:\n" + "".join(f"  epoch{i}: 1\n" for i in range(10_000)),
        f"{HEAD}relu:\n" + "".join(f"      key{i}: 1\n" for i in range(10_000)),
        f"{HEAD}relu\n" + "name: a\n" * 10_000,
        f"{HEAD}relu\nvariants: {{a: {{{', '.join(f'b{i}: 1' for i in range(10_000))}}}}}",
        f"{HEAD}relu\nblocks: {{a: {{{', '.join(f'b{i}: 1' for i in range(10_000))}}}}}",
        f"{HEAD}relu\nblocks: {{{', '.join(f'b{i}: 1' for i in range(10_000))}}}",
        "input: [3, 8, 8]\nlayers:\n"
        + "".join(f"  - linear: {{out_features: 2, in_features: {i}}}\n" for i in range(9, 5_000)),
    ],
    ids=["kinds", "keys", "settings", "arguments", "twice", "params", "block", "blocks", "claims"],
)
def test_no_more_faults_are_told_than_anybody_reads(text: str) -> None:
    with within(2):
        found = faults(text)
        assert MOST_FAULTS <= len(found) <= MOST_FAULTS + 1
        assert len(render(found)) < 100_000
