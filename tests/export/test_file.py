"""`export` as a command: what it writes, judged by what reads it; what it refuses."""

from __future__ import annotations

import functools
import gc
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_fixtures import HEAD, PLAIN, photographs, spec, text

import shapecalc
from shapecalc.__main__ import main

RUNTIME = pytest.importorskip("onnxruntime", reason="onnxruntime judges what is written")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    photographs(folder / "data")
    made = spec(folder / "data", epochs=1, layers=(*PLAIN[:1], "batch_norm", *PLAIN[1:], HEAD))
    shapecalc.train(made, out=folder / "run")
    return folder / "run"


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> functools.partial[tuple[int, str]]:
    monkeypatch.chdir(tmp_path)

    def called(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["shapecalc", "export", *words])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            gc.enable()
        assert isinstance(code, int)
        out, err = capsys.readouterr()
        assert out == ""
        return code, err

    return functools.partial(called)


def said(run: Path, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and what the run's network makes of them."""
    model = shapecalc.load_run(run).model
    x = torch.randn(batch, *shapecalc.load_run(run).input_shape)
    with torch.no_grad():
        return x, model(x)


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_of_a_run_gives_its_outputs_for_any_batch(
    batch: int, run: Path, command: functools.partial[tuple[int, str]], tmp_path: Path
) -> None:
    code, err = command(str(run), "--to", "onnx", "--out", "net.onnx")
    assert (code, err.splitlines()[0]) == (0, "wrote net.onnx")
    session = RUNTIME.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    x, expected = said(run, batch)
    (found,) = session.run(["output"], {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("batch", [1, 5])
def test_pt2_of_a_run_gives_its_outputs_for_any_batch(
    batch: int, run: Path, command: functools.partial[tuple[int, str]]
) -> None:
    assert command(str(run / "best.safetensors"), "--to", "pt2", "--out", "net.pt2")[0] == 0
    x, expected = said(run, batch)
    with torch.no_grad():
        found = torch.export.load("net.pt2").module()(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_source_of_a_run_takes_its_weights_and_says_how_to_feed_it(
    run: Path, command: functools.partial[tuple[int, str]]
) -> None:
    code, err = command(str(run), "--to", "python", "--out", "net.py")
    assert code == 0
    names: dict[str, object] = {"__name__": "net"}
    exec(Path("net.py").read_text(), names)
    loaded = shapecalc.load_run(run)
    assert names["CLASSES"] == loaded.classes
    assert (names["MEAN"], names["STD"]) == (loaded.preprocessing.mean, loaded.preprocessing.std)
    assert "values from 0 to 1" in err
    *_, network = (v for v in names.values() if isinstance(v, type) and v.__module__ == "net")
    model: torch.nn.Module = network()
    model.load_state_dict(load_file(run / "best.safetensors"))
    x, expected = said(run, 3)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), expected)


def test_a_spec_is_named_after_itself_and_drawn_by_its_seed(
    command: functools.partial[tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(text(None, layers=(*PLAIN, "linear: 3")))
    command("tiny.yaml", "--to", "pt2")
    (made,) = tmp_path.glob("*.pt2")
    first = torch.export.load(made).state_dict
    assert command("tiny.yaml", "--to", "pt2")[0] == 1  # it is there
    assert command("tiny.yaml", "--to", "pt2", "--force")[0] == 0
    again = torch.export.load(made).state_dict
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["none.yaml", "--to", "python"], 1, "none.yaml"),
        (["folder", "--to", "python"], 1, "folder is no run"),
        (["tiny.yaml", "--to", "python", "--out", "no/net.py"], 1, "no/net.py cannot be written"),
        (["tiny.yaml", "--to", "python", "--out", "folder", "--force"], 1, "folder cannot be"),
        (["tiny.yaml", "--to", "torch"], 2, "'torch' is not one of"),
        (["folder", "--to", "python", "--set", "name=a"], 2, "go with a spec"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_written(
    words: list[str],
    code: int,
    told: str,
    command: functools.partial[tuple[int, str]],
    tmp_path: Path,
) -> None:
    (tmp_path / "tiny.yaml").write_text(text(None, layers=(*PLAIN, "linear: 3")))
    (tmp_path / "folder").mkdir()
    found, err = command(*words)
    assert (found, told in err) == (code, True), err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "tiny.yaml"]


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, command: functools.partial[tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(text(None, layers=(*PLAIN, "linear: 3")))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, err = command("tiny.yaml", "--to", "onnx")
    assert code == 1
    assert "ONNX needs the packages onnx and onnxscript" in err
    assert "pip install 'shapecalc[onnx]'" in err
