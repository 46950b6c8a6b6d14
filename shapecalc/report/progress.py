"""Training as it is seen in a terminal, and in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from shapecalc.training.reporter import Reporter

_EVERY = 0.25
"""Seconds between two readings of the figures, for which the device must be waited for."""


class Progress(Reporter):
    """A moving bar on stderr, where that is a terminal; a line for each epoch on stdout."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._read = 0.0

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
        self._task = self._bar.add_task(task, total=total, figures="")
        self._read = time.monotonic()

    def wants(self, done: int) -> bool:
        return not self._bar.disable and time.monotonic() - self._read >= _EVERY

    def update(self, done: int, **figures: float) -> None:
        self._read = time.monotonic()
        if self._task is not None:
            words = (
                f"{name} {value:.1%}" if name == "accuracy" else f"{name} {value:.4f}"
                for name, value in figures.items()
            )
            self._bar.update(self._task, completed=done, figures="  ".join(words))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self._forget()
        self._print(
            f"epoch {metrics['epoch']}: "
            f"train loss {metrics['train_loss']:.4f}, accuracy {metrics['train_accuracy']:.1%}; "
            f"valid loss {metrics['valid_loss']:.4f}, accuracy {metrics['valid_accuracy']:.1%}; "
            f"{metrics['images_per_second']:.1f} images/s, {metrics['seconds']:.0f} s"
        )

    def hurry(self) -> None:
        """The end was asked for, and waits for the end of a step."""
        self._print("stopping once this step is done and saved; Ctrl-C stops at once")

    def close(self) -> None:
        self._forget()
        self._bar.stop()

    def _forget(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _print(self, text: str) -> None:
        """Above the bar, and each line whole where there is no terminal to wrap it."""
        self._console.print(text, markup=False, soft_wrap=not self._console.is_terminal)
