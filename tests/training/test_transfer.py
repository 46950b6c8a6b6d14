"""Training that starts from weights which have learned something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from training_fixtures import (
    Ear,
    PublishedWeights,
    metrics,
    photographs,
    same_run,
    spec,
    state,
    text,
)

import shapecalc
from shapecalc.diagnostics import SpecError
from shapecalc.training.run import stored_spec
from shapecalc.training.stop import Stop, Stopped

LAYERS = (
    *("conv: {out_channels: 8, kernel_size: 3}", "batch_norm", "relu", "max_pool: 2"),
    *("conv: {out_channels: 8, kernel_size: 3}", "batch_norm", "relu", "max_pool: 2"),
    *("flatten", "linear: ${classes}"),
)
BODY = tuple(f"layers.{number}." for number in (0, 1, 4, 5))


def stripes(root: Path, angles: dict[str, float], splits: dict[str, int], seed: int) -> Path:
    """Noisy stripes of any colour and place: their direction is the class."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:20, :20]
    for split, count in splits.items():
        for name, angle in angles.items():
            (root / split / name).mkdir(parents=True)
            along = rows * np.sin(np.radians(angle)) + columns * np.cos(np.radians(angle))
            for number in range(count):
                wave = np.sin(along * 1.3 + random.uniform(0, 6.28))[..., None]
                colour, other = random.uniform(0, 255, (2, 3))
                pixels = np.where(wave > 0, colour, other) + random.normal(0, 20, (20, 20, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(root / split / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three colours."""
    root = tmp_path_factory.mktemp("learned")
    data = photographs(root / "data", splits={"train": 16, "valid": 4})
    given = spec(data, layers=LAYERS, epochs=4, normalize={"mean": [0.4] * 3, "std": [0.3] * 3})
    shapecalc.train(given, out=root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few pictures of two classes, one of which the run has never seen."""
    root = tmp_path_factory.mktemp("other")
    return photographs(root, ("red", "yellow"), splits={"train": 4, "valid": 8}, seed=5)


def moved(other: Path, learned: Path, **settings: Any) -> Any:
    given = {"layers": LAYERS, "init": str(learned), "epochs": 3, **settings}
    return spec(other, **given)


def test_it_beats_the_same_epochs_from_scratch(tmp_path: Path) -> None:
    """Directions that it has never seen, of which there are few pictures."""
    known = {str(angle): angle for angle in range(0, 180, 30)}
    many = stripes(tmp_path / "many", known, {"train": 40, "valid": 4}, seed=0)
    few = stripes(tmp_path / "few", {"a": 15, "b": 75, "c": 135}, {"train": 8, "valid": 20}, seed=1)
    shapecalc.train(spec(many, layers=LAYERS, epochs=12), out=tmp_path / "learned")
    shapecalc.train(moved(few, tmp_path / "learned", epochs=6), out=tmp_path / "moved")
    shapecalc.train(spec(few, layers=LAYERS, epochs=6), out=tmp_path / "scratch")
    ours, theirs = (metrics(tmp_path / run)[-1] for run in ("moved", "scratch"))
    assert ours["valid_loss"] < theirs["valid_loss"] - 0.1
    assert ours["valid_accuracy"] > theirs["valid_accuracy"]


def test_what_is_taken_from_the_run(other: Path, learned: Path, tmp_path: Path) -> None:
    ear = Ear()
    shapecalc.train(moved(other, learned), out=tmp_path / "moved", reporter=ear)
    assert "14 of 16 tensors come from" in ear.said
    assert "layers.9.weight, layers.9.bias start anew" in ear.said
    assert (
        "as suits weights that have learned: resize: squish, normalize: mean 0.4, 0.4, 0.4; std "
        "0.3, 0.3, 0.3, schedule: one_cycle, freeze: 1, lr_decay: 0.5"
    ) in ear.notes
    assert stored_spec(tmp_path / "moved").recipe().freeze == 1


def test_a_head_for_other_classes_starts_anew(learned: Path, tmp_path: Path) -> None:
    """Though it has as many outputs; that for the same ones is taken."""
    other = photographs(tmp_path / "other", ("green", "red", "yellow"))
    same = photographs(tmp_path / "same")
    for data, note in (
        (other, "14 of 16 tensors come from {}; layers.9.weight, layers.9.bias start anew"),
        (same, "16 of 16 tensors come from {}"),
    ):
        ear = Ear()
        shapecalc.train(moved(data, learned), out=tmp_path / data.name / "run", reporter=ear)
        assert note.format(learned) in ear.notes


def test_what_the_spec_says_stays(other: Path, learned: Path, tmp_path: Path) -> None:
    own = {"freeze": 0, "lr_decay": 1.0, "schedule": "cosine", "resize": "pad", "epochs": 1}
    ear = Ear()
    given = moved(other, learned, normalize="measured", **own)
    shapecalc.train(given, out=tmp_path / "run", reporter=ear)
    assert "as suits" not in ear.said
    recipe = stored_spec(tmp_path / "run").recipe()
    assert (recipe.freeze, recipe.lr_decay, recipe.normalize) == (0, 1.0, "measured")
    drawn = spec(other, layers=LAYERS, epochs=1, init="kaiming_normal")
    shapecalc.train(drawn, out=tmp_path / "drawn", reporter=ear)
    assert "as suits" not in ear.said


def test_first_the_head_alone(other: Path, learned: Path, tmp_path: Path) -> None:
    """All else stays as it was to the last bit, the statistics of batch_norm included."""
    rates = {"epochs": 2, "schedule": {"constant": {"factor": 1.0}}}
    shapecalc.train(moved(other, learned, freeze=2, **rates), out=tmp_path / "head")
    shapecalc.train(moved(other, learned, freeze=1, **rates), out=tmp_path / "all")
    before = load_file(learned / "best.safetensors")
    head, every = (load_file(tmp_path / run / "last.safetensors") for run in ("head", "all"))
    for name, tensor in before.items():
        if name.startswith(BODY):
            assert torch.equal(head[name], tensor), name
            assert not torch.equal(every[name], tensor), name
    assert not torch.equal(head["layers.9.weight"], every["layers.9.weight"])


def test_earlier_layers_have_smaller_rates(other: Path, learned: Path, tmp_path: Path) -> None:
    given = moved(other, learned, lr_decay=0.5, schedule="cosine", freeze=0, epochs=1)
    shapecalc.train(given, out=tmp_path / "run")
    groups = state(tmp_path / "run")["optimizer"]["param_groups"]
    assert [group["initial_lr"] for group in groups] == [0.01 * 0.5**n for n in range(5)]
    assert [len(group["params"]) for group in groups] == [2] * 5  # the head, and 4 layers
    one_cycle = moved(other, learned, epochs=1)
    shapecalc.train(one_cycle, out=tmp_path / "cycle")
    groups = state(tmp_path / "cycle")["optimizer"]["param_groups"]
    assert [group["max_lr"] for group in groups] == [0.01 * 0.5**n for n in range(5)]


class After(Stop):
    """Asks for the end at the check of a number."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.ask(15)
        super().check()


@pytest.mark.parametrize("count", [4, 16, 25])
def test_it_goes_on_as_it_would_have(
    other: Path, learned: Path, tmp_path: Path, count: int
) -> None:
    given = moved(other, learned, batch_size=2, epochs=2, save_every=1)
    shapecalc.train(given, out=tmp_path / "whole")
    with pytest.raises(Stopped):
        shapecalc.train(given, out=tmp_path / "stopped", stop=After(count))
    shapecalc.resume(tmp_path / "stopped")
    assert same_run(tmp_path / "whole", tmp_path / "stopped")


def test_resnet50_of_torchvision(other: Path, tmp_path: Path, cache: PublishedWeights) -> None:
    """With random weights in the place of the published ones."""
    cache.give("resnet50", torchvision.models.ResNet50_Weights.IMAGENET1K_V2)
    ear = Ear()
    settings = {
        "train.init": "torchvision:ResNet50_Weights.IMAGENET1K_V2",
        "train.data": f"{{folder: {other}}}",
        "train.epochs": "1",
        "train.precision": "fp32",
        "input": "[3, 64, 64]",
    }
    network = Path(shapecalc.__file__).parent.parent / "specs/zoo/resnet.yaml@resnet50"
    run = shapecalc.train(shapecalc.load(network, settings), out=tmp_path / "run", reporter=ear)
    assert "the data has 2 classes: classes is 2 in place of 1000" in ear.notes
    assert "start anew" in ear.said
    assert run.classes == ("red", "yellow")
    assert run.preprocessing.resize == "crop"
    assert run.preprocessing.mean == (0.485, 0.456, 0.406)


def test_weights_that_torchvision_does_not_have(other: Path, learned: Path) -> None:
    given = text(other, layers=LAYERS, init="torchvision:resnet5")
    with pytest.raises(SpecError, match=r"E501.*torchvision has no weights called 'resnet5'"):
        shapecalc.train(shapecalc.loads(given))
