"""A run that was stopped goes on to the same end, to the last bit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_fixtures import (
    FILES,
    HEAD,
    PLAIN,
    Ear,
    Learned,
    Leave,
    Stop,
    differences,
    leave,
    metrics,
    photographs,
    refusal,
    same_run,
    spec,
    state,
    text,
)

import shapecalc
from shapecalc.diagnostics import RunError, SpecError
from shapecalc.training import store
from shapecalc.training.stop import Stopped

BY_CHANCE: dict[str, Any] = {
    "layers": ("conv: {out_channels: 4, kernel_size: 3}", "batch_norm", "relu", "max_pool: 2",
               "flatten", "dropout: 0.3", HEAD),
    "augment": ["random_horizontal_flip", "random_vertical_flip"],
    "epochs": 3,
    "batch_size": 7,
    "clip_grad_norm": 1.0,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "one_cycle": {"schedule": {"one_cycle": {"max_lr": 0.02}}, "accumulate": 2},
    "cosine": {"schedule": "cosine_annealing", "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}},
    "plateau": {"schedule": {"reduce_lr_on_plateau": {"patience": 0, "threshold": 0.5}}},
    "none": {},
    "cyclic": {"schedule": {"cyclic": {"base_lr": 1e-3, "max_lr": 0.1, "step_size_up": 3}}},
    "early_stop": {"early_stop": 1, "epochs": 6, "optimizer": {"sgd": {"lr": 1e-9}}},
    "workers": {"workers": 2, "cache": "none", "augment": [{"random_rotation": {"degrees": 20}}]},
    "ema": {"ema": 0.9, "schedule": "one_cycle"},
    "mixed": {
        "augment": [
            "trivial_augment",
            {"random_erasing": {"p": 0.5}},
            {"mixup": {"alpha": 1.0}},
            {"cutmix": {"p": 0.8}},
        ],
        "ema": 0.9,
        "schedule": {"plateau": {"patience": 0, "threshold": 0.5}},
        "warmup": 1.4,
        "class_weights": "balanced",
        "loss": "focal",
        "clip_grad_norm": 1.0,
    },
    "warm cosine": {"schedule": "cosine", "warmup": 1.3, "accumulate": 2},
    "init": {"init": "kaiming_normal", "precision": "fp16", "optimizer": {"nadam": {"lr": 0.01}}},
}


def stopped(given: Any, out: Path, stop: Stop) -> None:
    with pytest.raises(KeyboardInterrupt):
        shapecalc.train(given, out=out, reporter=stop)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stopped_run_comes_to_the_same_end(data: Path, tmp_path: Path, name: str) -> None:
    given = spec(data, **{**BY_CHANCE, **SETTINGS[name]})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shapecalc.train(given, out=whole)
    stopped(given, parts, Stop(1))
    torch.manual_seed(len(name))
    ear = Ear()
    run = shapecalc.resume(parts, reporter=ear)
    assert not differences(state(whole), state(parts))
    assert same_run(whole, parts)
    assert run.epoch == shapecalc.load_run(whole).epoch
    assert {path.name for path in parts.iterdir()} == FILES
    assert ear.start == (parts, 1)
    assert f"going on with {parts} after epoch 1 of {given.recipe().epochs}" in ear.notes
    for picture in ("curves.svg", "confusion.svg"):
        assert (parts / picture).read_bytes() == (whole / picture).read_bytes()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_was_left_within_an_epoch_comes_to_the_same_end(
    data: Path, tmp_path: Path, name: str
) -> None:
    """Left in an epoch and again in its validation: after 2 of its 4 batches, and after all."""
    given = spec(data, **{**BY_CHANCE, **SETTINGS[name]})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shapecalc.train(given, out=whole)
    steps = 2 // SETTINGS[name].get("accumulate", 1)
    said = leave(given, parts, 2, batch=2)
    assert said == (
        f"stopped after step {steps} of epoch 2, and all is saved; "
        f"go on with shapecalc train --resume {parts}"
    )
    torch.manual_seed(len(name))
    ear = Leave(2)
    with pytest.raises(Stopped) as caught:
        shapecalc.resume(parts, reporter=ear, stop=ear.stop)
    assert f"after step {2 * steps} of epoch 2," in caught.value.said
    total = given.recipe().epochs
    assert f"going on with {parts} after step {steps} of epoch 2 of {total}" in ear.notes
    torch.manual_seed(len(name))
    shapecalc.resume(parts)
    assert not differences(state(whole), state(parts))
    assert same_run(whole, parts)
    for picture in ("curves.svg", "confusion.svg"):
        assert (parts / picture).read_bytes() == (whole / picture).read_bytes()


@pytest.mark.parametrize(
    ("first", "then"),
    [("memory", "memory"), ("disk", "disk"), ("memory", "none"), ("none", "disk")],
)
def test_where_pictures_are_held_changes_nothing_in_a_run_that_goes_on(
    data: Path, tmp_path: Path, first: str, then: str
) -> None:
    """Left within an epoch, and gone on with after the cache was cleared; the other run was never
    left, and decodes in every epoch."""
    rotated = {"random_rotation": {"degrees": 20}}
    settings = {**BY_CHANCE, "augment": ["random_horizontal_flip", rotated]}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shapecalc.train(spec(data, **settings, cache="none"), out=whole)
    leave(spec(data, **settings, cache=first), parts, 2, batch=2)
    store.clear()
    path = parts / "spec.yaml"
    path.write_text(path.read_text().replace(f"cache: {first}", f"cache: {then}"))
    assert shapecalc.load(path).recipe().cache == then
    ear = Ear()
    shapecalc.resume(parts, reporter=ear)
    assert ("decoding images" in ear.begun) == (then != "none")
    assert same_run(whole, parts)


@pytest.mark.parametrize(
    "stop",
    [Stop(0, batch=2), Stop(0, validating=True), Stop(1, batch=1), Stop(1, validating=True)],
    ids=["first epoch", "first validation", "second epoch", "second validation"],
)
def test_a_run_may_be_stopped_anywhere(data: Path, tmp_path: Path, stop: Stop) -> None:
    given = spec(data, **{**BY_CHANCE, "epochs": 2, "schedule": "one_cycle"})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shapecalc.train(given, out=whole)
    stopped(given, parts, stop)
    assert not [path for path in parts.iterdir() if path.name.startswith(".")]
    shapecalc.resume(parts)
    assert same_run(whole, parts)


def test_a_run_may_be_stopped_again_and_again(data: Path, tmp_path: Path) -> None:
    given = spec(data, **BY_CHANCE, schedule="one_cycle")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shapecalc.train(given, out=whole)
    stopped(given, parts, Stop(1))
    with pytest.raises(KeyboardInterrupt):
        shapecalc.resume(parts, reporter=Stop(1))
    assert len(metrics(parts)) == 2
    shapecalc.resume(parts)
    assert same_run(whole, parts)


def test_what_a_save_left_half_done_is_done_again(data: Path, tmp_path: Path) -> None:
    """All files of epoch 2 are there but for the state, with which an epoch counts as done."""
    given = spec(data, **{**BY_CHANCE, "epochs": 2})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    stopped(given, parts, Stop(1))
    first = (parts / "state.pt").read_bytes()
    shapecalc.resume(parts)
    shutil.copytree(parts, whole)
    (parts / "state.pt").write_bytes(first)
    (parts / ".state.pt.1").write_bytes(b"half")
    shapecalc.resume(parts)
    assert same_run(whole, parts)


def test_a_run_goes_on_from_elsewhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    given = spec(Path("data"), epochs=2)
    stopped(given, tmp_path / "parts", Stop(1))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").rename(tmp_path / "moved")
    shapecalc.resume("moved")
    assert [row["epoch"] for row in metrics(tmp_path / "moved")] == [1, 2]


def test_the_weights_it_began_with_are_not_needed_again(
    learned: Learned, data: Path, tmp_path: Path
) -> None:
    shutil.copy(learned.run.path, tmp_path / "start.safetensors")
    given = spec(data, epochs=2, init=str(tmp_path / "start.safetensors"))
    stopped(given, tmp_path / "run", Stop(1))
    (tmp_path / "start.safetensors").unlink()
    ear = Ear()
    shapecalc.resume(tmp_path / "run", reporter=ear)
    assert len(metrics(tmp_path / "run")) == 2
    assert "tensors come from" not in ear.said


def test_a_finished_run_has_nothing_to_do(learned: Learned, tmp_path: Path) -> None:
    shutil.copytree(learned.folder, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    ear = Ear()
    run = shapecalc.resume(tmp_path / "run", reporter=ear)
    assert ear.notes == [f"{tmp_path / 'run'} is finished: 4 epochs of 4 are done"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before
    assert run.epoch == learned.run.epoch
    shapecalc.resume(tmp_path / "run", epochs=2, reporter=ear)
    assert ear.notes[-1] == f"{tmp_path / 'run'} is finished: 4 epochs of 2 are done"


def test_a_run_that_stopped_early_stays_stopped(data: Path, tmp_path: Path) -> None:
    given = spec(data, early_stop=1, epochs=9, optimizer={"sgd": {"lr": 1e-9}})
    shapecalc.train(given, out=tmp_path / "run")
    before = metrics(tmp_path / "run")
    assert len(before) == 2
    ear = Ear()
    shapecalc.resume(tmp_path / "run", reporter=ear)
    assert metrics(tmp_path / "run") == before
    assert "stopped early" in ear.said


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (None, [0.1] * 4),
        ("cosine_annealing", [0.1, 0.0, 0.05, 0.014644660940672627]),
        ("polynomial", [0.1, 0.0, 0.05, 0.025]),
        ({"step": {"step_size": 1}}, [0.1, 0.01, 0.001, 0.0001]),
        ({"reduce_lr_on_plateau": {"patience": 0, "threshold": 0.9}}, [0.1, 0.1, 0.01, 0.001]),
    ],
    ids=["none", "cosine", "polynomial", "step", "plateau"],
)
def test_a_run_goes_on_to_more_epochs(
    data: Path, tmp_path: Path, schedule: Any, rates: list[float]
) -> None:
    """From 2 epochs to 4, on the schedule that 4 epochs have: at the third epoch half is done."""
    folder = tmp_path / "run"
    given = spec(data, schedule=schedule, epochs=2, optimizer={"sgd": {"lr": 0.1}})
    shapecalc.train(given, out=folder)
    ear = Ear()
    shapecalc.resume(folder, epochs=4, reporter=ear)
    assert "4 epochs in place of 2: the schedule is counted anew" in ear.notes
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    found = [row["lr"] for row in rows]
    assert found[2:] == pytest.approx(rates[2:])
    assert shapecalc.load(folder / "spec.yaml").recipe().epochs == 4
    shapecalc.resume(folder, reporter=ear)
    assert "4 epochs of 4 are done" in ear.notes[-1]


def test_one_cycle_goes_on_to_more_epochs(data: Path, tmp_path: Path) -> None:
    """The rates and the momentum from there on are those of a run planned so from the start."""
    short, long = tmp_path / "short", tmp_path / "long"
    settings: dict[str, Any] = {"schedule": "one_cycle", "optimizer": {"adamw": {"lr": 0.01}}}
    shapecalc.train(spec(data, **settings, epochs=2), out=short)
    shapecalc.resume(short, epochs=4)
    shapecalc.train(spec(data, **settings, epochs=4), out=long)
    rates = [[row["lr"] for row in metrics(folder)] for folder in (short, long)]
    assert rates[0][2:] == rates[1][2:]
    groups = [
        torch.load(folder / "state.pt", weights_only=True)["optimizer"]["param_groups"][0]
        for folder in (short, long)
    ]
    assert groups[0] == groups[1]


def test_other_classes_are_refused(tmp_path: Path) -> None:
    data = photographs(tmp_path / "data", ["blue", "red"], splits={"train": 3, "valid": 1})
    stopped(spec(data), tmp_path / "run", Stop(1))
    before = (tmp_path / "run" / "state.pt").read_bytes()
    for split in ("train", "valid"):
        (data / split / "red").rename(data / split / "pink")
    found = refusal(RunError, lambda: shapecalc.resume(tmp_path / "run"), "E503")
    assert found.message == (
        f"{tmp_path / 'run'} was trained on the classes blue, red, but {data} has blue, pink"
    )
    assert found.help == "give it the data it had, or start a new run"
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_another_network_is_refused(data: Path, tmp_path: Path) -> None:
    """The stored spec was edited by hand."""
    stopped(spec(data), tmp_path / "run", Stop(1))
    path = tmp_path / "run" / "spec.yaml"
    path.write_text(path.read_text().replace("out_channels: 4", "out_channels: 5"))
    before = (tmp_path / "run" / "state.pt").read_bytes()
    found = refusal(RunError, lambda: shapecalc.resume(tmp_path / "run"), "E503")
    assert found.message.startswith(f"{path} was edited since the run began: it had - conv: ")
    assert "out_channels: 4" in found.message
    assert "out_channels: 5" in found.message
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_another_optimizer_is_refused(data: Path, tmp_path: Path) -> None:
    stopped(spec(data, schedule="one_cycle"), tmp_path / "run", Stop(1))
    path = tmp_path / "run" / "spec.yaml"
    path.write_text(path.read_text().replace("adamw", "sgd"))
    found = refusal(RunError, lambda: shapecalc.resume(tmp_path / "run"), "E503")
    assert "adamw" in found.message
    assert "sgd" in found.message
    assert found.help.endswith(f"start a new run with it: shapecalc train {path}")


def test_moved_data_goes_on(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "here")
    stopped(spec(tmp_path / "here"), tmp_path / "run", Stop(1))
    (tmp_path / "here").rename(tmp_path / "there")
    path = tmp_path / "run" / "spec.yaml"
    path.write_text(path.read_text().replace("/here", "/there").replace("epochs: 2", "epochs: 3"))
    shapecalc.resume(tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 3


@pytest.mark.parametrize("what", ["nothing", "empty", "file"])
def test_what_is_no_run_is_refused(learned: Learned, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "runs" / "tiny-2"
    shutil.copytree(learned.folder, tmp_path / "runs" / "tiny-1")
    if what == "empty":
        folder.mkdir()
    elif what == "file":
        folder.write_text("")
    found = refusal(RunError, lambda: shapecalc.resume(folder), "E502")
    assert found.message.startswith(str(folder))
    assert found.help == f"runs there: {tmp_path / 'runs' / 'tiny-1'}"


def test_a_setting_that_no_longer_works_is_shown_in_the_stored_spec(
    data: Path, tmp_path: Path
) -> None:
    stopped(spec(data), tmp_path / "run", Stop(0, batch=1))
    path = tmp_path / "run" / "spec.yaml"
    path.write_text(path.read_text().replace("adamw", "adamv"))
    found = refusal(SpecError, lambda: shapecalc.resume(tmp_path / "run"), "E501")
    assert found.place is not None
    assert found.place.file == str(path)


def process(folder: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "shapecalc", "train", *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, lines: int, child: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not path.exists() or len(path.read_text().splitlines()) < lines:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


LONG: dict[str, Any] = {
    "layers": (*PLAIN, "dropout: 0.3", HEAD),
    "augment": ["random_horizontal_flip"],
    "schedule": "one_cycle",
    "epochs": 6,
    "batch_size": 4,
}


def test_a_killed_process_loses_at_most_an_epoch(data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(text(data, **LONG))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with process(tmp_path, "tiny.yaml", "--out", "parts") as child:
        wait_for(parts / "metrics.jsonl", 2, child)
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert 2 <= len(metrics(parts)) < 6
    shapecalc.resume(parts)
    shapecalc.train(shapecalc.load(tmp_path / "tiny.yaml"), out=whole)
    assert same_run(whole, parts)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_process_that_is_asked_to_stop_says_how_to_go_on(
    data: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    (tmp_path / "tiny.yaml").write_text(
        text(data, **{**LONG, "epochs": 2000, "workers": 1, "cache": "none"})
    )
    with process(tmp_path, "tiny.yaml", "--out", "run") as child:
        wait_for(tmp_path / "run" / "metrics.jsonl", 2, child)  # then the first is saved
        os.kill(child.pid, sent)
        out, err = child.communicate(timeout=60)
    assert child.returncode == code, (out, err)
    assert "Traceback" not in err
    done = len(metrics(tmp_path / "run"))
    last = err.strip().splitlines()[-1]
    place = re.fullmatch(
        r"stopped after (?:step \d of )?epoch (\d+), and all is saved; "
        r"go on with shapecalc train --resume run",
        last,
    )
    assert place
    assert abs(int(place[1]) - done) <= 1
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
