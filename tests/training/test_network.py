"""A run with its network rewritten is the run without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_fixtures import Ear, photographs, spec

import shapecalc

LAYERS = [
    {"conv": {"out_channels": 4, "kernel_size": 3}},
    {"conv": {"out_channels": 4, "kernel_size": 3}},
    "relu",
    {"max_pool": 2},
    {"conv": {"out_channels": 4, "kernel_size": 1}},
    "batch_norm",
    "flatten",
    {"linear": "${classes}"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("normalize", [None, "measured"])
def test_rewrites_change_nothing(data: Path, tmp_path: Path, normalize: str | None) -> None:
    given = {"layers": LAYERS, "normalize": normalize, "epochs": 2}
    given["optimizer"] = {
        "sgd": {"lr": 0.05}
    }  # adamw makes much of gradients that are rounding alone
    ear = Ear()
    made = shapecalc.train(spec(data, **given), out=tmp_path / "made", reporter=ear)
    assert "computes the same with less: " in ear.said
    plain = shapecalc.train(spec(data, rewrites=[], **given), out=tmp_path / "plain")
    for (name, a), (_, b) in zip(
        made.model.state_dict().items(), plain.model.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, msg=name)
    (one, _), (other, _) = (run.evaluate(split="valid") for run in (made, plain))
    assert one.loss == pytest.approx(other.loss, abs=1e-3)
