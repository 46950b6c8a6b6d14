"""The state that a stopped run has left, and whether it is that of the run to go on with."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shapecalc.diagnostics import Diagnostic, RunError
from shapecalc.language.spec import Spec, loads
from shapecalc.training import checkpoint, run
from shapecalc.training.reporter import Reporter
from shapecalc.training.samples import Data
from shapecalc.training.state import told

Saved = Mapping[str, Any]
"""What `record` writes."""

_MAY_CHANGE = ("data", "epochs", "parallel", "workers", "cache", "save_every")
"""Settings that leave what was learned as it is: data may have been moved."""


def newest(folder: Path, reporter: Reporter) -> Saved | None:
    """The newest state of a run that is whole; None where none was saved yet.

    Where that is not the newest of all, the reporter hears why. Raises RunError.
    """
    path = folder / run.STATE
    before = checkpoint.before(path)
    if not before.exists():
        return checkpoint.load_state(path) if path.exists() else None
    try:
        return checkpoint.load_state(path)
    except checkpoint.DamagedState as damaged:
        try:
            saved = checkpoint.load_state(before)
        except RunError as error:
            raise RunError([*damaged.diagnostics, *error.diagnostics]) from None
        (why,) = damaged.diagnostics
        reporter.note(f"{why.message}: the one before is taken in its place")
        os.replace(before, path)
        return saved


def place(saved: Saved) -> str:
    """How far a run has come, as `State.place`."""
    return told(len(saved["metrics"]), saved["part"]["steps"] if saved["part"] else 0)


def expect_same_spec(path: Path, saved: Saved, now: Spec) -> None:
    """A run goes on with the spec that it began with, which is at `path`. Raises RunError."""

    def settled(spec: Spec) -> list[str]:
        train = {key: value for key, value in spec.train.items() if key not in _MAY_CHANGE}
        return spec.model_copy(update={"train": train}).to_yaml().splitlines()

    before = loads(saved["spec"])
    lines = list(difflib.unified_diff(settled(before), settled(now), n=0, lineterm=""))[2:]
    if not lines:
        return
    had, has = ("; ".join(ln[1:].strip() for ln in lines if ln[0] == sign) for sign in "-+")
    message = f"{path} was edited since the run began: it had {had or 'nothing'}"
    message += f" where it has {has or 'nothing'}"
    help = f"take the edit back, or start a new run with it: shapecalc train {path}"
    raise RunError([Diagnostic("E503", message, help=help)])


def expect_same_data(folder: Path, saved: Saved, data: Data) -> None:
    """A run goes on with the pictures that it began with, wherever they lie. Raises RunError."""
    classes = tuple(saved["classes"])
    if classes != data.classes:
        had, has = ", ".join(classes), ", ".join(data.classes)
        raise _other_data(f"{folder} was trained on the classes {had}, but {data.root} has {has}")
    for split, now in data.fingerprint().items():
        before = saved["pictures"][split]
        if before == now:
            continue
        what = f"has {now['count']} pictures where it had {before['count']}"
        if before["count"] == now["count"]:
            what = f"has other pictures, {now['count']} as before"
        raise _other_data(f"{data.root} has changed since {folder} began: {split} {what}")


def _other_data(message: str) -> RunError:
    help = "give it the data it had, or start a new run"
    return RunError([Diagnostic("E503", message, help=help)])
