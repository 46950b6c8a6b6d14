"""Small networks on small pictures that they can learn, and ears for what training says."""

from __future__ import annotations

import functools
import gc
import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torchvision
import zoo
from nursery import Child
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import shapecalc
from shapecalc.__main__ import main
from shapecalc.diagnostics import Diagnostic, ShapecalcError
from shapecalc.training.checkpoint import load_state
from shapecalc.training.reporter import Reporter
from shapecalc.training.stop import Stop as Wish
from shapecalc.training.stop import Stopped

COLOURS = {
    "blue": (40, 60, 200),
    "green": (40, 180, 60),
    "red": (210, 50, 40),
    "yellow": (230, 220, 60),
}
FILES = {
    "spec.yaml",
    "best.safetensors",
    "last.safetensors",
    "state.pt",
    "state.1.pt",
    "metrics.jsonl",
    "curves.svg",
    "confusion.svg",
    "machine.json",
    "report.html",
}
"""What a run of two epochs or more leaves behind."""

PLAIN = ("conv: {out_channels: 4, kernel_size: 3}", "relu", "max_pool: 2", "flatten")
"""Layers without chance and without batch statistics, but for the last one."""
HEAD = "linear: ${classes}"
NORMED = ("conv: {out_channels: 4, kernel_size: 3}", "batch_norm", *PLAIN[1:], "dropout: 0.2", HEAD)
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mixed": {"augment": ["mixup", {"cutmix": {"p": 0.5}}]},
    "summed": {"accumulate": 2, "clip_grad_norm": 0.5},
    "weighted": {"loss": "focal", "class_weights": [1.0, 2.0, 0.5], "ema": 0.9},
    "head first": {"freeze": 2, "lr_decay": 0.5},
    "fp16": {"precision": "fp16"},
}
"""Settings that a step goes other ways for, with three classes."""


def photographs(
    root: Path,
    classes: Sequence[str] = ("blue", "green", "red"),
    *,
    splits: Mapping[str, int] | None = None,
    seed: int = 0,
    size: tuple[int, int] = (20, 20),
) -> Path:
    """JPEGs of noisy plain colours in SPLIT/CLASS folders, so many for each class; `size` is their
    height and width."""
    random = np.random.default_rng(seed)
    for split, count in (splits or {"train": 8, "valid": 4}).items():
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.array(COLOURS[name]) + random.normal(0, 25, (*size, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{number:02}.jpg", quality=92)
    return root


def text(
    data: Path | None,
    *,
    layers: Sequence[str] = (*PLAIN, "dropout: 0.2", HEAD),
    params: str = "{classes: 10}",
    **train: Any,
) -> str:
    """A spec for pictures of 3x16x16, with a line for each setting; a setting that is None is
    left out."""
    settings = {
        "data": None if data is None else {"folder": str(data)},
        "optimizer": {"adamw": {"lr": 0.01}},
        "epochs": 2,
        "batch_size": 8,
        "precision": "fp32",
        "workers": 0,
        **train,
    }
    lines = ["name: tiny", "input: [3, 16, 16]", f"params: {params}", "layers:"]
    lines += [f"  - {layer}" for layer in layers]
    lines += ["train:"]
    lines += [f"  {key}: {json.dumps(v)}" for key, v in settings.items() if v is not None]
    return "\n".join(lines) + "\n"


def spec(data: Path | None, overrides: Mapping[str, str] | None = None, **rest: Any) -> Any:
    return shapecalc.loads(text(data, **rest), file="tiny.yaml", overrides=overrides)


class Ear(Reporter):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[str] = []
        self.epochs: list[dict[str, float]] = []
        self.start: tuple[Path, float] | None = None

    def note(self, text: str) -> None:
        self.notes.append(text)

    def started(self, folder: Path, epochs: float, planned: int) -> None:
        self.start = folder, epochs

    def begin(self, task: str, total: int) -> None:
        self.begun.append(task)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self.epochs.append(dict(metrics))

    @property
    def said(self) -> str:
        return "\n".join(self.notes)


class Leave(Ear):
    """Asks to stop at a batch of an epoch, from 1, or while that is validated."""

    def __init__(self, epoch: int, batch: int = 0) -> None:
        super().__init__()
        self.stop = Wish()
        self._task, self._batch = f"epoch {epoch}/", batch
        self._ready = False

    def begin(self, task: str, total: int) -> None:
        super().begin(task, total)
        if self._ready and not self._batch and task == "validating":
            self.stop.ask()
        self._ready = task.startswith(self._task)

    def wants(self, done: int) -> bool:
        if self._ready and 0 < self._batch <= done:
            self.stop.ask()
        return True


class Stop(Ear):
    """Presses Ctrl-C once so many epochs are saved, or at a batch of the next one, or while that
    is validated."""

    def __init__(self, epochs: int, *, batch: int = 0, validating: bool = False) -> None:
        super().__init__()
        self.after, self.batch, self.validating = epochs, batch, validating
        self.training = False

    def begin(self, task: str, total: int) -> None:
        super().begin(task, total)
        self.training = task.startswith("epoch")
        if self.validating and task == "validating" and len(self.epochs) == self.after:
            raise KeyboardInterrupt

    def wants(self, done: int) -> bool:
        if self.training and self.batch == done and len(self.epochs) == self.after:
            raise KeyboardInterrupt
        return True

    def epoch(self, metrics: Mapping[str, float]) -> None:
        super().epoch(metrics)
        if not self.batch and not self.validating and len(self.epochs) == self.after:
            raise KeyboardInterrupt


def metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run but for those that measure time."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
        for row in rows
    ]


def tensors(folder: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{which}.safetensors")


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two networks are equal to the last bit."""
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def same_run(one: Path, other: Path) -> bool:
    """Whether two runs came to the same end, to the last bit: state, metrics and weights."""
    return (
        not differences(state(one), state(other))
        and metrics(one) == metrics(other)
        and all(same(tensors(one, which), tensors(other, which)) for which in ("best", "last"))
    )


def state(folder: Path) -> dict[str, Any]:
    """All that is saved to go on from, but for what measures time and the spec, whose settings may
    be what is compared."""
    found = load_state(folder / "state.pt")
    del found["spec"]
    for part in (*found["metrics"], *filter(None, [found["part"]])):
        for key in ("seconds", "images_per_second"):
            part.pop(key, None)
    return found


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two states differ, to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {*one, *other}
        return [d for k in keys for d in differences(one.get(k), other.get(k), f"{at}.{k}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs = zip_longest(one, other)
        return [d for i, pair in enumerate(pairs) for d in differences(*pair, f"{at}.{i}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        equal = one.dtype == other.dtype and torch.equal(one, other)
    else:
        equal = type(one) is type(other) and one == other
    return [] if equal else [f"{at}: {one} {other}"]


def leave(given: Any, out: Path, epoch: int, batch: int = 0) -> str:
    """Train until the end is asked for in an epoch; what is said then."""
    ear = Leave(epoch, batch)
    with pytest.raises(Stopped) as caught:
        shapecalc.train(given, out=out, reporter=ear, stop=ear.stop)
    return caught.value.said


def wait_for(child: Child, path: Path, seconds: float = 60) -> None:
    """Until there is a file that `path`, with its wildcards, stands for."""
    end = time.monotonic() + seconds
    while not any(path.parent.glob(path.name)):
        assert not child.is_over(), child.said
        assert time.monotonic() < end, child.said
        time.sleep(0.002)


def refusal(kind: type[ShapecalcError], action: Callable[[], object], code: str = "") -> Diagnostic:
    """The only Diagnostic of the error that `action` raises."""
    with pytest.raises(kind) as caught:
        action()
    (found,) = caught.value.diagnostics
    assert not code or found.code == code, found
    return found


class Learned(NamedTuple):
    """A run that has learned its pictures."""

    folder: Path
    data: Path
    run: Any
    ear: Ear


@functools.cache
def learned_run(base: Path) -> Learned:
    """The same run for all tests of a session, below its folder; they must leave it as it is."""
    root = base / "learned"
    data = photographs(root / "data")
    ear = Ear()
    given = spec(
        data,
        epochs=4,
        batch_size=4,
        schedule="one_cycle",
        init={"kaiming_normal": {"nonlinearity": "relu"}},
        augment=["random_horizontal_flip"],
    )
    run = shapecalc.train(given, out=root / "run", reporter=ear)
    return Learned(root / "run", data, run, ear)


@contextmanager
def _process_of_its_own() -> Any:
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        gc.enable()


class Output(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process, as `python -m shapecalc` would in one of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture

    def __call__(self, *words: object) -> Output:
        self._patch.setattr("sys.argv", ["shapecalc", *map(str, words)])
        self._capture.readouterr()
        code = 0
        with _process_of_its_own():
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = self._capture.readouterr()
        assert "Traceback" not in err
        return Output(code, out, err)


class PublishedWeights(NamedTuple):
    """The folder in which torch looks for weights before it downloads them."""

    folder: Path

    def file(self, weights: Any) -> Path:
        return self.folder / str(weights.url).rpartition("/")[2]

    def give(self, name: str, weights: Any, **settings: Any) -> nn.Module:
        """Puts weights of its own there for a network of torchvision; the network."""
        torch.manual_seed(1)
        model: nn.Module = torchvision.models.get_model(name, weights=None, **settings).eval()
        zoo.randomize(model)
        torch.save(model.state_dict(), self.file(weights))
        return model
