"""Losses beside torch's, and the weights of classes, against figures made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_fixtures import metrics, photographs, refusal, same, spec, tensors

import shapecalc
from shapecalc.diagnostics import Fault, SpecError
from shapecalc.training import optim
from shapecalc.training.losses import class_weights

OUTPUT = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0], [0.0, 0.0]])
LABELS = torch.tensor([1, 1, 0])
CHANCES = (0.75, 0.2, 0.5)
"""Of the labels."""


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 5])
def test_focal_loss_by_hand(gamma: float) -> None:
    by_hand = [-((1 - p) ** gamma) * math.log(p) for p in CHANCES]
    found = optim.loss({"focal": {"gamma": gamma}})(OUTPUT, LABELS)
    assert float(found) == pytest.approx(sum(by_hand) / 3)
    if gamma == 0:
        assert float(found) == pytest.approx(float(nn.CrossEntropyLoss()(OUTPUT, LABELS)))


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_loss_has_a_slope_where_an_answer_is_perfect(gamma: float) -> None:
    output = torch.tensor([[200.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = optim.loss({"focal": {"gamma": gamma}})(output, torch.tensor([0, 1]))
    loss.backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_focal_is_2_by_default_and_refuses_less_than_0() -> None:
    by_hand = [-((1 - p) ** 2) * math.log(p) for p in CHANCES]
    assert float(optim.loss("focal")(OUTPUT, LABELS)) == pytest.approx(sum(by_hand) / 3)
    with pytest.raises(Fault, match="gamma of focal is to be at least 0, not -1"):
        optim.loss({"focal": {"gamma": -1}})


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "focal", "nll", {"cross_entropy": {"label_smoothing": 0.1}}]
)
def test_each_loss_is_multiplied_by_the_weight_of_its_class(loss: Any) -> None:
    output, weights = OUTPUT.log_softmax(1), (3.0, 0.5)
    each = [optim.loss(loss)(output[i : i + 1], LABELS[i : i + 1]) for i in range(3)]
    by_hand = (0.5 * each[0] + 0.5 * each[1] + 3 * each[2]) / 3
    torch.testing.assert_close(optim.loss(loss, weights)(output, LABELS), by_hand)


def test_balanced_weights_make_up_for_unequal_classes() -> None:
    labels = [0] * 6 + [1] * 3 + [2]
    found = class_weights("balanced", ("a", "b", "c"), labels)
    assert found == pytest.approx((10 / 18, 10 / 9, 10 / 3))
    assert found is not None
    assert sum(found[label] for label in labels) / 10 == pytest.approx(1)
    assert class_weights((1, 2, 3), ("a", "b", "c"), labels) == (1, 2, 3)
    assert class_weights(None, ("a", "b", "c"), labels) is None


def test_weights_for_another_number_of_classes_are_refused(data: Path, tmp_path: Path) -> None:
    given = spec(data, class_weights=[1, 2])
    found = refusal(SpecError, lambda: shapecalc.train(given, out=tmp_path / "run"), "E501")
    assert found.message == "class_weights has 2 weights, but the data has 3 classes"
    assert found.help == "give one for each, in this order: blue, green, red; or write balanced"
    assert found.place is not None
    assert "class_weights" in found.place.text


def unequal(root: Path) -> Path:
    """12 blue pictures to 2 red ones for training."""
    data = photographs(root, ["blue", "red"], splits={"train": 12, "valid": 4})
    for path in sorted((root / "train" / "red").iterdir())[2:]:
        path.unlink()
    return data


def test_weights_count_in_training_and_not_in_validation(tmp_path: Path) -> None:
    """A network that stays as it is, whose losses are known: so are their weighted sums."""
    data = unequal(tmp_path / "data")
    still: dict[str, Any] = {
        "optimizer": {"sgd": {"lr": 1e-9}},
        "epochs": 1,
        "accumulate": 2,
        "layers": ("flatten", "linear: ${classes}"),
    }
    runs = {}
    for name, weights in (("none", None), ("blue", [2, 1e-9]), ("red", [1e-9, 2])):
        shapecalc.train(spec(data, **still, class_weights=weights), out=tmp_path / name)
        runs[name] = metrics(tmp_path / name)[0]
    total = (runs["blue"]["train_loss"] + runs["red"]["train_loss"]) / 2
    assert total == pytest.approx(runs["none"]["train_loss"], rel=1e-5)
    assert runs["blue"]["train_loss"] > 1.5 * runs["red"]["train_loss"]
    for run in runs.values():
        assert run["valid_loss"] == pytest.approx(runs["none"]["valid_loss"], rel=1e-5)


def test_balanced_training_is_training_with_the_weights_by_hand(tmp_path: Path) -> None:
    data = unequal(tmp_path / "data")
    for name, weights in (("word", "balanced"), ("hand", [14 / 24, 14 / 4]), ("none", None)):
        shapecalc.train(spec(data, class_weights=weights), out=tmp_path / name)
    assert same(tensors(tmp_path / "word"), tensors(tmp_path / "hand"))
    assert not same(tensors(tmp_path / "word"), tensors(tmp_path / "none"))
