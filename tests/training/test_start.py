"""The weights that training starts from: what is taken over, left out, refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from training_fixtures import Ear, Learned, learned_run

import shapecalc
from shapecalc.diagnostics import Fault
from shapecalc.training.start import start_weights

LAYERS = """
  - conv: {out_channels: 4, kernel_size: 3}
  - batch_norm
  - relu
  - flatten
"""
DEEP = "".join("  - conv: {out_channels: 3, kernel_size: 1}\n" for _ in range(12))


def network(classes: int = 3, layers: str = LAYERS, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    text = f"input: [3, 6, 6]\nlayers:{layers}  - linear: {classes}\n"
    return shapecalc.build(shapecalc.loads(text))


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def begin(model: nn.Module, path: Path) -> str:
    """Starts from a file; what is said of it."""
    ear = Ear()
    start_weights(model, str(path), ear)
    (note,) = ear.notes
    return note


def refused(action: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        action()
    assert caught.value.code == "E501"
    assert caught.value.argument == "init"
    return caught.value


def save(kind: str, path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    if kind == "safetensors":
        save_file(tensors, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    wrapped: dict[str, Any] = {
        "pt": tensors,
        "pth": {"state_dict": tensors, "epoch": 3, "loss": 0.5},
        "bin": {"model": tensors},
    }
    torch.save(wrapped[kind], path.with_suffix(f".{kind}"))
    return path.with_suffix(f".{kind}")


KINDS = pytest.mark.parametrize("kind", ["safetensors", "pt", "pth", "bin"])


@KINDS
@pytest.mark.parametrize("layers", [LAYERS, f"\n{DEEP}  - flatten\n"], ids=["normed", "deep"])
def test_weights_of_the_same_network(tmp_path: Path, kind: str, layers: str) -> None:
    given, model = network(layers=layers, seed=1), network(layers=layers)
    given(torch.randn(4, 3, 6, 6))  # moves the statistics of batch_norm
    path = save(kind, tmp_path / "given", state(given))
    count = len(state(given))
    assert begin(model, path) == f"{count} of {count} tensors come from {path}"
    for name, tensor in state(given).items():
        assert torch.equal(state(model)[name], tensor), name


@KINDS
def test_another_head_is_left_out_and_said(tmp_path: Path, kind: str) -> None:
    given, model, fresh = network(7, seed=1), network(3), network(3)
    path = save(kind, tmp_path / "given", state(given))
    note = begin(model, path)
    assert note == (f"7 of 9 tensors come from {path}; layers.4.weight, layers.4.bias start anew")
    for name, tensor in state(model).items():
        source = fresh if name.startswith("layers.4") else given
        assert torch.equal(tensor, state(source)[name]), name


@KINDS
def test_tensors_of_other_names_go_by_their_order(tmp_path: Path, kind: str) -> None:
    """As those of the same network, written by hand in torch."""
    layers = f"\n{DEEP}  - flatten\n"
    given, model = network(layers=layers, seed=1), network(layers=layers)
    renamed = {f"net.{name.removeprefix('layers.')}": t for name, t in state(given).items()}
    begin(model, save(kind, tmp_path / "given", renamed))
    for name, tensor in state(given).items():
        assert torch.equal(state(model)[name], tensor), name


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learned_run(tmp_path_factory.getbasetemp())


def test_a_run_gives_its_best_weights(learned: Learned) -> None:
    torch.manual_seed(1)
    model = shapecalc.build(learned.run.spec)
    assert str(learned.folder) in begin(model, learned.folder)
    for name, tensor in learned.run.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


@KINDS
@pytest.mark.parametrize(
    "layers",
    [
        "\n  - conv: {out_channels: 5, kernel_size: 3}\n  - batch_norm\n  - relu\n  - flatten\n",
        "\n  - conv: {out_channels: 4, kernel_size: 5}\n  - batch_norm\n  - relu\n  - flatten\n",
        "\n  - flatten\n",
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, kind: str, layers: str) -> None:
    path = save(kind, tmp_path / "given", state(network(layers=layers)))
    model = network()
    before = {name: tensor.clone() for name, tensor in state(model).items()}
    fault = refused(lambda: start_weights(model, str(path), Ear()))
    assert f"the weights of {path} do not fit" in fault.message
    assert "the first that does not is layers." in fault.message
    assert "the same layers" in fault.help
    assert all(torch.equal(state(model)[name], before[name]) for name in before)


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_is_never_run(tmp_path: Path, how: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "weights.pt"
    harm = {"layers.0.weight": torch.zeros(1), "harm": Canary(canary)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(harm))
    else:
        torch.save(harm, path)
    fault = refused(lambda: start_weights(network(), str(path), Ear()))
    assert str(path) in fault.message
    assert not canary.exists()
    torch.load(path, weights_only=False) if how == "torch" else pickle.loads(path.read_bytes())
    assert canary.exists()  # so the canary sings


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.safetensors", b""),
        ("a.safetensors", b"\xff" * 64),
        ("a.pt", b""),
        ("a.pt", b"not weights at all"),
        ("a.pt", b"PK\x03\x04" + bytes(64)),
        ("a.pt", pickle.dumps([1, 2, 3])),
        ("a.pt", pickle.dumps({"state_dict": 5})),
        ("a.pt", pickle.dumps({"model": None})),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    fault = refused(lambda: start_weights(network(), str(path), Ear()))
    assert fault.message.startswith(f"init: {path} holds no weights")
    assert "\n" not in fault.message


def test_a_tensor_alone_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "a.pt")
    fault = refused(lambda: start_weights(network(), str(tmp_path / "a.pt"), Ear()))
    assert "holds no weights" in fault.message


@pytest.mark.parametrize("name", ["kaiming_norml", "missing.pt", "runs/missing-1"])
def test_a_name_that_is_neither_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fault = refused(lambda: start_weights(network(), name, Ear()))
    assert fault.message == f"init: {name} does not exist, nor is it a way to draw weights"
    assert fault.help == "did you mean kaiming_normal?" or "known: " in fault.help


def test_without_a_setting_torchs_own_weights_stay() -> None:
    model, ear = network(), Ear()
    start_weights(model, None, ear)
    assert all(torch.equal(t, state(network())[name]) for name, t in state(model).items())
    assert ear.notes == []
