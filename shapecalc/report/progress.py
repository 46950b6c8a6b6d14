"""Training as it is seen in a terminal, and in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from shapecalc.training.reporter import Reporter

_EVERY = 0.25
"""Seconds between two readings of the figures, for which the device must be waited for."""
_NARROW, _LEAST_BAR = 60, 8
"""Columns of a terminal below which there is no bar, and what a bar is left at least."""


class Progress(Reporter):
    """On stderr: a moving bar with figures below a line for each epoch; only the lines where there
    is no terminal, or a narrow one."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console = console or Console(stderr=True, highlight=False)
        self._live = (
            console.is_terminal and not console.is_dumb_terminal and console.width >= _NARROW
        )
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            expand=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._name, self._total = "", 0
        self._epochs = 0
        self._read = self._begun = 0.0
        self._clock = _Clock()
        self._rate: tuple[float, float] | None = None
        """A time, and the images until then."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def note(self, text: str) -> None:
        self._print(text)

    def begin(self, task: str, total: int) -> None:
        self._forget()
        self._name, self._total = task, total
        self._task = self._bar.add_task(task, total=total, figures="")
        self._read = self._begun = time.monotonic()
        self._rate = None

    def wants(self, done: int) -> bool:
        return self._live and time.monotonic() - self._read >= _EVERY

    def update(self, done: int, **figures: float) -> None:
        self._read = time.monotonic()
        if self._task is not None:
            words = self._words(done, figures)
            self._bar.update(self._task, completed=done, figures=self._fitting(words))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self._forget()
        self._epochs = int(metrics["epoch"])
        left = self._clock.left(self._epochs)
        self._print(
            f"epoch {metrics['epoch']}: "
            f"train loss {metrics['train_loss']:.4f}, accuracy {metrics['train_accuracy']:.1%}; "
            f"valid loss {metrics['valid_loss']:.4f}, accuracy {metrics['valid_accuracy']:.1%}; "
            f"lr {metrics['lr']:.3g}, {metrics['images_per_second']:.1f} images/s, "
            f"{metrics['seconds']:.0f} s" + (f"; {_time(left)} left" if left else "")
        )

    def started(self, folder: Path, epochs: float, planned: int) -> None:
        self._epochs = int(epochs)
        self._clock = _Clock(epochs, planned)

    def hurry(self) -> None:
        """The end was asked for, and waits for the end of a step."""
        self._print("stopping once this step is done and saved; Ctrl-C stops at once")

    def close(self) -> None:
        self._forget()
        self._bar.stop()

    def _words(self, done: int, figures: Mapping[str, float]) -> dict[str, str]:
        """The figures as they are shown, in this order."""
        words = {}
        if "loss" in figures:
            words["loss"] = f"loss {figures['loss']:.4f}"
        if "accuracy" in figures:
            words["accuracy"] = f"accuracy {figures['accuracy']:.1%}"
        if "lr" in figures:
            words["lr"] = f"lr {figures['lr']:.2g}"
        if "images" in figures:
            since, before = self._rate = self._rate or (self._read, figures["images"])
            if self._read > since:  # a resumed epoch has images that were not seen just now
                rate = (figures["images"] - before) / (self._read - since)
                words["images"] = f"{rate:.4g} images/s"
        share = done / self._total if self._total else 1.0
        if self._clock.planned:  # the time left is that of the whole run
            left = self._clock.left(self._epochs + (share if "images" in figures else 1.0))
        else:
            left = (self._read - self._begun) * (1 / share - 1) if share else None
        if left is not None:
            words["left"] = f"{_time(left)} left"
        return words

    def _fitting(self, words: Mapping[str, str]) -> str:
        """As many of the figures as the terminal has room for, the most telling first."""
        counts = 2 * len(str(self._total)) + 1
        room = self._console.width - len(self._name) - counts - _LEAST_BAR - 3
        chosen: set[str] = set()
        for name in ("loss", "accuracy", "left", "images", "lr"):
            if name in words and len(words[name]) + 2 <= room:
                room -= len(words[name]) + 2
                chosen.add(name)
        return "  ".join(word for name, word in words.items() if name in chosen)

    def _forget(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _print(self, text: str) -> None:
        """Above the bar, and each line whole where there is no terminal to wrap it."""
        self._console.print(text, markup=False, soft_wrap=not self._console.is_terminal)


class _Clock:
    """How much longer a run takes, from what its epochs have taken since it was started."""

    def __init__(self, done: float = 0, planned: int = 0) -> None:
        self.done, self.planned = done, planned
        self._started = time.monotonic()

    def left(self, done: float) -> float | None:
        """Seconds that are left when so many epochs are done; None where that is not known."""
        if done <= self.done:
            return None
        elapsed = time.monotonic() - self._started
        return elapsed * max(0.0, self.planned - done) / (done - self.done)


def _time(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
