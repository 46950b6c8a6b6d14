"""Ctrl-C and SIGTERM, whatever is going on: saved, told, and the exit code that a shell expects."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nursery import Child, Nursery
from PIL import Image
from training_fixtures import (
    HEAD,
    PLAIN,
    Ear,
    differences,
    leave,
    photographs,
    same_run,
    spec,
    state,
    text,
    wait_for,
)

import shapecalc
from shapecalc.training import store
from shapecalc.training.stop import Stop, Stopped

TO_EACH = pytest.mark.parametrize(
    ("number", "group"),
    [
        (signal.SIGINT, False),
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
    ],
    ids=["Ctrl-C", "Ctrl-C to all", "SIGTERM", "SIGTERM to all"],
)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
BEFORE = (
    "stopped before training began: there is no run yet, and splits that the cache on disk holds "
    "whole are kept; go on with the same command"
)
STEPS: dict[str, Any] = {
    "layers": (*PLAIN, "dropout: 0.3", HEAD),
    "schedule": "one_cycle",
    "batch_size": 1,
    "workers": 2,
    "cache": "none",
}
"""Many short steps."""
PHASES: dict[str, dict[str, Any]] = {
    "step": {**STEPS, "save_every": 3},
    "validation": {**STEPS, "save_every": 1, "accumulate": 24},
}
"""Settings with which there is a state early in the phase: with 24 pictures and as many in a step,
one is saved before the first validation."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("data"), splits={"train": 8, "valid": 16})


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What becomes of the phases' runs when they are let alone."""
    base = tmp_path_factory.mktemp("whole")
    for phase, settings in PHASES.items():
        shapecalc.train(spec(data, **settings), out=base / phase)
    return {phase: base / phase for phase in PHASES}


def last_line(child: Child, code: int) -> str:
    """What it says at the end, once it has ended as it should."""
    assert child.wait(30) == code, child.said
    assert "Traceback" not in child.said
    assert "Error" not in child.said
    return child.said.splitlines()[-1]


@TO_EACH
@pytest.mark.parametrize("phase", PHASES)
def test_training_is_saved_and_goes_on_to_the_same_end(
    nursery: Nursery,
    data: Path,
    whole: dict[str, Path],
    tmp_path: Path,
    phase: str,
    number: int,
    group: bool,
) -> None:
    (tmp_path / "tiny.yaml").write_text(text(data, **PHASES[phase]))
    child = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    wait_for(child, tmp_path / "run" / "state.pt")
    child.send(number, group=group)
    place = r"step 1 of epoch 1" if phase == "validation" else r"step \d+ of epoch 1"
    assert re.fullmatch(
        f"stopped after {place}, and all is saved; go on with shapecalc train --resume run",
        last_line(child, CODES[number]),
    )
    assert not list((tmp_path / "run").glob(".*"))
    run = tmp_path / "run"
    shapecalc.resume(run)
    assert not differences(state(whole[phase]), state(run))
    assert same_run(whole[phase], run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_save_is_finished(nursery: Nursery, data: Path, tmp_path: Path, number: int) -> None:
    """The signal comes while the state is half written, which takes a while: it is 40 MB."""
    wide = ("flatten", "linear: 3000", "relu", HEAD)
    settings = {**STEPS, "save_every": 1, "workers": 0, "layers": wide}
    (tmp_path / "tiny.yaml").write_text(text(data, **settings))
    child = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    wait_for(child, tmp_path / "run" / ".state.pt.*")
    child.send(number, group=True)
    assert "and all is saved" in last_line(child, CODES[number])
    assert not list((tmp_path / "run").glob(".*"))
    assert state(tmp_path / "run")["part"]["steps"] >= 1


@TO_EACH
def test_what_is_prepared_is_left_at_once(
    nursery: Nursery, tmp_path: Path, number: int, group: bool
) -> None:
    """The pictures are being looked at; there is no run yet."""
    root = photographs(tmp_path / "data", splits={"train": 500, "valid": 1})
    (tmp_path / "tiny.yaml").write_text(text(root, workers=2))
    child = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    while not child.log.exists() or "images are" not in child.said:
        assert not child.is_over(), child.said
    child.send(number, group=group)
    assert last_line(child, CODES[number]) == BEFORE
    assert not (tmp_path / "run").exists()


def slow_pictures(root: Path, train: int = 39, valid: int = 1) -> Path:
    """So many names, in each of three classes, of one picture that takes milliseconds to decode."""
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
    first = root.with_suffix(".png")
    Image.fromarray(noise).save(first, compress_level=1)
    for split, count in (("train", train), ("valid", valid)):
        for name in ("blue", "green", "red"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:03}.png").hardlink_to(first)
    return root


def held_of(root: Path) -> list[str]:
    """The splits below a folder whose pictures are in the cache, and all that is half written."""
    whole = [entry.description.root for entry in store.entries()]
    partial = map(str, store.folder().glob(".*"))
    return [*(name for name in whole if Path(name).is_relative_to(root)), *partial]


@TO_EACH
def test_a_cache_that_is_half_filled_is_never_used(
    nursery: Nursery, tmp_path: Path, number: int, group: bool
) -> None:
    root = slow_pictures(tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(text(root, workers=2, epochs=1))
    child = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    wait_for(child, store.folder() / ".*.partial")
    child.send(number, group=group)
    assert last_line(child, CODES[number]) == BEFORE
    assert held_of(root) == []
    ear = Ear()
    shapecalc.train(shapecalc.load(tmp_path / "tiny.yaml"), out=tmp_path / "run", reporter=ear)
    assert ear.begun[:2] == ["decoding images", "decoding images"]
    assert held_of(root) == [str(root / "valid"), str(root / "train")]


def test_a_run_that_goes_on_is_stopped_while_its_cache_is_filled(
    nursery: Nursery, tmp_path: Path
) -> None:
    root = slow_pictures(tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(text(root, workers=2))
    given = shapecalc.load(tmp_path / "tiny.yaml")
    shapecalc.train(given, out=tmp_path / "whole")
    leave(given, tmp_path / "run", 1, batch=3)
    store.clear()
    before = (tmp_path / "run" / "state.pt").read_bytes()
    child = nursery.start("train", "--resume", "run", cwd=tmp_path)
    wait_for(child, store.folder() / ".*.partial")
    child.send(signal.SIGTERM)
    assert last_line(child, 143) == "stopped; go on with shapecalc train --resume run"
    assert held_of(root) == []
    assert (tmp_path / "run" / "state.pt").read_bytes() == before
    shapecalc.resume(tmp_path / "run")
    assert same_run(tmp_path / "whole", tmp_path / "run")


def test_a_resumed_run_that_is_stopped_before_it_goes_on_says_so(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(text(data, **STEPS))
    leave(shapecalc.load(tmp_path / "tiny.yaml"), tmp_path / "run", 1, batch=3)
    before = (tmp_path / "run" / "state.pt").read_bytes()
    child = nursery.start("train", "--resume", "run", cwd=tmp_path)
    wait_for(child, tmp_path / "run" / ".lock")
    child.send(signal.SIGTERM)
    last = last_line(child, 143)
    assert last.endswith("go on with shapecalc train --resume run")
    if last.startswith("stopped; "):
        assert (tmp_path / "run" / "state.pt").read_bytes() == before
    shapecalc.resume(tmp_path / "run")


def test_a_second_interrupt_ends_it_at_once(nursery: Nursery, data: Path, tmp_path: Path) -> None:
    """A step takes seconds, nearly all of them in single calls of torch; it is not waited for."""
    wide = "conv: {out_channels: 96, kernel_size: 7}"
    layers = ("upsample: {scale_factor: 16}", wide, wide, "adaptive_avg_pool: 1", "flatten", HEAD)
    (tmp_path / "tiny.yaml").write_text(text(data, layers=layers, batch_size=20))
    child = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    wait_for(child, tmp_path / "run" / "spec.yaml")
    time.sleep(0.5)
    child.send(signal.SIGINT, group=True)
    while "stopping once this step is done and saved; Ctrl-C stops at once" not in child.said:
        assert not child.is_over(), child.said
    started = time.monotonic()
    child.send(signal.SIGINT, group=True)
    assert child.wait(30) == 130
    assert time.monotonic() - started < 2
    assert "Traceback" not in child.said
    assert not (tmp_path / "run" / "state.pt").exists()
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):  # so the lock of the dead process is not in the way
        shapecalc.resume(tmp_path / "run", stop=stop)


def reads_a_picture(child: Child) -> bool:
    for file in Path(f"/proc/{child.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(file).endswith(".png"):
                return True
    return False


def test_eval_is_left_at_once(nursery: Nursery, data: Path, tmp_path: Path) -> None:
    shapecalc.train(spec(data, epochs=1), out=tmp_path / "run")
    many = slow_pictures(tmp_path / "data", train=1, valid=1000)
    child = nursery.start("eval", "run", "--data", many, cwd=tmp_path)
    while not reads_a_picture(child):
        assert not child.is_over(), child.said
    child.send(signal.SIGINT, group=True)
    assert last_line(child, 130) == "stopped"


def test_the_library_leaves_signals_alone(data: Path, tmp_path: Path) -> None:
    class Look(Ear):
        def wants(self, done: int) -> bool:
            self.seen = [signal.getsignal(number) for number in CODES]
            return True

    before, ear = [signal.getsignal(number) for number in CODES], Look()
    shapecalc.train(spec(data, epochs=1), out=tmp_path / "run", reporter=ear)
    assert ear.seen == before
    assert [signal.getsignal(number) for number in CODES] == before


def test_the_end_can_be_asked_for_from_another_thread(data: Path, tmp_path: Path) -> None:
    stop = Stop()
    timer = threading.Timer(0.3, stop.ask)
    timer.start()
    given = spec(data, **{**STEPS, "workers": 0, "epochs": 1000})
    with pytest.raises(Stopped) as caught:
        shapecalc.train(given, out=tmp_path / "run", stop=stop)
    timer.join()
    assert caught.value.said.startswith("stopped after ")
    assert caught.value.signal == signal.SIGTERM
