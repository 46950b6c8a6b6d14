"""Processes that share the weights (`parallel: fsdp`) train as one that has all of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torchrun import ended, process_of, start
from training_fixtures import HEAD, PLAIN, Ear, metrics, photographs, text

import shapecalc
from shapecalc.diagnostics import Fault
from shapecalc.language.recipe import Recipe
from shapecalc.training.device import Precision
from shapecalc.training.sharded import expect_shardable

SETTINGS = {
    "layers": (*PLAIN, "linear: 7", HEAD),
    "augment": ["random_horizontal_flip"],
    "clip_grad_norm": 1.0,
    "schedule": "one_cycle",
    "ema": 0.9,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 and 9 pictures, which two processes cannot share evenly."""
    return photographs(tmp_path_factory.mktemp("pictures"), splits={"train": 7, "valid": 3})


def test_each_step_is_that_of_one_process_and_files_are_whole(data: Path, tmp_path: Path) -> None:
    """An epoch is a step, so the metrics tell the loss of each; then one process goes on."""
    given = text(data, batch_size=21, epochs=20, parallel="fsdp", **SETTINGS)
    (tmp_path / "spec.yaml").write_text(given)
    shapecalc.train(shapecalc.loads(given), out=tmp_path / "one")
    said = ended(start("train", "spec.yaml", "--out", "two", at=tmp_path))
    assert said.code == 0, said.err
    assert "2 processes share each batch of 21 and the weights" in said.err
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == len(two) == 20
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, abs=1e-5, rel=0)
    ours, theirs = (load_file(tmp_path / run / "last.safetensors") for run in ("two", "one"))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4, msg=name)
    result, _ = shapecalc.load_run(tmp_path / "two").evaluate()
    assert result.count == 9
    ear = Ear()
    shapecalc.resume(tmp_path / "two", epochs=21, reporter=ear)
    assert "1 process in place of 2" in ear.said
    assert len(metrics(tmp_path / "two")) == 21


def test_batches_of_which_a_process_has_none(data: Path, tmp_path: Path) -> None:
    """21 pictures in batches of 4 leave one."""
    given = text(data, batch_size=4, epochs=2, parallel="fsdp", **SETTINGS)
    (tmp_path / "spec.yaml").write_text(given)
    shapecalc.train(shapecalc.loads(given), out=tmp_path / "one")
    said = ended(start("train", "spec.yaml", "--out", "two", at=tmp_path))
    assert said.code == 0, said.err
    for row, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert other == pytest.approx(row, abs=1e-5, rel=0)


def test_a_rank_that_is_killed_is_started_anew(data: Path, tmp_path: Path) -> None:
    given = text(data, batch_size=8, epochs=12, save_every=1, parallel="fsdp", **SETTINGS)
    (tmp_path / "spec.yaml").write_text(given)
    process = start("train", "spec.yaml", "--out", "run", at=tmp_path, restarts=1)
    told = tmp_path / "run" / "metrics.jsonl"
    while not told.exists() or len(told.read_text().splitlines()) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.kill(process_of(1, process.pid), signal.SIGKILL)
    said = ended(process)
    assert said.code == 0, said.err
    assert "going on with run after" in said.err
    assert len(metrics(tmp_path / "run")) == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile": True}, "parallel: fsdp does not go with compile: true"),
        ({"optimizer": "muon"}, "parallel: fsdp does not go with optimizer: muon"),
        ({"precision": "fp16"}, "parallel: fsdp does not go with precision: fp16"),
    ],
)
def test_what_does_not_go_together(
    settings: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.model_validate({"parallel": "fsdp", **settings})
    fp16 = torch.float16 if "precision" in settings else torch.float32
    expect_shardable(recipe, Precision("", fp16, ""))  # a process that is alone
    monkeypatch.setattr("shapecalc.training.sharded.world", lambda: 2)
    with pytest.raises(Fault, match=message):
        expect_shardable(recipe, Precision("", fp16, ""))
