"""What a kill, a full disk or a bad disk leaves of a run, and how it goes on from there."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from training_fixtures import (
    FILES,
    HEAD,
    Ear,
    Stop,
    differences,
    leave,
    metrics,
    photographs,
    refusal,
    same_run,
    spec,
    state,
    tensors,
)

import shapecalc
from shapecalc.diagnostics import RunError
from shapecalc.training import checkpoint, saved
from shapecalc.training.checkpoint import load_state

SETTINGS: dict[str, Any] = {
    "layers": ("flatten", "linear: 24", "relu", "dropout: 0.3", HEAD),
    "schedule": "one_cycle",
    "ema": 0.9,
    "epochs": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shapecalc.train(spec(data, **SETTINGS), out=folder)
    return folder


@pytest.fixture(scope="module")
def half(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, left in its second epoch; the state before is that of the first."""
    folder = tmp_path_factory.mktemp("half") / "run"
    leave(spec(data, **SETTINGS), folder, 2, batch=1)
    assert load_state(folder / "state.pt")["part"]["steps"] == 1
    assert load_state(folder / "state.1.pt")["part"] is None
    return folder


@pytest.fixture
def run(half: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(half, tmp_path / "run"))


def end(run: Path, whole: Path) -> Ear:
    """Resume; it must come to the end of the whole run."""
    ear = Ear()
    shapecalc.resume(run, reporter=ear)
    assert not differences(state(whole), state(run))
    assert same_run(whole, run)
    assert {path.name for path in run.iterdir()} == FILES
    return ear


def damages(file: bytes) -> Iterator[bytes]:
    """Cut off, and with a bit flipped, at each 4 KiB."""
    for position in range(0, len(file), 4096):
        yield file[:position]
        flipped = bytearray(file)
        flipped[position + position // 4096 % 100] ^= 1 << position // 4096 % 8
        yield bytes(flipped)


def test_a_damaged_state_is_noticed_wherever_it_is(run: Path) -> None:
    """The one before is taken, and that is said."""
    path = run / "state.pt"
    kept = {name: (run / name).read_bytes() for name in ("state.pt", "state.1.pt")}
    count = 0
    for damaged in damages(kept["state.pt"]):
        (run / "state.1.pt").write_bytes(kept["state.1.pt"])
        path.write_bytes(damaged)
        ear = Ear()
        found = saved.newest(run, ear)
        assert found is not None
        assert len(found["metrics"]) == 1
        assert found["part"] is None
        (note,) = ear.notes
        assert note.startswith(f"{path} ")
        assert note.endswith(": the one before is taken in its place")
        assert path.read_bytes() == kept["state.1.pt"]
        count += 1
    assert count >= 50


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_run_goes_on_from_the_state_before(run: Path, whole: Path, how: str) -> None:
    path = run / "state.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content if how == "flipped" else content[:-4096])
    ear = end(run, whole)
    assert f"going on with {run} after epoch 1 of 2" in ear.notes
    why = {
        "cut": "",
        "flipped": "is damaged: its checksum is another than when it was written",
        "gone": "cannot be read: there is no such file",
    }
    (told,) = (n for n in ear.notes if n.endswith(": the one before is taken in its place"))
    assert told.startswith(f"{path} {why[how]}")


def test_where_both_states_are_damaged_both_are_told(run: Path) -> None:
    for name in ("state.pt", "state.1.pt"):
        (run / name).write_bytes(b"")
    with pytest.raises(RunError) as caught:
        shapecalc.resume(run)
    assert [d.message.split(" ")[0] for d in caught.value.diagnostics] == [
        str(run / "state.pt"),
        str(run / "state.1.pt"),
    ]


def test_a_state_of_another_version_is_not_passed_over(run: Path) -> None:
    torch.save({"version": 99}, run / "state.pt")
    before = (run / "state.pt").read_bytes()
    found = refusal(RunError, lambda: shapecalc.resume(run), "E502")
    assert found.message.endswith("is of version 99, and this is version 2")
    assert (run / "state.pt").read_bytes() == before


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("before", [True, False], ids=["one before", "alone"])
def test_a_pickle_is_not_run_for_its_checksum(
    run: Path, whole: Path, tmp_path: Path, before: bool
) -> None:
    """A file that does harm can have a checksum that is right."""
    checkpoint.save_state(run / "state.pt", {"harm": Canary(tmp_path / "canary")})
    assert checkpoint._is_sealed(run / "state.pt")
    if before:
        shutil.copy(whole / "state.1.pt", run / "state.1.pt")
        assert "something other than tensors and plain values" in end(run, whole).said
    else:
        (run / "state.1.pt").unlink()
        found = refusal(RunError, lambda: shapecalc.resume(run), "E502")
        assert "something other than tensors and plain values" in found.message
    (run / "state.pt").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    assert not (tmp_path / "canary").exists()


def test_what_a_killed_process_has_half_written_is_removed(run: Path, whole: Path) -> None:
    for name in ("state.pt.123", "best.safetensors.9", "curves.svg.77.partial", "metrics.jsonl.1"):
        (run / f".{name}").write_bytes(b"half")
    end(run, whole)


@pytest.mark.parametrize(
    "lost",
    [
        ("metrics.jsonl",),
        ("best.safetensors", "metrics.jsonl"),
        ("last.safetensors",),
        ("confusion.svg",),
        ("best.safetensors", "last.safetensors", "confusion.svg", "curves.svg", "metrics.jsonl"),
    ],
    ids=" ".join,
)
def test_the_state_alone_brings_back_all_else(
    whole: Path, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    """Of a finished run, where a kill came between the state and the other files."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in lost:
        (run / name).unlink()
    ear = Ear()
    shapecalc.resume(run, reporter=ear)
    assert ear.notes == [f"{run} is finished: 2 epochs of 2 are done"]
    for name in FILES:
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_files_that_are_ahead_of_the_state_are_taken_back(
    run: Path, whole: Path, data: Path
) -> None:
    """The state is from before the first epoch ended, and the others from after the last."""
    for name in FILES - {"state.pt", "state.1.pt"}:
        shutil.copy(whole / name, run / name)
    (run / "state.pt").unlink()
    (run / "state.1.pt").unlink()
    first = run.parent / "first"
    leave(spec(data, **SETTINGS), first, 1, batch=1)
    shutil.copy(first / "state.pt", run / "state.pt")
    with pytest.raises(KeyboardInterrupt):
        shapecalc.resume(run, reporter=Stop(0, batch=2))
    assert metrics(run) == []
    with pytest.raises(KeyboardInterrupt):
        shapecalc.resume(run, reporter=Stop(1))
    assert shapecalc.load_run(run).epoch == 1
    end(run, whole)


@pytest.mark.parametrize("call", range(1, 11))
@pytest.mark.parametrize("how", ["full disk", "kill"])
def test_each_write_may_fail(
    data: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
    how: str,
) -> None:
    """At each renaming of a file: the disk is full, or nothing more is done at all."""
    run, real, count = tmp_path / "run", os.replace, 0

    def fail(*words: Any) -> None:
        nonlocal count
        count += 1
        if count == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if count > call and how == "kill":
            raise KeyboardInterrupt
        real(*words)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        error = KeyboardInterrupt if how == "kill" else RunError
        with pytest.raises((error, RunError)):
            shapecalc.train(spec(data, **SETTINGS), out=run)
    if call == 1:
        refusal(RunError, lambda: shapecalc.resume(run), "E502")  # no spec was written
        return
    for name in ("state.pt", "state.1.pt"):
        if (run / name).exists():
            load_state(run / name)
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    end(run, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class Fill(Ear):
    """Leaves no room on a disk from a moment on, for a while."""

    def __init__(self, disk: Path) -> None:
        super().__init__()
        self.ballast = disk / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        super().epoch(metrics)
        self.fill()


class FillForAStep(Fill):
    def epoch(self, metrics: Mapping[str, float]) -> None:
        Ear.epoch(self, metrics)

    def wants(self, done: int) -> bool:
        self.ballast.unlink(missing_ok=True)
        if done == 1 and self.begun[-1].startswith("epoch"):
            self.fill()
        return True


def test_a_disk_that_fills_up(small_disk: Path, data: Path, whole: Path) -> None:
    run, ear = small_disk / "run", Fill(small_disk)
    found = refusal(
        RunError, lambda: shapecalc.train(spec(data, **SETTINGS), out=run, reporter=ear), "E503"
    )
    assert found.message == f"{run / 'state.pt'} cannot be written: no space left on device"
    assert found.help == "what was saved before is whole; make room, then go on with --resume"
    assert len(load_state(run / "state.pt")["metrics"]) == 1
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    refusal(RunError, lambda: shapecalc.resume(run), "E503")  # there is no room for the lock's text
    ear.ballast.unlink()
    end(run, whole)


def test_a_disk_that_is_full_for_a_while_does_not_end_training(
    small_disk: Path, data: Path, whole: Path
) -> None:
    run, ear = small_disk / "run", FillForAStep(small_disk)
    shapecalc.train(spec(data, **SETTINGS, save_every=1), out=run, reporter=ear)
    lost = f"{run / 'state.pt'} cannot be written: no space left on device; going on without"
    assert ear.notes.count(lost) == 2
    assert metrics(run) == metrics(whole)
    assert not differences(tensors(run), tensors(whole))
