"""A spec: three ways to write a layer, everything wrong said at once, YAML and Python alike."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from cases import CASES, Case
from hypothesis import given
from hypothesis import strategies as st
from strategies import FUZZ
from torch import nn

from shapecalc import (
    Call,
    Conv,
    Diagnostic,
    Flatten,
    Linear,
    MaxPool,
    Relu,
    Sequential,
    Spec,
    SpecError,
    build,
    loads,
    trace,
)
from shapecalc.language.items import RESERVED
from shapecalc.language.spec import parse_input
from shapecalc.layers import KINDS, layer_class

SMALL = """\
name: small
input: [3, 32, 32]
params: {classes: 10, width: "${classes * 2}"}
layers:
  - conv: {out_channels: "${width}", kernel_size: 3}
  - relu
  - flatten
  - linear: ${classes}
train: {epochs: 3}
"""


def one(layer: str) -> Spec:
    return loads(f"input: [4, 9, 9]\nlayers:\n  - {layer}\n")


def faults(text: str, **overrides: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        trace(loads(text, overrides=overrides))
    return caught.value.diagnostics


def content(spec: Spec) -> tuple[Any, ...]:
    return spec.name, spec.input, spec.params, spec.layers, spec.train


@pytest.mark.parametrize(
    ("written", "layer"),
    [
        ("relu", Relu()),
        ("relu:", Relu()),
        ("relu: {}", Relu()),
        ("{relu: null}", Relu()),
        ("max_pool: 2", MaxPool(2)),
        ("max_pool: [2, 1]", MaxPool((2, 1))),
        ("max_pool: {kernel_size: 2}", MaxPool(kernel_size=2)),
        ("max_pool: {kernel_size: 2, name: down}", MaxPool(2, name="down")),
        ("linear: 15", Linear(15)),
        ("linear: ${1 + 2}", Call("linear", {"out_features": "${1 + 2}"})),
        ("conv: {out_channels: 8, kernel_size: [3, 1], padding: same}",
         Conv(8, kernel_size=(3, 1), padding="same")),
        ("sequential: [relu, {linear: 3}]", Sequential((Relu(), Linear(3)))),
        ("sequential: {name: stem, layers: [relu]}", Sequential(name="stem", layers=(Relu(),))),
    ],
)  # fmt: skip
def test_layer_is_read_from_each_way_to_write_it(written: str, layer: Any) -> None:
    assert one(written).layers == (layer,)


def test_python_form_is_the_same_spec_as_the_yaml() -> None:
    layers = [Conv(out_channels=8, kernel_size=3), MaxPool(2), Relu(), Flatten(), Linear(15)]
    spec = Spec(input=(3, 32, 32), layers=layers)
    text = "input: [3, 32, 32]\nlayers: [{conv: {out_channels: 8, kernel_size: 3}}, " \
           "max_pool: 2, relu, flatten, linear: 15]"  # fmt: skip
    assert content(spec) == content(loads(text))
    assert content(spec) == content(loads(spec.to_yaml()))


def test_layers_and_specs_cannot_be_changed() -> None:
    spec = Spec(input=(3,), layers=[Relu()])
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        spec.layers[0].name = "other"  # type: ignore[union-attr]


def test_params_reach_layers_input_and_later_params() -> None:
    spec = loads(SMALL.replace("[3, 32, 32]", "[3, '${width}', 32]"))
    assert spec.scope() == {"classes": 10, "width": 20}
    assert spec.input_shape() == (3, 20, 32)
    assert trace(spec).output_shape == (10,)


def test_with_params_changes_them_alone() -> None:
    spec = loads(SMALL)
    other = spec.with_params(classes=4)
    assert (trace(other).output_shape, trace(spec).output_shape) == ((4,), (10,))
    assert trace(other).rows[0].output_shape[0] == 8
    assert trace(spec.with_input((3, 20, 20))).rows[0].output_shape == (20, 18, 18)


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("params.classes", "4", lambda s: trace(s).output_shape == (4,)),
        ("name", "other", lambda s: s.name == "other"),
        ("input", "[1, 16, 16]", lambda s: s.input == (1, 16, 16)),
        ("input.1", "16", lambda s: s.input == (3, 16, 32)),
        ("layers.0.conv.kernel_size", "5", lambda s: trace(s).rows[0].arguments["kernel_size"]),
        ("layers.1", "tanh", lambda s: s.layers[1].kind == "tanh"),
        ("train.epochs", "7", lambda s: s.recipe().epochs == 7),
        ("train.optimizer", "{sgd: {lr: 1e-3}}", lambda s: s.recipe().optimizer["sgd"]["lr"]),
        ("train.optimizer.sgd.lr", "0.5", lambda s: s.recipe().optimizer == {"sgd": {"lr": 0.5}}),
    ],
)
def test_override_replaces_any_value(key: str, value: str, found: Any) -> None:
    assert found(loads(SMALL, overrides={key: value}))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("params.clases", "4", "classes"),
        ("nam", "x", "name"),
        ("layers.9", "relu", "has no 9"),
        ("layers.x", "relu", "has no x"),
        ("name.deeper", "1", "has no deeper"),
        ("params.classes", "[1", ""),
        ("params.classes", "1\nname: 2", "not one value"),
        ("params.classes", "!!python/name:os.system x", "tags"),
        ("", "1", ""),
        ("..", "1", ""),
        ("layers.-1", "relu", ""),
        ("layers.²", "relu", ""),
    ],
)
def test_override_of_nothing_is_an_error_that_shows_it(key: str, value: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(SMALL, overrides={key: value})
    (diagnostic,) = caught.value.diagnostics
    assert words in diagnostic.message + diagnostic.help


def test_fault_in_an_override_points_at_the_command_line() -> None:
    (diagnostic,) = faults(SMALL, **{"layers.0.conv.kernel_size": "big"})
    assert diagnostic.place is not None
    assert diagnostic.place.file == "--set"


@pytest.mark.parametrize(
    ("layer", "code", "words"),
    [
        ("rellu", "E105", "did you mean relu?"),
        ("Conv2d: 3", "E105", "did you mean conv?"),
        ("MaxPool2d: 2", "E105", "did you mean max_pool?"),
        ("BatchNorm1d", "E105", "did you mean batch_norm?"),
        ("dense: 10", "E105", "did you mean linear?"),
        ("swish", "E105", "did you mean silu?"),
        ("__class__", "E105", "there is no kind"),
        ("layers", "E105", "there is no kind"),
        ("conv: {out_channels: 8, kernel_size: 3, stirde: 2}", "E104", "did you mean stride?"),
        ("conv: {out_channels: 8, kernel_size: 3, ²: 2}", "E104", "conv has no argument '²'"),
        ("max_pool: {kernel_size: 2, size: 3}", "E104", "max_pool has no argument 'size'"),
        ("linear", "E107", "linear needs out_features"),
        ("conv: {out_channels: 8}", "E107", "conv needs kernel_size"),
        ("tanh: 3", "E106", "tanh takes no argument without its name"),
        ("linear: 010", "E106", "write 10"),
        ("linear: 1:30", "E106", "a whole number"),
        ("linear: no", "E106", "a whole number"),
        ("linear: true", "E106", "a whole number"),
        ("linear: 1e2", "E106", "write 100"),
        ("linear: 2.5", "E106", "a whole number"),
        ("linear: 0", "E106", "at least 1"),
        ("linear: -3", "E106", "at least 1"),
        ("linear: .nan", "E106", "a whole number"),
        ("linear: '3'", "E106", "a whole number"),
        ("linear: {out_features: 3, bias: no}", "E106", "write false"),
        ("dropout: 1.5", "E106", "at most 1"),
        ("dropout: .nan", "E106", ""),
        ("leaky_relu: .inf", "E106", "finite"),
        ("adaptive_avg_pool: 0", "E106", "at least 1"),
        ("max_pool: []", "E204", "0 values in kernel_size"),
        ("max_pool: [2, 2, 2]", "E204", "3 values in kernel_size"),
        ("max_pool: [2, x]", "E106", "a whole number"),
        ("conv: {out_channels: 8, kernel_size: 3, padding: full}", "E106", "same"),
        ("conv_transpose: {out_channels: 2, kernel_size: 2, padding_mode: reflect}", "E106", ""),
        ("relu: {name: 2x}", "E106", "a word of letters"),
        ("relu: {name: 'a.b'}", "E106", "a word of letters"),
        ("relu: {name: forward}", "E106", "modules and Python have that"),
        ("relu: {name: class}", "E106", "class"),
        ("relu: {name: layers}", "E106", ""),
        ("[relu, relu]", "E106", "a layer is a word"),
        ("3", "E106", "a layer is a word"),
        ("null", "E106", "a layer is a word"),
        ("{}", "E106", "a layer is a word"),
        ("{conv: 3, name: x}", "E106", "indent name deeper than conv"),
        ("sequential: relu", "E106", "layers must be a list"),
        ("sequential", "E107", "sequential needs layers"),
        ("linear: ${classes}", "E108", "nothing is called 'classes'"),
        ("linear: ${x.width - 9}", "E106", "at least 1"),
        ("linear: ${x.width / 2}", "E106", "a whole number"),
        ("linear: ${x.depth}", "E108", "x has channels, height, width"),
        ("sequential: {name: '${2}', layers: [relu]}", "E106", "a word"),
    ],
)
def test_fault_in_a_layer_has_its_code_place_and_mend(layer: str, code: str, words: str) -> None:
    (diagnostic,) = faults(f"input: [4, 9, 9]\nlayers:\n  - relu\n  - {layer}\n")
    assert diagnostic.code == code, diagnostic
    assert words in f"{diagnostic.message} {diagnostic.help}", diagnostic
    assert diagnostic.place is not None
    assert diagnostic.place.line == 4


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("[1, 2]", "E106", "named sections"),
        ("just words", "E106", "named sections"),
        ("layers: [relu]", "E107", "a spec needs input"),
        ("input: [3]", "E107", "a spec needs layers"),
        ("input: [3]\nlayers: relu", "E106", "layers must be a list"),
        ("input: [3]\nlayers: {relu: 1}", "E106", "layers must be a list"),
        ("input: 3\nlayers: [relu]", "E106", "input"),
        ("input: [0]\nlayers: [relu]", "E106", "input"),
        ("input: [true]\nlayers: [relu]", "E106", "input"),
        ("input: [2.0]\nlayers: [relu]", "E106", "input"),
        ("input: [no]\nlayers: [relu]", "E106", "input"),
        ("input: []\nlayers: [relu]", "E106", "input"),
        ("input: [1, 2, 3, 4, 5]\nlayers: [relu]", "E201", "5 axes"),
        ("input: ['${1/0}']\nlayers: [relu]", "E108", "divides by zero"),
        ("input: ['${-3}']\nlayers: [relu]", "E106", "at least 1"),
        ("input: [3]\nlayers: [relu]\nparams: [1]", "E106", "params"),
        ("input: [3]\nlayers: [relu]\nparams: {a: '${b}', b: 1}", "E108", "'b'"),
        ("input: [3]\nlayers: [relu]\nname: [x]", "E106", "name"),
        ("input: [3]\nlayers: [relu]\nlayer: [relu]", "E104", "did you mean layers?"),
        ("input: [3]\nlayers: [relu]\ntrain: 3", "E106", "train"),
    ],
)
def test_fault_of_a_section_has_its_code_and_place(text: str, code: str, words: str) -> None:
    (diagnostic,) = faults(text)
    assert diagnostic.code == code, diagnostic
    assert words in f"{diagnostic.message} {diagnostic.help}", diagnostic
    assert diagnostic.place is not None


def test_all_faults_are_reported_at_once_in_the_order_of_lines() -> None:
    text = """\
nam: x
input: [3, 8, 8]
layers:
  - rellu
  - conv: {out_channels: 0, kernel_size: x, stirde: 2}
  - sequential:
      layers:
        - linear
train: {epochs: 0}
"""
    said = [(d.code, d.place and d.place.line) for d in faults(text)]
    assert said[0] == ("E104", 1)
    assert sorted(said) == [
        ("E104", 1), ("E104", 5), ("E105", 4), ("E106", 5), ("E106", 5), ("E107", 8),
    ]  # fmt: skip
    assert [line for _, line in said] == sorted(line for _, line in said if line)


def test_a_misspelt_setting_is_told_when_the_spec_is_read() -> None:
    with pytest.raises(SpecError) as caught:
        loads("input: [3]\nlayers: [relu]\ntrain:\n  epoch: 3\n  batch_sise: 0\n")
    said = [(d.code, d.place and d.place.line, d.help) for d in caught.value.diagnostics]
    assert said == [("E104", 4, "did you mean epochs?"), ("E104", 5, "did you mean batch_size?")]


def test_faults_of_the_recipe_are_reported_at_once_with_their_lines() -> None:
    spec = loads("input: [3]\nlayers: [relu]\ntrain:\n  epochs: 0\n  batch_size: 0\n")
    with pytest.raises(SpecError) as caught:
        spec.recipe()
    said = [(d.code, d.place and d.place.line) for d in caught.value.diagnostics]
    assert said == [("E106", 4), ("E106", 5)]


def test_fault_in_the_python_form_is_a_spec_error_without_a_place() -> None:
    with pytest.raises(SpecError, match="did you mean relu") as caught:
        Spec(input=(3,), layers=["rellu"])
    assert caught.value.diagnostics[0].place is None


def public(*modules: nn.Module) -> list[str]:
    return sorted({name for module in modules for name in dir(module) if name[0] != "_"})


@pytest.mark.parametrize(
    "name",
    public(nn.Sequential(), nn.ModuleDict(), build(Spec(input=(3,), layers=["relu"]))),
)
def test_no_layer_can_be_called_as_something_of_the_module(name: str) -> None:
    assert name in RESERVED
    assert [d.code for d in faults(f"input: [3]\nlayers: [relu: {{name: {name}}}]")] == ["E106"]


@pytest.mark.parametrize("name", ["_modules", "_parameters", "__class__", "__init__", "_buffers"])
def test_no_layer_can_be_called_as_a_private_part_of_the_module(name: str) -> None:
    assert [d.code for d in faults(f"input: [3]\nlayers: [relu: {{name: {name}}}]")] == ["E106"]


@pytest.mark.parametrize("text", ["", "3x", "x3", "3x-1", "3x3.5", "1x2x3x4x5", "3 x 3", "٣"])
def test_input_that_is_no_shape_is_refused(text: str) -> None:
    from shapecalc.diagnostics import Fault

    with pytest.raises(Fault, match="is not a shape"):
        parse_input(text)
    assert parse_input("3x224x200") == (3, 224, 200)


# A spec written out reads back as the same spec.

WORDS = st.sampled_from(
    ["plain", "no", "010", "1e-3", "null", "~", "a: b", "# x", "ends ", "ä'\"", "${a} b", "{", "-",
     "true", "", "\n", "\u2028", "a\tb", "*x", "&x", "!x", "%", "@", "`", ">", "|", "? x", "0x1"]
)  # fmt: skip
VALUES = st.recursive(
    WORDS
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
EXPRESSIONS = st.sampled_from(
    ["${classes}", "${x.channels * 2}", "${[1, 2][0]}", "${a if b else 'c'}"]
)
CALLS = st.builds(
    lambda e, name: Call("linear", {"out_features": e} | ({"name": name} if name else {})),
    EXPRESSIONS,
    st.sampled_from(["", "head"]),
)


def made(case: Case) -> Any:
    (layer,) = Spec(input=case.shape, layers=[{case.kind: case.arguments}]).layers
    return layer


LAYERS = st.recursive(
    st.sampled_from(CASES).map(made) | CALLS,
    lambda inner: st.builds(
        Sequential, name=st.sampled_from([None, "stem"]), layers=st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)


@FUZZ
@given(
    st.builds(
        Spec,
        name=WORDS,
        input=st.sampled_from([(3, 8, 8), (5,), ("${a}", 4)]),
        params=st.dictionaries(st.sampled_from(["classes", "a", "no", "1"]), VALUES, max_size=3),
        layers=st.lists(LAYERS, max_size=4),
    )
)
def test_spec_written_as_yaml_reads_back_as_the_same(spec: Spec) -> None:
    assert content(loads(spec.to_yaml())) == content(spec), spec.to_yaml()


@FUZZ
@given(st.data())
def test_layer_of_any_arguments_is_traced_or_refused_with_a_diagnostic(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    names = st.sampled_from([*layer_class(kind).model_fields, "other"])
    values = VALUES | st.integers(-1, 9) | st.lists(st.integers(-1, 4), max_size=4)
    arguments = data.draw(st.dictionaries(names, values, max_size=5) | values)
    shape = data.draw(st.sampled_from([(4,), (4, 9), (4, 9, 9)]))
    with suppress(SpecError):
        traced = trace(Spec(input=shape, layers=[{kind: arguments}, {"linear": 2}]))
        assert min(traced.output_shape) >= 1
        assert all(isinstance(row.formula, str) for row in traced.rows)


def test_yaml_is_written_in_the_shortest_form() -> None:
    text = """\
name: small
input: [3, 32, 32]
params: {classes: 10}
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - max_pool: 2
  - sequential:
      name: tail
      layers:
        - relu
        - flatten
        - linear: ${classes}
train:
  epochs: 3
"""
    assert loads(text).to_yaml() == text
