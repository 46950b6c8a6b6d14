"""Exported source is a module of plain torch with the same state dict, that computes the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, Case
from graphs import Graph, graphs
from hypothesis import given
from strategies import FUZZ
from torch import nn
from zoo import specs

from shapecalc import Spec, SpecError, Trace, build, load, loads, trace
from shapecalc.export.python import source
from shapecalc.tracer import smallest_input

SPECS = Path(__file__).parents[2] / "specs"


def executed(text: str) -> nn.Module:
    """The network of a source."""
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    *_, network = (v for v in names.values() if isinstance(v, type) and v.__module__ == "exported")
    module: nn.Module = network()
    return module


def agree(traced: Trace, batch: int = 2) -> None:
    text = source(traced)
    assert "shapecalc" not in text
    ours, theirs = build(traced).eval(), executed(text).eval()
    theirs.load_state_dict(ours.state_dict())  # all names and shapes, or it raises
    x = torch.randn(batch, *traced.input_shape)
    with torch.no_grad():
        for _ in range(2):
            seed = torch.seed()
            expected = ours(x.clone())
            torch.manual_seed(seed)
            assert torch.equal(theirs(x.clone()), expected)
            ours.train()  # then with what is by chance
            theirs.train()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.filterwarnings("ignore:.*even kernel lengths")
def test_each_kind_of_layer(case: Case) -> None:
    layer = {case.kind: case.arguments} if case.arguments else case.kind
    agree(trace(Spec(input=case.shape, layers=[layer])))


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_of_our_specs(path: Path) -> None:
    spec = load(path)
    channels, *sizes = spec.input_shape()
    least = smallest_input(spec, tuple(sizes))
    assert least
    agree(trace(spec.with_input((channels, *least))))


@pytest.mark.parametrize(
    "name",
    ["googlenet", "densenet121", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v3_small",
     "efficientnet_v2_s", "convnext_tiny", "regnet_y_400mf", "resnet18", "squeezenet1_0"],
)  # fmt: skip
def test_the_zoo(name: str) -> None:
    agree(trace(load(specs()[name]).with_input((3, 64, 64))))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_random_graphs() -> None:
    @FUZZ
    @given(graphs())
    def check(graph: Graph) -> None:
        blocks = {name: {"params": {"n": None}, "layers": layers}
                  for name, layers in graph.blocks.items()}  # fmt: skip
        spec = Spec(input=graph.shape, blocks=blocks, layers=graph.layers)
        try:
            traced = trace(spec)
        except SpecError:
            return
        if max((row.activation_bytes for row in traced.rows), default=0) < 10**5:
            agree(traced)

    check()


def test_what_comes_again_is_written_once() -> None:
    text = source(trace(load(f"{SPECS}/zoo/resnet.yaml@resnet152")))
    assert text.count("nn.Conv2d(") < 40  # of 155
    assert text.count("def bottleneck") == 4


def test_a_stranger_runs_it_without_shapecalc(tmp_path: Path) -> None:
    (tmp_path / "unet.py").write_text(source(trace(load(SPECS / "unet.yaml"))))
    code = (
        "import sys; sys.modules['shapecalc'] = None\n"
        "import torch, unet\n"
        "print(tuple(unet.Unet()(torch.zeros(1, 3, 64, 64)).shape))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("(1, 2, 64, 64)\n", "")


CODE = [
    '"""\nimport os\nos.system("touch canary")\n"""',
    "'; import os; os.system('touch canary'); '",
    "x\\",
    '"',
    "\x00\x1b[2J",
    "a\u2028import os",
    "class",
    "123",
    "",
    "nn",
    "Residual",
    "日本",
    "🙂 {0} %s ${x}".replace("${x}", ""),
]


@pytest.mark.parametrize("name", CODE, ids=repr)
def test_names_that_are_code_stay_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layers = [{"residual": ["relu"]}, "flatten", {"linear": 2}]
    spec = Spec(name=name, input=(3, 4, 4), layers=layers)
    text = source(trace(spec), about=[name], CLASSES=(name, "b"))
    module = executed(text)
    assert tuple(module(torch.zeros(1, 3, 4, 4)).shape) == (1, 2)
    assert not (tmp_path / "canary").exists()
    assert type(module).__name__.isidentifier()
    names: dict[str, Any] = {"__name__": "exported"}
    exec(text, names)
    assert names["CLASSES"] == (name, "b")
    assert name in names["__doc__"]


def test_names_of_layers_blocks_and_saved_tensors_that_python_has_for_itself() -> None:
    text = """
input: [3, 8, 8]
blocks: {class: {layers: [relu, relu, relu, relu, relu, relu, relu, relu]}}
layers:
  - save: lambda
  - conv: {out_channels: 3, kernel_size: 1, name: torch}
  - class
  - class
  - add: lambda
  - save: x
  - save: self
  - conv: {out_channels: 3, kernel_size: 1, name: nn}
  - concat: [x, self]
"""
    agree(trace(loads(text)))
