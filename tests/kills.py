"""Runs that are killed at random moments and resumed, in real processes, against runs that were
let alone: what benchmarks/chaos.py repeats by the hundred, and the tests a few times."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from nursery import Child, Nursery
from training_fixtures import HEAD, differences, photographs, same_run, state, text

from shapecalc.training import run as names
from shapecalc.training.checkpoint import is_partial, load_state

_BY_CHANCE: dict[str, Any] = {
    "layers": (
        "conv: {out_channels: 8, kernel_size: 3}",
        "batch_norm",
        "relu",
        "flatten",
        "linear: 128",
        "dropout: 0.3",
        HEAD,
    ),
    "augment": ["random_horizontal_flip"],
    "epochs": 2,
    "batch_size": 4,
    "schedule": "one_cycle",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "saved after each step": {"save_every": 1},
    "saved after each third step, two workers": {"save_every": 3, "workers": 2, "cache": "none"},
    "saved after each epoch, pictures in a file": {"cache": "disk"},
    "averaged weights, no cache": {
        "save_every": 2,
        "ema": 0.9,
        "schedule": "cosine_annealing",
        "cache": "none",
    },
    "accumulated gradients": {"save_every": 1, "accumulate": 2, "batch_size": 3},
}
"""What is trained and how; the state is some 2 MB, so that a good part of the time is spent in
saving it."""
_SECONDS = 300


@dataclass(frozen=True)
class Kill:
    """A process that was killed, and what it left behind."""

    seconds: float
    """After its start."""
    in_save: bool
    """A file is half written, or the files made from the newest state are not there yet."""
    in_epoch: bool
    """The newest state is of the middle of an epoch."""


@dataclass
class End:
    """How a run ended that was killed, perhaps more than once, and then let alone."""

    name: str
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What differs from the run that was never killed."""


class Kills:
    """Kills runs below a folder. Close it."""

    def __init__(self, folder: Path) -> None:
        self._nursery = Nursery()
        self._folder = folder
        photographs(folder / "data", splits={"train": 24, "valid": 4})
        self._seconds: dict[str, float] = {}

    def close(self) -> None:
        self._nursery.close()

    def end(self, name: str, random: Random) -> End:
        """Start a run, kill it at a moment drawn from as long as it takes, resume it, kill a third
        of those again, and compare the end with that of a run let alone."""
        whole = self._whole(name)
        folder = self._folder / f"{name} {random.getrandbits(32):08x}"
        folder.mkdir()
        (folder / "spec.yaml").write_text(self._text(name))
        end = End(name)
        words: tuple[object, ...] = ("train", "spec.yaml", "--out", "run")
        while not end.kills or random.random() < 1 / 3:
            child = self._nursery.start(*words, cwd=folder)
            kill = self._killed(child, folder / "run", random.random() * self._seconds[name])
            if kill:
                end.kills.append(kill)
            elif end.kills:
                words = ("train", "--resume", "run")
                break
            else:  # it was over before
                shutil.rmtree(folder / "run")
                continue
            if (folder / "run" / names.SPEC).exists():  # else it had not begun
                words = ("train", "--resume", "run")
        child = self._nursery.start(*words, cwd=folder)
        if code := child.wait(_SECONDS):
            end.faults.append(f"exit code {code}: {child.said}")
        else:
            if not same_run(whole, folder / "run"):
                end.faults += differences(state(whole), state(folder / "run"))
                end.faults.append("state, metrics or weights differ")
            end.faults += [f"{path.name} is left" for path in _half_written(folder / "run")]
        if not end.faults:
            shutil.rmtree(folder)
        return end

    def _killed(self, child: Child, run: Path, seconds: float) -> Kill | None:
        """None where the process had ended by itself."""
        started = time.monotonic()
        while time.monotonic() < started + seconds and not child.is_over():
            time.sleep(0.001)
        child.send(signal.SIGKILL, group=True)
        code = child.wait(_SECONDS)
        if code != -signal.SIGKILL:
            assert code == 0, child.said
            return None
        saved = load_state(run / names.STATE) if (run / names.STATE).exists() else None
        in_save = bool(_half_written(run)) or (saved is not None and _lags(run, saved))
        in_epoch = saved is not None and saved["part"] is not None
        return Kill(time.monotonic() - started, in_save, in_epoch)

    def _whole(self, name: str) -> Path:
        folder = self._folder / name
        if name not in self._seconds:
            folder.mkdir()
            (folder / "spec.yaml").write_text(self._text(name))
            started = time.monotonic()
            child = self._nursery.start("train", "spec.yaml", "--out", "run", cwd=folder)
            assert child.wait(_SECONDS) == 0, child.said
            self._seconds[name] = time.monotonic() - started
        return folder / "run"

    def _text(self, name: str) -> str:
        return text(self._folder / "data", **{**_BY_CHANCE, **SETTINGS[name]})


def _half_written(run: Path) -> list[Path]:
    return list(filter(is_partial, run.glob(".*")))


def _lags(run: Path, saved: Mapping[str, Any]) -> bool:
    return not names.has_metrics(run, saved["metrics"]) and bool(saved["metrics"])
