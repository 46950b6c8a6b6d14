"""The weights that training starts from: what is taken over, left out, refused."""

from __future__ import annotations

import pickle
import re
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import zoo
from safetensors.torch import save_file
from torch import nn
from training_fixtures import Ear, Learned, PublishedWeights, Shell

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


PARTLY_NAMED = """
  - conv: {name: second, out_channels: 3, kernel_size: 1}
  - conv: {out_channels: 3, kernel_size: 1}
  - conv: {name: first, out_channels: 3, kernel_size: 1}
  - flatten
"""
"""Convolutions of one shape: the state has the unnamed one first, as `layers.1`."""


def test_tensors_go_by_the_order_of_execution_where_some_layers_are_named(tmp_path: Path) -> None:
    plain = re.sub(r"name: \w+, ", "", PARTLY_NAMED)
    given, model = network(layers=plain, seed=1).eval(), network(layers=PARTLY_NAMED).eval()
    assert next(iter(state(model))) == "layers.1.weight"
    begin(model, save("pt", tmp_path / "given", state(given)))
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(model(x), given(x))


def test_a_run_has_the_order_of_its_spec(learned: Learned) -> None:
    """Though its file has the tensors by name."""
    layers = learned.run.spec.to_yaml()
    named = layers.replace("out_channels: 4", "out_channels: 4, name: z").replace(
        "linear: ${classes}", "linear: {out_features: '${classes}', name: a}"
    )
    assert "name: z" in named
    model = shapecalc.build(shapecalc.loads(named)).eval()
    begin(model, learned.folder)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(x), learned.run.model(x))


def test_safetensors_of_names_without_an_order_are_refused(tmp_path: Path) -> None:
    """Two layers of one shape would else be mistaken for each other."""
    mixed = {
        name.replace("layers.0", "net.b").replace("layers.1", "net.a"): tensor
        for name, tensor in state(network(layers=f"\n{DEEP}  - flatten\n")).items()
    }
    path = save("safetensors", tmp_path / "given", mixed)
    model = network(layers=f"\n{DEEP}  - flatten\n")
    fault = refused(lambda: start_weights(model, str(path), Ear()))
    assert "keeps its tensors by name and not in the order of the layers" in fault.message
    assert "torch.save" in fault.help


def older(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state as older versions of torch and torchvision wrote it: without the number of batches
    seen, the statistics before the weight, and DenseNet's layers by other names."""
    order = ("running_mean", "running_var", "weight", "bias")
    keys = [key for key in tensors if not key.endswith("num_batches_tracked")]
    modules = list(dict.fromkeys(key.rpartition(".")[0] for key in keys))
    names = [f"{module}.{leaf}" for module in modules for leaf in order]
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))", r"\1.", name): tensors[name]
        for name in names
        if name in tensors
    }


def test_older_files_are_not_mistaken(tmp_path: Path) -> None:
    """The mean of a norm has the shape of its weight, and came before it."""
    given, model = network(seed=1), network()
    given(torch.randn(4, 3, 6, 6) + 1)
    renamed = {f"net.{name}": tensor for name, tensor in older(state(given)).items()}
    assert next(name for name in renamed if "layers.1." in name).endswith("running_mean")
    begin(model, save("pt", tmp_path / "given", renamed))
    for name, tensor in state(given).items():
        if "num_batches" not in name:
            assert torch.equal(state(model)[name], tensor), name


def test_a_weight_is_not_taken_for_a_mean(tmp_path: Path) -> None:
    renamed = {
        name.replace("1.weight", "1.running_mean2").replace("1.running_mean", "1.weight"): tensor
        for name, tensor in state(network(seed=1)).items()
    }
    swapped = {name.replace("running_mean", "bias"): t for name, t in renamed.items()}
    path = save("pt", tmp_path / "given", {f"net.{name}": t for name, t in swapped.items()})
    refused(lambda: start_weights(network(), str(path), Ear()))


def ours(name: str, size: int, **params: Any) -> nn.Module:
    given = shapecalc.load(zoo.specs()[name]).with_input((3, size, size))
    return shapecalc.build(given.with_params(**params) if params else given).eval()


def best(name: str) -> Any:
    return torchvision.models.get_model_weights(name).DEFAULT


@pytest.mark.parametrize(
    ("name", "size", "setting"),
    [
        ("resnet18", 32, "resnet18"),
        ("resnet18", 32, "ResNet18_Weights.IMAGENET1K_V1"),
        ("squeezenet1_1", 64, "squeezenet1_1"),
        ("mobilenet_v3_small", 32, "mobilenet_v3_small"),
        ("shufflenet_v2_x0_5", 32, "shufflenet_v2_x0_5"),
        ("convnext_tiny", 32, "convnext_tiny"),
        ("regnet_x_400mf", 32, "regnet_x_400mf"),
    ],
)
def test_weights_of_torchvision_by_name(
    name: str, size: int, setting: str, cache: PublishedWeights
) -> None:
    """torchvision's own functions find the file, which is not one of theirs."""
    theirs, model, ear = cache.give(name, best(name)), ours(name, size), Ear()
    start_weights(model, f"torchvision:{setting}", ear)
    count = len(model.state_dict())
    assert ear.notes == [f"{count} of {count} tensors come from torchvision:{setting}"]
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x), atol=1e-5, rtol=0)


def test_auxiliary_heads_are_left_out(cache: PublishedWeights) -> None:
    theirs, model = (
        cache.give("googlenet", best("googlenet"), init_weights=False),
        ours("googlenet", 64),
    )
    assert any(key.startswith("aux1.") for key in theirs.state_dict())
    start_weights(model, "torchvision:googlenet", Ear())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_published_files_of_older_versions(name: str, cache: PublishedWeights) -> None:
    theirs, model, ear = cache.give(name, best(name)), ours(name, 32), Ear()
    old = older(theirs.state_dict())
    assert name != "densenet121" or any(".norm.1." in key for key in old)
    turned = dict(reversed(old.items()))  # nor does the order of a published file matter
    torch.save(turned, cache.file(best(name)), _use_new_zipfile_serialization=False)
    start_weights(model, f"torchvision:{name}", ear)
    assert ear.notes == [f"{len(old)} of {len(old)} tensors come from torchvision:{name}"]
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_other_classes_start_the_head_of_a_published_network_anew(
    name: str, cache: PublishedWeights
) -> None:
    theirs, model, ear = cache.give(name, best(name)), ours(name, 64, classes=7), Ear()
    head = [key for key, tensor in state(model).items() if tensor.shape[:1] == (7,)]
    before = {key: state(model)[key].clone() for key in head}
    start_weights(model, f"torchvision:{name}", ear)
    count = len(state(model))
    assert ear.notes == [
        f"{count - 2} of {count} tensors come from torchvision:{name}; "
        f"{head[0]}, {head[1]} start anew"
    ]
    assert all(torch.equal(state(model)[key], tensor) for key, tensor in before.items())
    first = next(iter(theirs.state_dict().values()))
    assert torch.equal(next(iter(state(model).values())), first)


def test_weights_of_another_architecture_are_refused_with_both_names(
    cache: PublishedWeights,
) -> None:
    cache.give("resnet18", best("resnet18"))
    fault = refused(lambda: start_weights(ours("squeezenet1_1", 64), "torchvision:resnet18", Ear()))
    assert re.fullmatch(
        r"init: the weights of torchvision:resnet18 do not fit: \d+ of 52 tensors do; the first "
        r"that does not is \S+\.weight: it is \[64, 3, 3, 3\], and their conv1\.weight is "
        r"\[64, 3, 7, 7\]",
        fault.message,
    )


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("resnet5O", "did you mean torchvision:resnet50?"),
        ("ResNet50", "did you mean torchvision:resnet50?"),
        (
            "ResNet50_Weights.IMAGENET1K_V3",
            "did you mean torchvision:ResNet50_Weights.IMAGENET1K_V2?",
        ),
        ("resnet50.IMAGENET1K_V1", "did you mean torchvision:"),
        ("Resnet18_Weights.IMAGENET1K_V1", "torchvision:ResNet18_Weights.IMAGENET1K_V1?"),
        ("__file__.x", "such as torchvision:resnet50"),
        ("WeightsEnum.x", "such as torchvision:resnet50"),
        ("a.b.c", "such as torchvision:resnet50"),
        ("", "such as torchvision:resnet50"),
    ],
)
def test_unknown_weights_are_answered_with_the_nearest(
    name: str, close: str, cache: PublishedWeights
) -> None:
    fault = refused(lambda: start_weights(network(), f"torchvision:{name}", Ear()))
    assert fault.message == f"init: torchvision has no weights called {name!r}"
    assert close in fault.help or name in ("__file__.x", "WeightsEnum.x", "a.b.c")


def test_a_download_that_fails(cache: PublishedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("[Errno -2] Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    ear, weights = Ear(), best("resnet18")
    fault = refused(lambda: start_weights(ours("resnet18", 64), "torchvision:resnet18", ear))
    assert ear.notes == [f"downloading {weights.url}"]
    assert fault.message == (
        f"init: ResNet18_Weights.IMAGENET1K_V1 cannot be had from {weights.url}: "
        "<urlopen error [Errno -2] Name or service not known>"
    )
    assert fault.help == f"put the file into {cache.folder}, or write init: FILE"
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04" + bytes(99), b"\x80\x02}q\x00."])
def test_a_damaged_file_in_the_cache(content: bytes, cache: PublishedWeights) -> None:
    file = cache.file(best("resnet18"))
    file.write_bytes(content)
    fault = refused(lambda: start_weights(ours("resnet18", 64), "torchvision:resnet18", Ear()))
    assert str(file) in fault.message or "do not fit" in fault.message
    assert "\n" not in fault.message


def test_a_truncated_file_in_the_cache(cache: PublishedWeights) -> None:
    cache.give("squeezenet1_1", best("squeezenet1_1"))
    file = cache.file(best("squeezenet1_1"))
    content, model = file.read_bytes(), ours("squeezenet1_1", 64)
    for length in range(0, len(content), len(content) // 20):
        file.write_bytes(content[:length])
        fault = refused(lambda: start_weights(model, "torchvision:squeezenet1_1", Ear()))
        assert f"{file}, which should hold SqueezeNet1_1_Weights.IMAGENET1K_V1" in fault.message
        assert fault.help == "delete it: it is then downloaded anew"
        assert "\n" not in fault.message


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_published_pickle_is_never_run(how: str, tmp_path: Path, cache: PublishedWeights) -> None:
    canary, file = tmp_path / "canary", cache.file(best("resnet18"))
    harm = {"conv1.weight": torch.zeros(1), "harm": Canary(canary)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(harm))
    else:
        torch.save(harm, file)
    fault = refused(lambda: start_weights(ours("resnet18", 64), "torchvision:resnet18", Ear()))
    assert fault.message.endswith("it holds something other than tensors and plain values")
    assert not canary.exists()


TRAIN = """
train:
  data: {synthetic_apparel: {train: 1, valid: 1}}
  init: torchvision:squeezenet1_1
  normalize: imagenet
  epochs: 1
  batch_size: 15
  workers: 0
  precision: fp32
"""


def test_training_starts_from_published_weights(
    cache: PublishedWeights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shell, file = Shell(monkeypatch, capsys), tmp_path / "squeezenet.yaml"
    file.write_text((zoo.ZOO / "squeezenet.yaml").read_text() + TRAIN)
    words = ("train", f"{file}@squeezenet1_1", "--input", "3x48x48", "--out", tmp_path / "run")

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    failed = shell(*words)
    url = best("squeezenet1_1").url
    assert failed.code == 1
    said = "".join(failed.err.split())
    assert f"cannotbehadfrom{url}:<urlopenerrornonetwork>" in said
    assert f"putthefileinto{cache.folder}" in said
    assert "init: torchvision:squeezenet1_1" in failed.err
    assert not (tmp_path / "run").exists()

    cache.give("squeezenet1_1", best("squeezenet1_1"))
    done = shell(*words)
    assert done.code == 0, done.err
    assert "50 of 52 tensors come from torchvision:squeezenet1_1; " in done.err
    assert "start anew" in done.err
