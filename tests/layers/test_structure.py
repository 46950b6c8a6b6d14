"""Layers made of layers: what they compute, what their rows say, and how the way in is told."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from clock import within
from torch import nn

from shapecalc import (
    Block,
    Branches,
    Call,
    Concat,
    Conv,
    Diagnostic,
    Relu,
    Repeat,
    Residual,
    Save,
    Spec,
    SpecError,
    build,
    loads,
    trace,
)
from shapecalc.builder.containers import Group
from shapecalc.report.diagnostics import render

KEEP: dict[str, Any] = {"conv": {"out_channels": 4, "kernel_size": 3, "padding": 1}}
NET = """\
input: [4, 16, 16]
params: {classes: 3, widths: [4, 8], act: relu}
variants:
  wide: {widths: [8, 16], act: tanh}
blocks:
  norm:
    params: {channels: null, stride: 1, act: "${act}"}
    layers:
      - conv:
          out_channels: ${channels}
          kernel_size: 3
          stride: ${stride}
          padding: 1
          bias: false
      - batch_norm
      - ${act}
  basic:
    params: {channels: null, stride: 1, inner: "${channels // 2}"}
    layers:
      - residual:
          layers: [norm: {channels: "${inner}", stride: "${stride}"}, norm: "${channels}"]
          shortcut:
            - norm:
                channels: ${channels}
                stride: ${stride}
                act: identity
                when: ${stride > 1 or x.channels != channels}
layers:
  - repeat:
      name: stages
      times: ${len(widths)}
      index: i
      layers:
        - basic: {channels: "${widths[i]}", stride: "${i + 1}"}
        - dropout: ${0.1 * i}
  - adaptive_avg_pool: 1
  - flatten
  - linear: {out_features: "${classes}", name: head}
"""


def fault(text: str) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        trace(loads(text))
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def run(layers: Any, shape: tuple[int, ...]) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A built network in eval mode, an input, and what it makes of it."""
    torch.manual_seed(0)
    model = build(Spec(input=shape, layers=layers)).eval()
    x = torch.randn(2, *shape)
    return model, x, model(x)


def test_rows_of_blocks_and_repeats_tell_path_kind_parameters_and_the_way_in() -> None:
    rows = {row.path: row for row in trace(loads(NET)).rows}
    assert [row.kind for row in rows.values()][:5] == [
        "repeat", "sequential", "basic", "residual", "norm",
    ]  # fmt: skip
    conv = rows["stages.1.0.0.layers.1.0"]
    assert [said for said, _ in conv.at.way] == ["i = 1 of repeat", "basic", "norm"]
    assert conv.line == 9
    assert conv.arguments["out_channels"] == 8
    assert rows["stages.1.0"].arguments == {"channels": 8, "stride": 2, "inner": 4}
    assert rows["stages.1.0.0"].children == (
        *("stages.1.0.0.layers.0", "stages.1.0.0.layers.1"),
        "stages.1.0.0.shortcut.0",
    )
    assert "stages.0.0.0.shortcut.0" not in rows  # left out by `when`
    assert rows["stages.1.1"].arguments["p"] == 0.1


def test_network_of_blocks_runs_and_has_the_rows_counts() -> None:
    traced = trace(loads(NET))
    model = build(traced)
    assert model(torch.zeros(2, 4, 16, 16)).shape == (2, 3)
    assert sum(p.numel() for p in model.parameters()) == traced.params
    assert isinstance(model.get_submodule("stages.1.0.0.shortcut.0.2"), nn.Identity)


def test_variant_sets_params_and_the_name() -> None:
    wide = loads(NET, variant="wide")
    assert (wide.name, wide.scope()["widths"], wide.variants) == ("wide", (8, 16), {})
    assert trace(wide) != trace(loads(NET))
    assert trace(loads(NET).variant("wide")).params == trace(wide).params
    assert trace(loads(NET, variant="wide", overrides={"params.widths": "[4, 8]"})).params == (
        trace(loads(NET)).params
    )
    again = loads(loads(NET).to_yaml(), variant="wide")
    assert again == wide


@pytest.mark.parametrize(
    ("name", "words"),
    [("wied", "did you mean @wide?"), ("q", "it has wide")],
)
def test_unknown_variant_is_told_with_the_known_ones(name: str, words: str) -> None:
    with pytest.raises(SpecError, match="no such variant") as caught:
        loads(NET, variant=name)
    assert caught.value.diagnostics[0].help == words


def test_spec_of_blocks_is_the_same_in_python_and_after_writing() -> None:
    block = Block(
        params={"n": None},
        layers=[Residual((Call("conv", {"out_channels": "${n}", "kernel_size": 1}), Relu()))],
    )
    spec = Spec(
        input=(4, 8, 8),
        blocks={"b": block},
        layers=[
            Save("a"),
            Repeat(times=2, index="i", layers=(Call("b", {"n": 4}),)),
            Branches(((Conv(2, kernel_size=1),), ())),
            Concat("a"),
        ],
    )
    text = """\
input: [4, 8, 8]
blocks:
  b:
    params: {n: null}
    layers: [residual: [conv: {out_channels: "${n}", kernel_size: 1}, relu]]
layers:
  - save: a
  - repeat: {times: 2, index: i, layers: [b: 4]}
  - branches: [[conv: {out_channels: 2, kernel_size: 1}], []]
  - concat: a
"""
    assert loads(text) == spec == loads(spec.to_yaml())
    assert trace(spec).output_shape == (10, 8, 8)
    assert loads(loads(NET).to_yaml()) == loads(NET)


def test_residual_adds_its_input_its_shortcut_or_nothing() -> None:
    model, x, out = run([{"residual": {"layers": [KEEP]}}], (4, 8, 8))
    conv = model.get_submodule("layers.0.layers.0")
    assert torch.equal(out, conv(x) + x)
    model, x, out = run([{"residual": {"layers": [KEEP], "shortcut": [KEEP]}}], (4, 8, 8))
    other = model.get_submodule("layers.0.shortcut.0")
    assert torch.equal(out, model.get_submodule("layers.0.layers.0")(x) + other(x))
    model, x, out = run([{"residual": {"layers": [KEEP], "shortcut": False}}], (4, 8, 8))
    assert torch.equal(out, model.get_submodule("layers.0.layers.0")(x))


@pytest.mark.parametrize("merge", ["concat", "add", "multiply"])
def test_branches_merge_in_order(merge: str) -> None:
    arguments = {"merge": merge, "layers": [[KEEP], [], [KEEP, "tanh"]]}
    model, x, out = run([{"branches": arguments}], (4, 8, 8))
    first, last = (model.get_submodule(f"layers.0.{n}") for n in (0, 2))
    parts = [first(x), x, last(x)]
    expected = {
        "concat": lambda: torch.cat(parts, 1),
        "add": lambda: parts[0] + parts[1] + parts[2],
        "multiply": lambda: parts[0] * parts[1] * parts[2],
    }[merge]()
    assert torch.equal(out, expected)


def test_split_gives_each_branch_its_share_of_the_channels() -> None:
    _, x, out = run([{"branches": {"split": 2, "layers": [["tanh"], []]}}], (6, 8))
    assert torch.equal(out, torch.cat([x[:, :3].tanh(), x[:, 3:]], 1))


def test_gate_of_one_pixel_multiplies_all_positions() -> None:
    gate = [{"adaptive_avg_pool": 1}, "sigmoid"]
    _, x, out = run([{"branches": {"merge": "multiply", "layers": [gate, []]}}], (4, 8, 8))
    assert torch.allclose(out, x * x.mean((2, 3), keepdim=True).sigmoid())
    (row, *_) = trace(
        Spec(input=(4, 8, 8), layers=[{"branches": {"merge": "multiply", "layers": [gate, []]}}])
    ).rows
    assert row.receptive_fields == (8, 8)


def test_saved_tensor_reaches_out_of_the_group_it_was_kept_in_and_the_newest_counts() -> None:
    layers = [
        {"sequential": {"name": "down", "layers": ["tanh", {"save": "skip"}, {"max_pool": 2}]}},
        {"residual": {"layers": ["sigmoid", {"upsample": 2}], "shortcut": [{"upsample": 2}]}},
        {"sequential": {"name": "up", "layers": [{"concat": "skip"}]}},
        {"save": "skip"},
        {"multiply": "skip"},
    ]
    model, x, out = run(layers, (2, 8, 8))
    kept = x.tanh()
    low = nn.functional.max_pool2d(kept, 2)
    high = nn.functional.interpolate(low.sigmoid(), scale_factor=2.0) + nn.functional.interpolate(
        low, scale_factor=2.0
    )
    joined = torch.cat([high, kept], 1)
    assert torch.allclose(out, joined * joined)
    assert isinstance(model.get_submodule("down"), Group)


def test_networks_that_keep_nothing_are_plain_sequentials() -> None:
    model, _, _ = run([{"repeat": {"times": 2, "layers": [KEEP, "relu"]}}, "relu"], (4, 8, 8))
    groups = ("layers", "layers.0", "layers.0.1")
    assert {type(model.get_submodule(path)) for path in groups} == {nn.Sequential}


def test_two_forward_passes_do_not_share_what_they_keep() -> None:
    model, x, out = run([{"save": "a"}, KEEP, {"add": "a"}], (4, 8, 8))
    model(torch.zeros_like(x))
    assert torch.equal(model(x), out)


def test_model_with_skips_can_be_exported_and_copied() -> None:
    import copy

    layers = [{"save": "a"}, {"sequential": [KEEP, {"concat": "a"}]}]
    model, x, out = run(layers, (4, 8, 8))
    assert torch.equal(copy.deepcopy(model)(x), out)
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), out)


def test_turns_of_one_layer_are_that_layer_and_of_more_are_groups() -> None:
    layers = [
        {"repeat": {"times": 2, "layers": ["relu"]}},
        {"repeat": {"times": 2, "layers": ["relu", "tanh"]}},
        {"repeat": {"times": 1, "layers": [{"relu": {"name": "r"}}]}},
        {"repeat": {"times": 3, "index": "i", "layers": [{"relu": {"when": "${i != 1}"}}]}},
    ]
    paths = [row.path for row in trace(Spec(input=(4, 8, 8), layers=layers)).rows]
    assert paths == [
        *("layers.0", "layers.0.0", "layers.0.1"),
        *("layers.1", "layers.1.0", "layers.1.0.0", "layers.1.0.1"),
        *("layers.1.1", "layers.1.1.0", "layers.1.1.1"),
        *("layers.2", "layers.2.0", "layers.2.0.r"),
        *("layers.3", "layers.3.0", "layers.3.2"),
    ]


def test_layer_is_left_out_by_when_before_its_arguments_are_looked_at() -> None:
    layers = [
        {"linear": {"out_features": "${1 // 0}", "when": "${1 > 2}"}},
        {"relu": {"when": False}},
    ]
    traced = trace(Spec(input=(4,), layers=layers))
    assert traced.rows == ()
    assert build(traced)(torch.ones(1, 4)).shape == (1, 4)


def test_kind_may_be_an_expression() -> None:
    spec = loads("""\
input: [4, 8, 8]
params: {act: leaky_relu, pool: max_pool}
layers:
  - ${act}
  - ${act}: 0.2
  - ${pool}: {kernel_size: 2}
  - repeat: {times: 2, index: i, layers: ["${['relu', 'tanh'][i]}"]}
""")
    assert [row.kind for row in trace(spec).leaves] == [
        *("leaky_relu", "leaky_relu", "max_pool"),
        *("relu", "tanh"),
    ]
    assert trace(spec).rows[1].arguments["negative_slope"] == 0.2
    assert loads(spec.to_yaml()) == spec
    assert fault("input: [4]\nparams: {act: rellu}\nlayers: ['${act}']").help == (
        "did you mean relu?"
    )


@pytest.mark.parametrize(
    ("layers", "code", "path", "words"),
    [
        ("[residual: [conv: {out_channels: 6, kernel_size: 3, stride: 2, padding: 1}]]",
         "E207", "layers.0", "shortcut: [conv: {out_channels: 6, kernel_size: 1, stride: 2}]"),
        ("[residual: [conv: {out_channels: 6, kernel_size: 1}]]",
         "E207", "layers.0", "shortcut: [conv: {out_channels: 6, kernel_size: 1}]"),
        ("[residual: [conv: {out_channels: 6, kernel_size: [3, 1], stride: [3, 1], "
         "padding: [1, 0]}]]", "E207", "layers.0", "stride: [3, 1]"),
        ("[residual: {layers: [flatten], shortcut: []}]",
         "E207", "layers.0", "[flatten, linear: 256]"),
        ("[branches: [[], [max_pool: 2]]]", "E207", "layers.0", "upsample: {size: [8, 8]}"),
        ("[branches: {merge: add, layers: [[], [conv: {out_channels: 6, kernel_size: 1}]]}]",
         "E207", "layers.0", "conv: {out_channels: 4, kernel_size: 1}"),
        ("[branches: {merge: multiply, layers: [[], [max_pool: 2]]}]", "E207", "layers.0", "or 1"),
        ("[branches: {split: 3, layers: [[], []]}]", "E204", "layers.0", "write split: 2"),
        ("[branches: {split: 3, layers: [[], [], []]}]", "E204", "layers.0", "3 or 6 channels"),
        ("[save: a, max_pool: 2, concat: a]", "E207", "layers.2", "upsample: {size: [8, 8]}"),
        ("[save: abc, relu, add: abd]", "E208", "layers.2", "did you mean abc?"),
        ("[add: abd]", "E208", "layers.0", "write save: abd before it"),
        ("[concat: later, save: later]", "E208", "layers.0", "before this layer"),
        ("[repeat: {times: 1000000000, layers: [relu]}]", "E103", "layers.0", "20,000"),
        ("[repeat: {times: '${10**9}', layers: []}]", "E103", "layers.0", "20,000"),
    ],
)  # fmt: skip
def test_misfit_tells_both_shapes_and_what_would_fit(
    layers: str, code: str, path: str, words: str
) -> None:
    found = fault(f"input: [4, 8, 8]\nlayers: {layers}")
    assert (found.code, found.path) == (code, path)
    assert words in f"{found.message} {found.help}"
    assert found.place is not None
    assert found.place.line == 2


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 9), (4, 9, 12), (4, 7, 8, 9)])
def test_proposed_shortcut_fits(shape: tuple[int, ...], stride: int) -> None:
    conv = {"out_channels": 6, "kernel_size": 3, "stride": stride, "padding": 1}
    with pytest.raises(SpecError) as caught:
        trace(Spec(input=shape, layers=[{"residual": [{"conv": conv}]}]))
    mend = caught.value.diagnostics[0].help.removeprefix("write ")
    text = (
        f"input: {list(shape)}\nlayers: [residual: {{layers: [conv: {{{_flow(conv)}}}], {mend}}}]"
    )
    assert trace(loads(text)).output_shape[0] == 6


def _flow(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def test_fault_in_a_block_shows_the_way_in() -> None:
    found = fault(NET.replace("input: [4, 16, 16]", "input: [4, 2, 2]").replace(
        "kernel_size: 3\n", "kernel_size: 5\n"))  # fmt: skip
    text = render([found])
    assert found.path == "stages.0.0.0.layers.0.0"
    assert [said for said, _ in found.trail] == ["i = 0 of repeat", "basic", "norm"]
    assert [line.strip() for line in text.splitlines() if " = in: " in line] == [
        "= in: norm at <text>:21:20",
        "= in: basic at <text>:34:11",
        "= in: i = 0 of repeat at <text>:29:5",
    ]


def test_wrong_claim_in_a_repeat_is_told_once() -> None:
    found = fault(
        "input: [4, 8, 8]\nlayers: [repeat: {times: 9, layers: [batch_norm: {num_features: 3}]}]"
    )
    assert found.code == "E202"


@pytest.mark.parametrize(
    ("blocks", "cycle"),
    [
        ("a: {layers: [a]}", "a -> a"),
        ("a: {layers: [relu, sequential: [b]]}\n  b: {layers: [residual: {layers: [a]}]}",
         "a -> b -> a"),
        ("a: {layers: [repeat: {times: 2, layers: [b]}]}\n  "
         "b: {layers: [c]}\n  c: {layers: [branches: [[], [a]]]}", "a -> b -> c -> a"),
        ("a: {params: {next: b}, layers: ['${next}']}\n  b: {layers: [a]}", "a -> b -> a"),
    ],
)  # fmt: skip
def test_block_that_calls_itself_names_the_cycle(blocks: str, cycle: str) -> None:
    found = fault(f"input: [4]\nblocks:\n  {blocks}\nlayers: [a]")
    assert found.code == "E110"
    assert found.message == f"the block a calls itself: {cycle}"


@pytest.mark.parametrize(
    "layers",
    [
        "[repeat: {times: 1000000000, layers: []}]",
        "[repeat: {times: 9999, layers: [repeat: {times: 9999, layers: []}]}]",
        "[repeat: {times: 999, layers: [repeat: {times: 999, layers: [relu: {when: false}]}]}]",
        "[repeat: {times: 99, layers: [repeat: {times: 999, layers: "
        "[repeat: {times: 999, layers: [conv: {out_channels: 4, kernel_size: 1}]}]}]}]",
    ],
)
def test_repeats_without_end_are_refused_at_once(layers: str) -> None:
    with within(1):
        assert fault(f"input: [4, 8, 8]\nlayers: {layers}").code == "E103"


def test_limit_on_layers_is_raised_by_a_setting() -> None:
    text = "input: [4]\nlayers: [repeat: {times: 30000, layers: [relu]}]"
    assert fault(text).help == "if that is meant, write max_layers: 30001 or more at the top"
    assert len(trace(loads(text, overrides={"max_layers": "70000"})).rows) == 30_001


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("blocks: {b: {params: {n: null}, layers: []}}\nlayers: [b]", "E107", "b needs n"),
        ("blocks: {b: {params: {n: null}, layers: []}}\nlayers: [b: {m: 3}]", "E104", "b takes n"),
        ("blocks: {b: {layers: []}}\nlayers: [b: 3]", "E106", "b takes no argument"),
        ("blocks: {relu: {layers: []}}\nlayers: []", "E106", "a block cannot be called 'relu'"),
        ("blocks: {b: [relu]}\nlayers: []", "E106", "the block b needs layers"),
        ("blocks: {b: {}}\nlayers: []", "E107", "the block b needs layers"),
        ("blocks: {b: {layer: []}}\nlayers: []", "E104", "did you mean layers?"),
        ("blocks: {b: {params: {x: 1}, layers: []}}\nlayers: []", "E106", "cannot be called 'x'"),
        ("blocks: [relu]\nlayers: []", "E106", "blocks must be named"),
        ("blocks: {bottle: {layers: []}}\nlayers: [botle]", "E105", "did you mean bottle?"),
        ("variants: {a: {n: 3}}\nlayers: []", "E104", "params has no param 'n'"),
        ("variants: {a: 3}\nlayers: []", "E106", "the variant a needs params"),
        ("params: {x: 3}\nlayers: []", "E106", "cannot be called x"),
        ("layers: [repeat: {times: -1, layers: []}]", "E106", "at least 0"),
        ("layers: [branches: []]", "E106", "at least 1"),
        ("layers: [branches: [relu]]", "E106", "layers must be a list"),
        ("layers: [branches: {merge: sum, layers: [[]]}]", "E106", "concat, add or multiply"),
        ("layers: [save: 3]", "E106", "save needs a word"),
        ("layers: [repeat: 3]", "E106", "times, index, layers"),
        ("layers: [relu: {when: 1}]", "E106", "true or false"),
        ("layers: [relu: {when: '${1}'}]", "E106", "true or false"),
    ],
)  # fmt: skip
def test_fault_in_structure_is_told_when_it_is_read(text: str, code: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        trace(loads(f"input: [4, 8, 8]\n{text}"))
    found = {d.code: f"{d.message} {d.help}" for d in caught.value.diagnostics}
    assert words in found[code], found


NUMBER = re.compile(r"(out_channels|stride|kernel_size|padding): (\"?\$\{[^}]*\}\"?|\d+)")
SIZES = {"out_channels": (1, 3, 8, 24), "stride": (1, 2, 3), "kernel_size": (1, 3, 5, 7)}
SHIPPED = [
    path
    for path in sorted((Path(__file__).parents[2] / "specs").rglob("*.yaml"))
    if re.search(r"residual|branches|save", path.read_text())
]


def test_every_misfit_of_a_changed_number_shows_both_shapes() -> None:
    """One number of a shipped network at a time, at random."""
    draw, misfits = random.Random(0), 0
    for _ in range(150):
        text = draw.choice(SHIPPED).read_text().replace("[3, 224, 224]", "[3, 64, 64]")
        place = draw.choice(list(NUMBER.finditer(text)))
        value = str(draw.choice(SIZES.get(place[1], (0, 1, 2))))
        try:
            trace(loads(text[: place.start(2)] + value + text[place.end(2) :]))
        except SpecError as error:
            for found in error.diagnostics:
                assert found.place is not None
                if found.code == "E207":
                    misfits += 1
                    ours, theirs = re.findall(r"\[[\d, ]+\]", found.message)
                    assert ours != theirs
                    assert ours in found.note
                    assert theirs in found.note
                    assert found.help
    assert misfits > 20


def drawn(draw: random.Random) -> list[Any]:
    """Residuals and branches, of which most do not fit."""

    def conv() -> dict[str, Any]:
        arguments = {"out_channels": draw.choice((4, 6)), "kernel_size": 3, "padding": 1}
        return {"conv": {**arguments, "stride": draw.choice((1, 1, 2, 3))}}

    def arm() -> list[Any]:
        return [conv() for _ in range(draw.randint(1, 2))]

    layers: list[Any] = []
    for _ in range(3):
        if draw.random() < 0.5:
            shortcut: Any = draw.choice((True, arm()))
            layers.append({"residual": {"layers": arm(), "shortcut": shortcut}})
        else:
            merge = draw.choice(("add", "concat"))
            layers.append({"branches": {"merge": merge, "layers": [arm(), arm()]}})
    return layers


def mended(layers: list[Any], found: Diagnostic) -> None:
    """Puts what is proposed into the layer that it is proposed for."""
    layer = layers[int(found.path.removeprefix("layers."))]
    if mend := re.search(r"write shortcut: (\[.*\])$", found.help):
        layer["residual"]["shortcut"] = yaml.safe_load(mend[1])
        return
    mend = re.search(r"put ([^;]*) at the end of branch 1$", found.help)
    assert mend is not None, found.help
    layer["branches"]["layers"][1] += map(yaml.safe_load, mend[1].split(" and "))


def test_what_is_proposed_for_a_misfit_fits() -> None:
    draw, mends = random.Random(1), 0
    for _ in range(150):
        layers = drawn(draw)
        for _ in range(2):  # all misfits are told at once
            try:
                traced = trace(Spec(input=(4, 12, 9), layers=layers))
            except SpecError as error:
                for found in error.diagnostics:
                    assert found.code == "E207"
                    mended(layers, found)
                    mends += 1
            else:
                shape = build(traced)(torch.zeros(1, 4, 12, 9)).shape[1:]
                assert shape == traced.output_shape
                break
        else:
            pytest.fail(f"what was proposed does not fit: {layers}")
    assert mends > 150
