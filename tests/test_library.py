"""The library as another project sees it: names, laziness, types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PUBLIC = (
    *("load", "loads", "Spec", "trace", "Trace", "Row", "check", "sizes", "SpecError"),
    *("DataError", "RunError", "ShapecalcError", "Diagnostic", "Recipe", "Layer", "Call"),
    *("Conv", "ConvTranspose", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool"),
    *("Linear", "Flatten", "Identity", "BatchNorm", "GroupNorm", "LayerNorm", "Dropout"),
    *("ChannelDropout", "Relu", "LeakyRelu", "Softmax", "BinaryStep", "Arctan", "Sequential"),
)
WITH_TORCH = ("build", "train", "resume", "Run", "load_run")


def python(code: str, cwd: Path) -> str:
    """What a program prints that stands in a project of its own."""
    (cwd / "user.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "user.py"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_without_torch_is_there_without_torch(tmp_path: Path) -> None:
    code = f"""
import sys
import shapecalc
assert not [name for name in sys.modules if name.startswith("shapecalc.")]
for name in {PUBLIC}:
    assert getattr(shapecalc, name).__name__ == name, name
    assert name in dir(shapecalc), name
assert set({WITH_TORCH}) <= set(dir(shapecalc))
print("torch" in sys.modules)
"""
    assert python(code, tmp_path) == "False\n"


def test_the_calculator_leaves_torch_out(tmp_path: Path) -> None:
    code = f"""
import sys
import shapecalc
spec = shapecalc.load({str(ROOT / "specs" / "apparel.yaml")!r})
traced = shapecalc.trace(spec)
assert {{d.severity for d in shapecalc.check(spec)}} == {{"warning"}}
assert shapecalc.sizes(spec).smallest == (192, 192)
print(traced.params, traced.macs, traced.input_shape, traced.output_shape, len(traced.rows))
print(*sorted({{"torch", "numpy", "matplotlib", "typer"}} & set(sys.modules)))
"""
    assert python(code, tmp_path) == "729279 2297339616 (3, 512, 512) (15,) 18\n\n"


def test_the_order_of_first_use_does_not_matter(tmp_path: Path) -> None:
    """Modules that are named as functions are must not take the functions' places."""
    code = """
import shapecalc
spec = shapecalc.loads("input: [1, 8, 8]\\nlayers: [conv: {out_channels: 2, kernel_size: 3}]")
assert shapecalc.check(spec) == []
assert shapecalc.trace(spec).output_shape == (2, 6, 6)
assert shapecalc.sizes(spec).smallest == (3, 3)
import shapecalc.analysis.check, shapecalc.analysis.sizes, shapecalc.tracer
import shapecalc.language.spec, shapecalc.report.sizes, shapecalc.report.table
assert shapecalc.check(spec) == []
assert shapecalc.sizes(spec).smallest == (3, 3)
assert shapecalc.trace(spec).rows[0].kind == "conv"

import shapecalc.builder
import shapecalc.builder.network
import shapecalc.training.loop
model = shapecalc.build(spec)
import torch
assert model(torch.zeros(5, 1, 8, 8)).shape == (5, 2, 6, 6)
for name in ("build", "train", "resume", "load_run", "check", "sizes", "trace", "load", "loads"):
    assert callable(getattr(shapecalc, name)), name
assert shapecalc.Run.__name__ == "Run"
try:
    shapecalc.load_run("nowhere")
except shapecalc.RunError as error:
    print(error.diagnostics[0].code)
"""
    assert python(code, tmp_path) == "E502\n"


def test_unknown_names() -> None:
    import shapecalc

    for name in ("trase", "Conv2d", "__path_of_dreams__"):
        with pytest.raises(
            AttributeError, match=rf"^module 'shapecalc' has no attribute '{name}'$"
        ):
            getattr(shapecalc, name)


def test_the_typed_marker_is_shipped() -> None:
    import shapecalc

    assert (Path(shapecalc.__file__).parent / "py.typed").is_file()


def test_errors_carry_their_diagnostics() -> None:
    import shapecalc

    broken = "input: [3, 8, 8]\nlayers: [ReLU, {linear: 0}]"
    with pytest.raises(shapecalc.SpecError) as caught:
        shapecalc.loads(broken, file="a.yaml")
    assert isinstance(caught.value, shapecalc.ShapecalcError)
    assert [d.code for d in caught.value.diagnostics] == ["E105", "E106"]
    assert str(caught.value) == (
        "a.yaml:2:10: E105: there is no kind of layer called 'ReLU' (did you mean relu?)\n"
        "a.yaml:2:17: E106: linear needs at least 1 for out_features, not 0 "
        "(write 1, the least that it can be)"
    )


def test_python_and_yaml_give_the_same_trace() -> None:
    from shapecalc import Call, Conv, Flatten, Linear, MaxPool, Relu, Sequential, Spec, loads, trace

    spec = Spec(
        name="small",
        input=(3, 32, 32),
        params={"classes": 15},
        layers=[
            Sequential([Conv(8, kernel_size=3), MaxPool(2)], name="stem"),
            Relu(),
            Flatten(),
            Linear(30),
            Call("linear", {"out_features": "${classes}"}),
        ],
    )
    traced, again = trace(spec), trace(loads(spec.to_yaml()))
    assert [row[:6] for row in traced.rows] == [row[:6] for row in again.rows]
    assert traced.output_shape == (15,)
    assert traced.params == again.params == 8 * 27 + 8 + 8 * 15 * 15 * 30 + 30 + 30 * 15 + 15


GOOD = """\
from torch import nn

import shapecalc
from shapecalc import Conv, Flatten, Linear, MaxPool, Relu, Sequential, Spec, SpecError

spec = Spec(
    input=(3, 512, 512),
    layers=[
        Sequential([Conv(out_channels=8, kernel_size=3), Conv(16, kernel_size=(3, 1))]),
        MaxPool(2),
        Relu(),
        Flatten(),
        Linear(15),
    ],
)
try:
    traced: shapecalc.Trace = shapecalc.trace(spec)
except SpecError as error:
    codes: list[str] = [diagnostic.code for diagnostic in error.diagnostics]
shapes: list[tuple[int, ...]] = [row.output_shape for row in traced.rows]
model: nn.Module = shapecalc.build(spec)
smallest: tuple[int, ...] = shapecalc.sizes(spec).smallest
found: list[shapecalc.Diagnostic] = shapecalc.check(spec, max_params=10)
text: str = spec.to_yaml()
"""
WRONG = """\
import shapecalc
from shapecalc import Conv

Conv(out_channels="8", kernel_size=3)
Conv(out_channels=8)
Conv(8, kernel_size=3, stide=2)
number: str = shapecalc.trace(shapecalc.load("a.yaml")).params
"""


MYPY = """\
[mypy]
strict = True
[mypy-shapecalc.*]
follow_imports = silent
[mypy-torch.*,torchvision.*,numpy.*,PIL.*,rich.*,yaml.*,safetensors.*]
follow_imports = skip
"""
"""As for an installed package; what is large and not in question here is left unread."""


def test_types_are_checked_in_a_users_project(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "mypy.ini").write_text(MYPY)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "good.py", "wrong.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    errors = [
        line.partition(": error: ") for line in done.stdout.splitlines() if ": error: " in line
    ]
    assert [place for place, _, _ in errors] == [f"wrong.py:{line}" for line in (4, 5, 6, 7)]
    said = [text for _, _, text in errors]
    assert 'Argument "out_channels" to "Conv" has incompatible type "str"' in said[0]
    assert 'Missing named argument "kernel_size"' in said[1]
    assert 'Unexpected keyword argument "stide"' in said[2]
    assert "Incompatible types in assignment" in said[3]
