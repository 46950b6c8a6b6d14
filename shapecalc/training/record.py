"""What a run writes into its folder.

The state is written first, and all else can be made from it: what a kill leaves undone between
two files is done when the run is resumed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shapecalc.diagnostics import RunError
from shapecalc.language.recipe import minutes
from shapecalc.training import checkpoint, distributed, run
from shapecalc.training.checkpoint import Preprocessing, Weights
from shapecalc.training.prepare import Task
from shapecalc.training.reporter import Reporter
from shapecalc.training.state import State, best_epoch
from shapecalc.training.watch import Watch

_MADE = (run.BEST, run.LAST)
"""The files that are made from a state, besides the metrics and the pictures."""
_PICTURES = (run.CURVES, run.CONFUSION)
_DRAWN_FOR = 20.0
"""Seconds for which pictures are new enough: drawing them takes longer than a short epoch."""


class Record:
    """Writes the files of a run while it goes on."""

    def __init__(
        self, folder: Path, task: Task, pre: Preprocessing, state: State, watch: Watch
    ) -> None:
        self._folder, self._state, self._watch = folder, state, watch
        self._every = task.recipe.save_every
        spec = task.spec.to_yaml()
        self._of_the_run = {
            "name": task.spec.name,
            "spec": spec,
            "epochs": task.recipe.epochs,
            "classes": list(task.data.classes),
            "pictures": task.data.fingerprint(),
            "preprocessing": pre._asdict(),
        }
        self._undrawn: dict[str, Any] = {}
        """The state after the last epoch, where no pictures are drawn of it."""
        self._drawn_at = -math.inf
        self._noted()
        checkpoint.write_text(folder / run.SPEC, spec)

    def save(self) -> None:
        """Write the state. Raises RunError, and NotFinite where it is not sound."""
        self._write()

    def save_epoch(self) -> None:
        """Write the state after an epoch, and all other files, pictures only where they are old.
        Raises RunError."""
        content = self._write()
        write_others(self._folder, content)
        self._undrawn = content
        if time.monotonic() - self._drawn_at >= _DRAWN_FOR:
            self.draw()

    def draw(self) -> None:
        """Draw what is not drawn yet. Raises RunError."""
        if self._undrawn:
            draw(self._folder, self._undrawn)
            self._undrawn, self._drawn_at = {}, time.monotonic()

    def save_step(self, reporter: Reporter) -> None:
        """Write the state after a step that `save_every` names; where that fails, training goes
        on."""
        due = self._is_due()
        if self._state.sharded:  # of which each has a share to give
            due = distributed.share(lambda: due)
        if not due:
            return
        try:
            self.save()
        except RunError as error:
            reporter.note(f"{error.diagnostics[0].message}; going on without")
            self._time = time.monotonic()

    def _is_due(self) -> bool:
        part = self._state.part
        if self._state.micro.size != self._at_once:  # a resumed run is to do as this one
            return True
        if isinstance(self._every, str):
            return time.monotonic() - self._time >= 60 * minutes(self._every)
        return self._every is not None and part is not None and part.steps % self._every == 0

    def _noted(self) -> None:
        self._time, self._at_once = time.monotonic(), self._state.micro.size
        self.kept = self._state.place

    def _write(self) -> dict[str, Any]:
        """Write the state; what is in it."""
        self._watch.check()
        content = {**self._state.state_dict(), **self._of_the_run}
        checkpoint.save_state(self._folder / run.STATE, content)
        self._noted()
        return content


class Unwritten(Record):
    """The record of a process that another one writes for."""

    def __init__(self, state: State, watch: Watch) -> None:
        self._state, self._watch, self.kept = state, watch, state.place

    def save(self) -> None:
        if self._state.sharded:  # the one that writes waits for this share
            self._watch.check()
            self._state.state_dict()
        self.kept = self._state.place

    def save_epoch(self) -> None:
        self.save()

    def draw(self) -> None:
        pass

    def _is_due(self) -> bool:
        return False


def write_others(folder: Path, state: Mapping[str, Any]) -> None:
    """Write what is made from a state but for pictures, the metrics last. Raises RunError."""
    classes, metrics = tuple(state["classes"]), state["metrics"]
    pre = Preprocessing(**state["preprocessing"])
    epoch, best = len(metrics), best_epoch(metrics)
    if state["part"] is None:
        tensors = (state["average"] or state)["model"]
        weights = Weights(tensors, state["spec"], classes, pre, epoch)
        checkpoint.save_weights(folder / run.LAST, weights)
    if best == epoch or checkpoint.stored_epoch(folder / run.BEST) != best:
        weights = Weights(state["best"]["tensors"], state["spec"], classes, pre, best)
        checkpoint.save_weights(folder / run.BEST, weights)
    run.write_metrics(folder, metrics)


def draw(folder: Path, state: Mapping[str, Any]) -> None:
    """Draw the pictures of a state. Raises RunError."""
    from shapecalc.report import plots  # which takes a while to import: no first step waits for it

    name, metrics = state["name"], state["metrics"]
    with checkpoint.writing(folder / run.CONFUSION):
        plots.confusion(
            state["best"]["confusion"],
            tuple(state["classes"]),
            folder / run.CONFUSION,
            title=f"{name}: validation after epoch {best_epoch(metrics)}",
        )
    with checkpoint.writing(folder / run.CURVES):
        plots.curves(metrics, folder / run.CURVES, title=name)


def bring_in_line(folder: Path, state: Mapping[str, Any]) -> None:
    """Write what a kill has kept from being made from the newest state. Raises RunError.

    Where the metrics are those of the state, which are written last, so is all else.
    """
    metrics = state["metrics"]
    lacking = [name for name in _MADE if not (folder / name).exists()]
    if not metrics:
        run.write_metrics(folder, metrics)
    elif not run.has_metrics(folder, metrics) or lacking:
        write_others(folder, state)
        draw(folder, state)
    elif not all((folder / name).exists() for name in _PICTURES):
        draw(folder, state)
