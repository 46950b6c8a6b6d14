"""What keys of the recipe change, by hand: one step in plain torch, and the averages of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from training_fixtures import HEAD, PLAIN, Learned, metrics, photographs, spec, state, tensors

import shapecalc
from shapecalc.training.data import find_data
from shapecalc.training.images import Resize

LAYERS = (*PLAIN, HEAD)
COUNT = 24
"""Pictures to train on, all in one batch here."""


@pytest.fixture(scope="session")
def data(learned: Learned) -> Path:
    return learned.data


def network() -> nn.Module:
    """That of every test here, with weights of its own."""
    torch.manual_seed(11)
    return shapecalc.build(spec(None, layers=LAYERS, params="{classes: 3}"))


def recipe(data: Path, tmp_path: Path, **settings: Any) -> Any:
    """All pictures in one step of plain SGD, from the weights of `network`."""
    start = tmp_path / "start.safetensors"
    save_file(network().state_dict(), start)
    plain = {
        "init": str(start),
        "freeze": 0,
        "lr_decay": 1.0,
        "schedule": {"constant": {"factor": 1.0}},
        "optimizer": {"sgd": {"lr": 0.1}},
        "batch_size": COUNT,
        "epochs": 1,
        "normalize": {"mean": [0.0] * 3, "std": [1.0] * 3},
    }
    return spec(data, layers=LAYERS, params="{classes: 3}", **(plain | settings))


def pictures(data: Path, resize: Resize = "squish") -> tuple[Tensor, Tensor]:
    """The training pictures from 0 to 1, and their labels."""
    given = spec(data, layers=LAYERS).recipe()
    samples = find_data(given.data, input_shape=(3, 16, 16), resize=resize, seed=0).train
    return samples.fetch(range(COUNT)) / 255, torch.tensor(samples.labels)


def stepped(pixels: Tensor, labels: Tensor, **smoothing: float) -> tuple[float, dict[str, Tensor]]:
    """The loss of the first step, and the weights after it."""
    model = network()
    loss = functional.cross_entropy(model(pixels), labels, **smoothing)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return float(loss.detach()), model.state_dict()


def expect(folder: Path, loss: float, weights: dict[str, Tensor]) -> None:
    assert metrics(folder)[0]["train_loss"] == pytest.approx(loss, rel=1e-5)
    found = tensors(folder)
    for name, tensor in weights.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_step_is_that_of_plain_torch(data: Path, tmp_path: Path) -> None:
    shapecalc.train(recipe(data, tmp_path), out=tmp_path / "run")
    expect(tmp_path / "run", *stepped(*pictures(data)))


def test_label_smoothing_is_in_the_loss_and_its_gradient(data: Path, tmp_path: Path) -> None:
    given = recipe(data, tmp_path, loss={"cross_entropy": {"label_smoothing": 0.3}})
    shapecalc.train(given, out=tmp_path / "run")
    pixels, labels = pictures(data)
    plain, smoothed = stepped(pixels, labels), stepped(pixels, labels, label_smoothing=0.3)
    assert smoothed[0] != pytest.approx(plain[0], rel=1e-3)
    expect(tmp_path / "run", *smoothed)


@pytest.mark.parametrize("setting", ["measured", "imagenet", {"mean": [0.2] * 3, "std": [0.7] * 3}])
def test_pixels_are_normalised(data: Path, tmp_path: Path, setting: Any) -> None:
    shapecalc.train(recipe(data, tmp_path, normalize=setting), out=tmp_path / "run")
    pixels, labels = pictures(data)
    mean, std = [0.2] * 3, [0.7] * 3
    if setting == "imagenet":
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if setting == "measured":  # rounded to 4 digits
        std, mean = (
            [round(v, 4) for v in t.tolist()]
            for t in torch.std_mean(pixels.double(), dim=(0, 2, 3), correction=0)
        )
    scaled = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    expect(tmp_path / "run", *stepped(scaled, labels))


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
def test_pictures_come_to_size_as_asked(tmp_path: Path, resize: Resize) -> None:
    root = photographs(tmp_path / "data", size=(20, 31))
    shapecalc.train(recipe(root, tmp_path, resize=resize), out=tmp_path / "run")
    expect(tmp_path / "run", *stepped(*pictures(root, resize)))


@pytest.mark.parametrize(("batch_size", "steps"), [(24, 2), (8, 6), (7, 8)])
def test_an_epoch_has_a_step_for_each_batch(
    data: Path, tmp_path: Path, batch_size: int, steps: int
) -> None:
    adam = {"adamw": {"lr": 0.001}}
    given = recipe(data, tmp_path, batch_size=batch_size, epochs=2, optimizer=adam)
    shapecalc.train(given, out=tmp_path / "run")
    kept = state(tmp_path / "run")["optimizer"]["state"].values()
    assert {float(of["step"]) for of in kept} == {steps}


def test_what_is_kept_is_the_moving_average(data: Path, tmp_path: Path) -> None:
    """A step an epoch, at one rate: the weights after each are the end of a shorter run."""
    decay, after = 0.3, []
    for epochs in range(1, 6):
        shapecalc.train(recipe(data, tmp_path, epochs=epochs), out=tmp_path / str(epochs))
        after.append(tensors(tmp_path / str(epochs)))
    shapecalc.train(recipe(data, tmp_path, epochs=5, ema=decay), out=tmp_path / "run")
    average = network().state_dict()
    for step, weights in enumerate(after):
        old = min(decay, (1 + step) / (10 + step))
        average = {k: old * average[k] + (1 - old) * weights[k] for k in average}
    found = tensors(tmp_path / "run")
    for name, tensor in average.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7)
    assert any(not torch.allclose(found[k], after[-1][k], rtol=1e-3) for k in found)
    alone, averaged = metrics(tmp_path / "5"), metrics(tmp_path / "run")
    assert [row["train_loss"] for row in averaged] == [row["train_loss"] for row in alone]
    assert averaged[-1]["valid_loss"] != alone[-1]["valid_loss"]


def test_convolutions_and_products_run_in_the_precision(data: Path, tmp_path: Path) -> None:
    pixels, labels = pictures(data)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        output = network()(pixels).float()
    lowered = float(functional.cross_entropy(output, labels))
    given = recipe(data, tmp_path, precision="bf16", rewrites=[])
    shapecalc.train(given, out=tmp_path / "run")
    assert metrics(tmp_path / "run")[0]["train_loss"] == pytest.approx(lowered, rel=1e-5)
    assert lowered != pytest.approx(stepped(pixels, labels)[0], rel=1e-5)


def test_as_many_epochs_as_asked(data: Path, tmp_path: Path) -> None:
    shapecalc.train(recipe(data, tmp_path, epochs=3), out=tmp_path / "run")
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1, 2, 3]
