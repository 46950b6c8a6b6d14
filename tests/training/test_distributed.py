"""Several processes under torchrun train as one does; run with torch's own launcher."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torchrun import LAYERS, ended, process_of, start
from training_fixtures import HEAD, PLAIN, Ear, metrics, photographs, same_run, state, text

import shapecalc
from shapecalc.diagnostics import Fault
from shapecalc.language.recipe import Recipe
from shapecalc.training.device import choose_device, choose_precision
from shapecalc.training.launch import LAUNCH, Launch, begun_by, launch
from shapecalc.training.sharded import expect_shardable

PICTURES = {"train": 7, "valid": 3}
"""Of each of three classes: 21 and 9, which two processes cannot share evenly."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("pictures"), splits=PICTURES)


def until(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    while not path.exists() or len(path.read_text().splitlines()) < lines:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_each_step_is_that_of_one_process(data: Path, tmp_path: Path) -> None:
    """An epoch is a step here, so the metrics tell the loss of each; and batches of which one
    process has no sample: 21 pictures in batches of 4 leave one."""
    for name, size, epochs in (("steps", 21, 20), ("small", 4, 4)):
        given = text(
            data,
            layers=(*PLAIN, HEAD),
            batch_size=size,
            epochs=epochs,
            augment=["random_horizontal_flip"],
            clip_grad_norm=1.0,
            schedule="one_cycle",
        )
        (tmp_path / f"{name}.yaml").write_text(given)
        shapecalc.train(shapecalc.loads(given), out=tmp_path / name)
        said = ended(start("train", f"{name}.yaml", "--out", f"{name}-2", at=tmp_path))
        assert said.code == 0, said.err
        assert "2 processes share each batch of" in said.err
        assert said.out.count("the run is in") == 1  # the first alone tells
        assert (tmp_path / f"{name}-2" / "report.html").is_file()
        one, two = metrics(tmp_path / name), metrics(tmp_path / f"{name}-2")
        assert len(one) == len(two) == epochs
        for row, other in zip(one, two, strict=True):
            assert other == pytest.approx(row, abs=1e-5, rel=0)


def test_each_sample_is_counted_once(data: Path, tmp_path: Path) -> None:
    """9 pictures in batches of 4: shares of 2, and 1 with none; one process goes on with it."""
    given = text(data, layers=(*PLAIN, HEAD), batch_size=4, epochs=1)
    (tmp_path / "spec.yaml").write_text(given)
    said = ended(start("train", "spec.yaml", "--out", "run", at=tmp_path))
    assert said.code == 0, said.err
    saved = state(tmp_path / "run")
    assert saved["ranks"] == 2
    assert [sum(row) for row in saved["best"]["confusion"]] == [3, 3, 3]
    result, _ = shapecalc.load_run(tmp_path / "run").evaluate()
    assert result.confusion == saved["best"]["confusion"]
    assert result.loss == pytest.approx(saved["metrics"][0]["valid_loss"], abs=1e-6)
    ear = Ear()
    shapecalc.resume(tmp_path / "run", epochs=2, reporter=ear)
    assert "1 process in place of 2: a step still has 4 images" in ear.said
    assert len(metrics(tmp_path / "run")) == 2


@pytest.fixture(scope="module")
def shared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one process, `one`, and the same of two that share its weights,
    `two`. An epoch is a step."""
    root = tmp_path_factory.mktemp("shared")
    settings: dict[str, Any] = {"batch_size": 21, "epochs": 20, "ema": 0.9, "clip_grad_norm": 1.0}
    given = text(data, layers=(*PLAIN, HEAD), schedule="one_cycle", **settings)
    shapecalc.train(shapecalc.loads(given), out=root / "one")
    (root / "spec.yaml").write_text(given)
    shares = ("--set", "train.parallel=fsdp")
    said = ended(start("train", "spec.yaml", "--out", "two", *shares, at=root))
    assert said.code == 0, said.err
    assert "2 processes share each batch of 21 and the weights" in said.err
    return root


def test_shares_of_the_weights_learn_the_same_and_are_saved_whole(shared: Path) -> None:
    one, two = metrics(shared / "one"), metrics(shared / "two")
    assert len(one) == len(two) == 20
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, abs=1e-5, rel=0)
    saved, whole = state(shared / "two"), state(shared / "one")
    assert [sum(row) for row in saved["best"]["confusion"]] == [3, 3, 3]
    for name, tensor in whole["model"].items():
        assert torch.allclose(saved["model"][name], tensor, atol=1e-5)
        assert torch.allclose(saved["average"]["model"][name], whole["average"]["model"][name],
                              atol=1e-5)  # fmt: skip
    for index, kept in whole["optimizer"]["state"].items():
        for key, tensor in kept.items():
            assert torch.allclose(saved["optimizer"]["state"][index][key], tensor, atol=1e-5)
    assert shapecalc.load_run(shared / "two").evaluate()[0].count == 9


def test_a_run_goes_on_with_whole_weights_or_with_shares(shared: Path, tmp_path: Path) -> None:
    """One process goes on with what two have saved, and two with what one has."""
    for name in ("one", "two"):
        shutil.copytree(shared / name, tmp_path / name)
    shapecalc.resume(tmp_path / "two", epochs=22)
    path = tmp_path / "one" / "spec.yaml"
    path.write_text(re.sub("(?m)^train:", "train:\n  parallel: fsdp", path.read_text()))
    said = ended(start("train", "--resume", "one", "--epochs", "22", at=tmp_path))
    assert said.code == 0, said.err
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == len(two) == 22
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, abs=1e-5, rel=0)


def test_shares_are_saved_when_stopped_and_found_again_after_a_kill(
    data: Path, tmp_path: Path
) -> None:
    given = text(data, layers=LAYERS, batch_size=4, epochs=12, save_every=1, parallel="fsdp")
    (tmp_path / "spec.yaml").write_text(given)
    assert ended(start("train", "spec.yaml", "--out", "whole", at=tmp_path)).code == 0
    process = start("train", "spec.yaml", "--out", "stopped", at=tmp_path)
    until(tmp_path / "stopped" / "metrics.jsonl", 2, process)
    os.kill(process_of(1, process.pid), signal.SIGTERM)  # the others must hear of it
    said = ended(process)
    assert re.search(r"stopped after .*, and all is saved; go on with", said.err), said.err
    assert ended(start("train", "--resume", "stopped", at=tmp_path)).code == 0
    process = start("train", "spec.yaml", "--out", "killed", at=tmp_path, restarts=1)
    until(tmp_path / "killed" / "metrics.jsonl", 2, process)
    os.kill(process_of(1, process.pid), signal.SIGKILL)
    said = ended(process)
    assert said.code == 0, said.err
    assert "going on with killed after" in said.err
    for name in ("stopped", "killed"):
        assert same_run(tmp_path / "whole", tmp_path / name)


def test_batches_of_which_a_process_with_shares_has_none(data: Path, tmp_path: Path) -> None:
    """21 pictures in batches of 4 leave one."""
    given = text(data, layers=(*PLAIN, HEAD), batch_size=4, epochs=2, parallel="fsdp")
    (tmp_path / "spec.yaml").write_text(given)
    shapecalc.train(shapecalc.loads(given), out=tmp_path / "one")
    said = ended(start("train", "spec.yaml", "--out", "two", at=tmp_path))
    assert said.code == 0, said.err
    for row, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert other == pytest.approx(row, abs=1e-5, rel=0)


@pytest.mark.parametrize(
    ("setting", "help"),
    [
        ({"compile": True}, "leave compile out"),
        ({"freeze": 1}, "write freeze: 0"),
        ({"precision": "fp16"}, "write precision: bf16, or fp32"),
        ({"optimizer": "adafactor"}, "take another, such as adamw"),
    ],
)
def test_what_shares_do_not_go_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], help: str
) -> None:
    recipe = Recipe(parallel="fsdp", **setting)
    precision = choose_precision("fp16" if "precision" in setting else "fp32", torch.device("cpu"))
    expect_shardable(recipe, precision)  # one process has no shares
    monkeypatch.setattr("shapecalc.training.sharded.world", lambda: 2)
    with pytest.raises(Fault, match=f"parallel: fsdp does not go with {next(iter(setting))}") as e:
        expect_shardable(recipe, precision)
    assert e.value.argument == "parallel"
    assert e.value.help == f"{help}; or write parallel: ddp"


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec and a run of it that nothing has disturbed."""
    root = tmp_path_factory.mktemp("whole")
    given = text(data, layers=LAYERS, batch_size=8, epochs=12, ema=0.9, save_every=1)
    (root / "spec.yaml").write_text(given)
    said = ended(start("train", "spec.yaml", at=root))
    assert said.code == 0, said.err
    assert "batch_norm takes its statistics from the share of each" in said.err
    return root


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_is_started_anew_and_goes_on(whole: Path, rank: int) -> None:
    name = f"tiny-{rank + 2}"
    process = start("train", "spec.yaml", at=whole, restarts=1)
    until(whole / "runs" / name / "metrics.jsonl", 2, process)
    os.kill(process_of(rank, process.pid), signal.SIGKILL)
    said = ended(process)
    assert said.code == 0, said.err
    going_on = re.findall(r"going on with (\S+) after (?:epoch|step) (\d+)", said.err)
    assert [folder for folder, _ in going_on] == [f"runs/{name}"]
    assert same_run(whole / "runs" / "tiny-1", whole / "runs" / name)


def test_all_ranks_stop_at_a_loss_that_is_no_number(data: Path, tmp_path: Path) -> None:
    given = text(data, layers=(*PLAIN, HEAD), batch_size=8, optimizer={"sgd": {"lr": 1e30}})
    (tmp_path / "spec.yaml").write_text(given)
    said = ended(start("train", "spec.yaml", "--out", "run", at=tmp_path))
    assert said.code == 1
    assert said.err.count("error[E504]") == 1
    assert "batch 2" in said.err
    assert "shapecalc/training" not in said.err  # no traceback of ours


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What torchrun tells the second of two processes, after a restart."""
    told = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_PORT": 29500, "TORCHELASTIC_RESTART_COUNT": 1}
    for key, value in {**told, "MASTER_ADDR": "here", "TORCHELASTIC_RUN_ID": "abc"}.items():
        monkeypatch.setenv(key, str(value))
    return monkeypatch


def test_the_place_among_others(second: pytest.MonkeyPatch) -> None:
    assert launch() == Launch(1, 2, 1, 2, 1, "abc")
    second.setattr("torch.cuda.is_available", lambda: True)
    second.setattr("torch.cuda.device_count", lambda: 2)
    assert str(choose_device("auto")) == str(choose_device("cuda")) == "cuda:1"
    second.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(Fault, match="cuda"):
        choose_device("auto")
    second.setenv("TORCHELASTIC_RUN_ID", "none")
    assert str(os.getppid()) in launch().id
    second.delenv("RANK")
    assert launch() == Launch()


def test_a_launch_finds_its_own_run_alone(second: pytest.MonkeyPatch, tmp_path: Path) -> None:
    second.chdir(tmp_path)
    for name, id in (("runs/a", "other"), ("runs/b", "abc"), ("out", "other")):
        Path(name).mkdir(parents=True)
        (Path(name) / LAUNCH).write_text(id)
    assert begun_by(launch(), None) == Path("runs/b")
    assert begun_by(launch(), "out") is None
    assert begun_by(launch(), "runs/b") == Path("runs/b")
    second.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert begun_by(launch(), None) is None
