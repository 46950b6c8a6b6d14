"""Training from a spec and pictures to a run: what it learns, what it leaves, when it stops."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_fixtures import (
    FILES,
    HEAD,
    PLAIN,
    Ear,
    Learned,
    metrics,
    photographs,
    refusal,
    same,
    same_run,
    spec,
    tensors,
)

import shapecalc
from shapecalc.diagnostics import RunError, SpecError

NOTHING_BY_CHANCE = (*PLAIN, HEAD)


@pytest.fixture(scope="session")
def data(learned: Learned) -> Path:
    """Eight and four pictures of each of three colours."""
    return learned.data


def start(path: Path, layers: tuple[str, ...] = NOTHING_BY_CHANCE) -> str:
    """A file of weights to start from."""
    torch.manual_seed(11)
    given = spec(None, layers=layers, params="{classes: 3}")
    save_file(shapecalc.build(given).state_dict(), path)
    return str(path)


def test_a_network_learns_colours(learned: Learned) -> None:
    assert learned.run.classes == ("blue", "green", "red")
    rows = metrics(learned.folder)
    assert max(row["valid_accuracy"] for row in rows) >= 0.99
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_a_run_folder_holds_all_of_the_run(learned: Learned) -> None:
    assert {path.name for path in learned.folder.iterdir()} == FILES
    for name in ("curves.svg", "confusion.svg"):
        assert ElementTree.parse(learned.folder / name).getroot().tag.endswith("svg")
    lines = (learned.folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert list(row) == [
            "epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr",
            "seconds", "images_per_second",
        ]  # fmt: skip
        assert row["seconds"] > 0
        assert row["images_per_second"] == pytest.approx(24 / row["seconds"], rel=0.05)
    assert rows == learned.ear.epochs


def test_the_stored_spec_is_resolved_and_reads_back(learned: Learned) -> None:
    stored = shapecalc.load(learned.folder / "spec.yaml")
    assert stored.params == {"classes": 3}
    assert stored.train["data"] == {"folder": str(learned.data.absolute())}
    assert stored.recipe().schedule == "one_cycle"
    assert shapecalc.trace(stored).output_shape == (3,)
    assert learned.run.spec.to_yaml() == stored.to_yaml()


def test_the_best_weights_are_those_of_the_first_best_epoch(learned: Learned) -> None:
    rows = metrics(learned.folder)
    best = max(rows, key=lambda row: row["valid_accuracy"])
    assert learned.run.epoch == best["epoch"]
    assert learned.run.path == learned.folder / "best.safetensors"
    assert same(learned.run.model.state_dict(), tensors(learned.folder, "best"))
    assert not learned.run.model.training


def test_a_reporter_hears_each_stage_in_order(learned: Learned) -> None:
    epochs = [task for number in range(1, 5) for task in (f"epoch {number}/4", "validating")]
    stages = ["decoding images", "decoding images", *epochs, "evaluating"]
    assert learned.ear.begun == stages
    assert learned.ear.start == (learned.folder, 0)
    assert "training on cpu in fp32 (as set)" in learned.ear.notes


@pytest.mark.parametrize("name", ["Fußball", "a folder: [with] 'quotes' # and signs"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = photographs(tmp_path / name, ["blue", "red"], splits={"train": 2, "valid": 1})
    shapecalc.train(spec(root, epochs=1), out=tmp_path / "run")
    stored = shapecalc.load(tmp_path / "run" / "spec.yaml")
    assert stored.train["data"] == {"folder": str(root)}
    _, samples = shapecalc.load_run(tmp_path / "run").evaluate()
    assert samples.root == root / "valid" or samples.root == root


def test_runs_are_numbered(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        run = shapecalc.train(spec(data, epochs=1))
        assert run.path == Path(f"runs/tiny-{number}/best.safetensors")
        assert run.path.is_file()


def test_a_folder_that_is_not_empty_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    found = refusal(RunError, lambda: shapecalc.train(spec(data), out=tmp_path), "E503")
    assert found.message == f"{tmp_path} is not empty"
    assert found.help.endswith(f"--resume {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_seed_decides_everything(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "augment": ["random_horizontal_flip", {"random_rotation": {"degrees": 20}}],
        "schedule": "one_cycle",
    }
    for name, extra in {"a": {}, "b": {"workers": 2}, "c": {"seed": 1}}.items():
        torch.manual_seed(len(name))
        shapecalc.train(spec(data, **settings, **extra), out=tmp_path / name)
    shapecalc.train(spec(data, **settings), out=tmp_path / "again")
    assert same_run(tmp_path / "a", tmp_path / "again")
    assert same_run(tmp_path / "a", tmp_path / "b")
    assert metrics(tmp_path / "a") != metrics(tmp_path / "c")
    assert not same(tensors(tmp_path / "a"), tensors(tmp_path / "c"))


@pytest.mark.parametrize("count", [8, 7], ids=["even", "ragged"])
def test_accumulated_batches_are_a_larger_batch(tmp_path: Path, count: int) -> None:
    """21 or 24 pictures in batches of 8; 21 leaves a short batch and a short step."""
    root = photographs(tmp_path / "data", splits={"train": count, "valid": 1})
    settings: dict[str, Any] = {
        "layers": NOTHING_BY_CHANCE,
        "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}},
        "init": start(tmp_path / "start.safetensors"),
    }
    small, large = tmp_path / "small", tmp_path / "large"
    shapecalc.train(spec(root, **settings, batch_size=4, accumulate=2), out=small)
    shapecalc.train(spec(root, **settings, batch_size=8), out=large)
    expected = tensors(large)
    for name, tensor in tensors(small).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
    assert metrics(small)[-1]["train_loss"] == pytest.approx(metrics(large)[-1]["train_loss"], 1e-4)


def test_a_step_that_the_epoch_cuts_short_is_a_whole_one(data: Path, tmp_path: Path) -> None:
    """24 pictures in 3 batches make one step, be it planned for 3 batches or for 5."""
    settings: dict[str, Any] = {
        "layers": NOTHING_BY_CHANCE,
        "optimizer": {"sgd": {"lr": 0.05}},
        "init": start(tmp_path / "start.safetensors"),
    }
    for accumulate in (3, 5):
        out = tmp_path / f"run-{accumulate}"
        shapecalc.train(spec(data, **settings, accumulate=accumulate), out=out)
    assert same_run(tmp_path / "run-3", tmp_path / "run-5")


def test_clipping_limits_a_step(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "layers": NOTHING_BY_CHANCE,
        "optimizer": {"sgd": {"lr": 1.0}},
        "init": start(tmp_path / "start.safetensors"),
        "schedule": {"constant": {"factor": 1.0}},
        "freeze": 0,
        "lr_decay": 1.0,
        "epochs": 1,
        "batch_size": 24,
    }
    before = load_file(settings["init"])
    steps = {}
    for limit in (None, 1e-3):
        out = tmp_path / f"run-{limit}"
        shapecalc.train(spec(data, **settings, clip_grad_norm=limit), out=out)
        after = tensors(out)
        squares = [(after[key] - before[key]).square().sum() for key in before]
        steps[limit] = math.sqrt(sum(map(float, squares)))
    assert steps[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert steps[None] > 0.1


def test_a_last_batch_of_one_is_left_out_of_batch_norm(tmp_path: Path) -> None:
    root = photographs(tmp_path / "data", splits={"train": 3, "valid": 1})  # 9 = 4 + 4 + 1
    normed = ("conv: {out_channels: 4, kernel_size: 3}", "flatten", "batch_norm", HEAD)
    for accumulate in (1, 2, 3):
        out = tmp_path / f"run-{accumulate}"
        given = spec(root, layers=normed, batch_size=4, accumulate=accumulate, schedule="one_cycle")
        shapecalc.train(given, out=out)
        assert all(math.isfinite(row["train_loss"]) for row in metrics(out))


def test_gradients_of_a_dropped_batch_do_not_reach_the_next_epoch(tmp_path: Path) -> None:
    """9 pictures as 4 + 4 + 1, with steps of four batches: the step ends with the epoch."""
    root = photographs(tmp_path / "data", splits={"train": 3, "valid": 1})
    normed = ("conv: {out_channels: 4, kernel_size: 3}", "flatten", "batch_norm", HEAD)
    given = spec(root, layers=normed, batch_size=4, accumulate=4, epochs=1, schedule="one_cycle")
    shapecalc.train(given, out=tmp_path / "run")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert {float(entry["step"]) for entry in state["optimizer"]["state"].values()} == {1.0}


def test_training_stops_early(data: Path, tmp_path: Path) -> None:
    ear = Ear()
    given = spec(data, epochs=30, early_stop=2, optimizer={"sgd": {"lr": 1e-12}})
    shapecalc.train(given, out=tmp_path / "run", reporter=ear)
    assert [row["epoch"] for row in ear.epochs] == [1, 2, 3]
    assert "no epoch was better than 1: stopped early" in ear.notes


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains(data: Path, tmp_path: Path, precision: str) -> None:
    given = spec(data, precision=precision, epochs=3, clip_grad_norm=1.0, layers=NOTHING_BY_CHANCE)
    run = shapecalc.train(given, out=tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert all(math.isfinite(row["train_loss"]) for row in rows)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


def test_a_loss_that_is_no_number_stops_training(data: Path, tmp_path: Path) -> None:
    given = spec(data, optimizer={"sgd": {"lr": 1e30}}, layers=NOTHING_BY_CHANCE)
    found = refusal(RunError, lambda: shapecalc.train(given, out=tmp_path / "run"), "E504")
    assert "in epoch 1, batch 2; nothing is saved" in found.message
    assert "lower the learning rate (now 1e+30)" in found.help
    names = {path.name for path in (tmp_path / "run").iterdir() if path.suffix != ".jsonl"}
    assert names == {"spec.yaml", "machine.json"}


def test_the_weights_before_a_fatal_step_are_kept(data: Path, tmp_path: Path) -> None:
    """An epoch is one batch: its fatal step shows in validation, before anything is saved."""
    settings: dict[str, Any] = {"batch_size": 24, "layers": NOTHING_BY_CHANCE}
    schedule = {"step": {"step_size": 1, "gamma": 1e35}}
    given = spec(data, **settings, epochs=4, optimizer={"sgd": {"lr": 1e-3}}, schedule=schedule)
    found = refusal(RunError, lambda: shapecalc.train(given, out=tmp_path / "run"), "E504")
    assert "epoch 2" in found.message
    assert "what was saved after epoch 1 is kept" in found.message
    kept = tensors(tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in kept.values())
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1]
    assert shapecalc.load_run(tmp_path / "run").epoch == 1


@pytest.mark.parametrize(
    ("settings", "line", "message"),
    [
        ({"optimizer": "adamv"}, "optimizer", "torch has no optimizer called 'adamv'"),
        ({"loss": "cross_entrpy"}, "loss", "torch has no loss called 'cross_entrpy'"),
        ({"schedule": "one_cicle"}, "schedule", "torch has no schedule called 'one_cicle'"),
        ({"init": {"kaiming_norml": {}}}, "init", "torch has no init called 'kaiming_norml'"),
        ({"augment": ["random_flip"]}, "augment", "there is no augmentation random_flip"),
    ],
)
def test_a_setting_that_is_refused_leaves_no_run(
    data: Path, tmp_path: Path, settings: dict[str, Any], line: str, message: str
) -> None:
    found = refusal(
        SpecError, lambda: shapecalc.train(spec(data, **settings), out=tmp_path / "run"), "E501"
    )
    assert found.message == message
    assert found.help.startswith("did you mean ")
    assert found.place is not None
    assert found.place.text.startswith(f"  {line}: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_a_loss_must_be_a_mean(data: Path, tmp_path: Path, reduction: str) -> None:
    given = spec(data, loss={"cross_entropy": {"reduction": reduction}})
    found = refusal(SpecError, lambda: shapecalc.train(given, out=tmp_path / "run"), "E501")
    assert "reduction" in found.message
    assert found.place is not None
    assert found.place.text.startswith("  loss: ")


@pytest.mark.parametrize("loss", ["cross_entropy", "nll", "multi_margin"])
def test_losses_by_name(data: Path, tmp_path: Path, loss: str) -> None:
    layers = (*NOTHING_BY_CHANCE, "log_softmax") if loss == "nll" else NOTHING_BY_CHANCE
    shapecalc.train(spec(data, loss=loss, layers=layers, epochs=3), out=tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
