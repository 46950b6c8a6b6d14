"""The runs of a folder: what each was set to, what it came to, and in what they differ."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shapecalc.diagnostics import Diagnostic, Fault, RunError, ShapecalcError, nearest
from shapecalc.language.spec import Spec, load

SPEC, METRICS, MACHINE = "spec.yaml", "metrics.jsonl", "machine.json"
"""Files of a run that are read without torch; `training.run` has the others."""

Row = Mapping[str, float]
"""The metrics of an epoch."""


@dataclass(frozen=True)
class RunSummary:
    """A run as its files tell of it."""

    folder: Path
    spec: Spec
    metrics: Sequence[Row]
    machine: Mapping[str, Any]

    @property
    def started(self) -> str:
        """When it began, as ISO 8601 in UTC; "" where that is not known."""
        return str(self.machine.get("started", ""))

    @property
    def epochs(self) -> int:
        """Epochs that are finished."""
        return len(self.metrics)

    @property
    def best(self) -> Row | None:
        """The epoch of the best validation accuracy, the first of several."""
        return best(self.metrics)

    @property
    def seconds(self) -> float:
        """Time of the training part of all epochs."""
        return sum(row.get("seconds", 0.0) for row in self.metrics)

    @property
    def planned(self) -> int:
        return int(self.settings["epochs"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What a run can be set to, defaults included. Raises SpecError."""
        return {
            "name": self.spec.name,
            "input": list(self.spec.input),
            "params": dict(self.spec.params),
            **self.spec.recipe().model_dump(),
        }

    @cached_property
    def layers(self) -> list[str]:
        """The blocks and layers of the network, as lines of YAML."""
        bare = self.spec.model_copy(update={"name": "", "input": (1,), "params": {}, "train": {}})
        return bare.to_yaml().splitlines()


def best(metrics: Sequence[Row]) -> Row | None:
    """The epoch of the best validation accuracy, the first of several."""
    rows = [row for row in metrics if "valid_accuracy" in row]
    return max(rows, key=lambda row: row["valid_accuracy"], default=None)


def find_runs(folder: str | Path) -> tuple[list[RunSummary], list[Diagnostic]]:
    """The runs in a folder, or the one that it is, in the order in which they began; and what is
    wrong with those that cannot be read. Raises RunError where there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError([Diagnostic("E502", f"there is no folder {folder}")])
    places = [folder, *sorted(path.parent for path in folder.glob(f"*/{SPEC}"))]
    found: list[RunSummary] = []
    faults: list[Diagnostic] = []
    for place in places:
        if not ((place / SPEC).is_file() and (place / METRICS).is_file()):
            continue
        try:
            found.append(read_run(place))
        except ShapecalcError as error:
            faults += error.diagnostics
    if not found and not faults:
        help = "train makes runs; name the folder that they are in"
        raise RunError([Diagnostic("E502", f"there are no runs in {folder}", help=help)])
    return in_order(found, "date"), faults


def read_run(folder: Path) -> RunSummary:
    """What the files of a run tell. Raises SpecError and RunError."""
    run = RunSummary(folder, load(folder / SPEC), read_metrics(folder), read_machine(folder))
    assert run.settings  # a recipe that cannot be read is found now
    return run


ORDERS: dict[str, Callable[[RunSummary], Any]] = {
    "date": lambda run: (run.started, _number(run.folder)),
    "name": lambda run: _number(run.folder),
    "accuracy": lambda run: -run.best["valid_accuracy"] if run.best else 1.0,
    "loss": lambda run: run.best["valid_loss"] if run.best else math.inf,
    "epochs": lambda run: -run.epochs,
    "time": lambda run: run.seconds,
}
"""What runs can be sorted by; the best comes first."""


def in_order(runs: Sequence[RunSummary], key: str) -> list[RunSummary]:
    """The runs sorted by one of ORDERS, or by a setting as `differing` names it. Raises Fault."""
    if key in ORDERS:
        return sorted(runs, key=ORDERS[key])
    settings = differing(runs)
    name = key.removeprefix("train.")
    if name not in settings:
        known = [*ORDERS, *settings]
        close = nearest(name, known)
        raise Fault(
            "E501",
            f"runs cannot be sorted by {key}",
            help=f"did you mean {close}?" if close else f"write one of {', '.join(known)}",
        )
    values = {id(run): value for run, value in zip(runs, settings[name], strict=True)}
    return sorted(runs, key=lambda run: _comparable(values[id(run)]))


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, one row for each epoch; none where there is no such file.

    Raises RunError.
    """
    path = folder / METRICS
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError([Diagnostic("E502", f"{path} cannot be read: {error}")]) from None
    if not all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in rows):
        raise RunError([Diagnostic("E502", f"{path} has lines that are not those of epochs")])
    return rows


def read_machine(folder: Path) -> dict[str, Any]:
    """What a run was trained on; empty where that cannot be read, for nothing depends on it."""
    try:
        found = json.loads((folder / MACHINE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def differing(runs: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """The settings that are not the same for all runs, with the value of each run.

    A key is dotted as far as all runs have the same ones, as in `optimizer.adamw.lr`. Of
    networks, `layers` has the lines of each that are not in all of them.
    """
    found = _parted("", [run.settings for run in runs])
    found.pop("name", None) if len({run.spec.name for run in runs}) < 2 else None
    layers = [run.layers for run in runs]
    if any(lines != layers[0] for lines in layers):
        common = set(layers[0]).intersection(*layers[1:])
        found["layers"] = [
            "; ".join(line.strip() for line in lines if line not in common) for lines in layers
        ]
    return found


def _parted(key: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    if all(value == values[0] for value in values):
        return {}
    if all(isinstance(value, dict) and set(value) == set(values[0]) for value in values):
        below: dict[str, list[Any]] = {}
        for name in values[0]:
            below |= _parted(f"{key}.{name}" if key else name, [value[name] for value in values])
        return below
    return {key: list(values)}


def _comparable(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, before everything else by its text."""
    if isinstance(value, int | float):
        return False, value, ""
    return True, 0.0, str(value)


def _number(folder: Path) -> tuple[str, int]:
    """So that NAME-2 comes before NAME-10."""
    name, _, number = folder.name.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (folder.name, 0)
