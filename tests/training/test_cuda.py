"""What training must keep to on a GPU; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_fixtures import NORMED, RECIPES, Ear, Learned, metrics, spec, tensors

import shapecalc

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def trained(learned: Learned, out: Path, device: str = "cuda", **settings: Any) -> Ear:
    ear = Ear()
    given = spec(
        learned.data, layers=NORMED, params="{classes: 3}", batch_size=7, epochs=12, **settings
    )
    shapecalc.train(given, out=out, device=device, reporter=ear)
    return ear


@pytest.mark.parametrize("name", RECIPES)
def test_graphs_learn_the_same(name: str, learned: Learned, tmp_path: Path) -> None:
    for graphs in (True, False):
        settings = {"cuda_graphs": graphs, "cache": "device", **RECIPES[name]}
        said = trained(learned, tmp_path / str(graphs), **settings).said
        assert "no graph can be made" not in said
        assert ("CUDA graph" in said) == graphs
    expected = tensors(tmp_path / "False")
    for key, tensor in tensors(tmp_path / "True").items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cache", ["device", "memory", "disk", "none"])
def test_pictures_come_from_everywhere(learned: Learned, tmp_path: Path, cache: str) -> None:
    trained(learned, tmp_path / "run", cache=cache)
    assert max(row["valid_accuracy"] for row in metrics(tmp_path / "run")) > 0.9


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_rewrites_change_nothing_but_rounding(
    learned: Learned, tmp_path: Path, precision: str
) -> None:
    for rewrites in ("auto", []):
        trained(learned, tmp_path / str(len(rewrites)), precision=precision, rewrites=rewrites)
    losses = [metrics(tmp_path / name)[0]["train_loss"] for name in ("4", "0")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3 if precision == "fp32" else 2e-2)


def test_it_learns_as_on_a_cpu(learned: Learned, tmp_path: Path) -> None:
    for device in ("cuda", "cpu"):
        given = spec(learned.data, layers=NORMED[:-2] + NORMED[-1:], params="{classes: 3}")
        shapecalc.train(given, out=tmp_path / device, device=device)
    losses = [metrics(tmp_path / device)[0]["train_loss"] for device in ("cuda", "cpu")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
