"""Several processes under torchrun train as one does; run with torch's own launcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from torchrun import LAYERS, ended, process_of, start
from training_fixtures import HEAD, PLAIN, Ear, metrics, photographs, same_run, state, text

import shapecalc
from shapecalc.diagnostics import Fault
from shapecalc.training.device import choose_device
from shapecalc.training.launch import LAUNCH, Launch, begun_by, launch

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
