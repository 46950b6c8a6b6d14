"""Runs beside each other: as a table, as JSON, and their curves in one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from shapecalc.analysis.runs import RunSummary, differing
from shapecalc.language.writer import flow
from shapecalc.report import chart

_WIDEST = 36
"""Characters of a setting that are shown."""
_DISPENSABLE = ("begun", "time", "at")
"""Columns that a narrow terminal does without, once no more settings can be left out."""


def as_text(
    runs: Sequence[RunSummary], settings: Mapping[str, Sequence[Any]], width: int = 100
) -> str:
    """A line for each run: what it came to, then the settings in which the runs differ."""
    columns = {
        "run": [str(run.folder) for run in runs],
        "best": [_percent(run.best) for run in runs],
        "at": [f"{run.best['epoch']}" if run.best else "" for run in runs],
        "loss": [_loss(run.best) for run in runs],
        "epochs": [f"{run.epochs}/{run.planned}" for run in runs],
        "time": [duration(run.seconds) for run in runs],
        "begun": [when(run.started) for run in runs],
    }
    named = {f"train.{key}" if key in columns else key: key for key in settings if key != "epochs"}
    columns |= {name: [_cell(value) for value in settings[key]] for name, key in named.items()}
    dropped: list[str] = []
    droppable = [*reversed(list(named)), *_DISPENSABLE]
    while droppable and _width(columns) > width:
        dropped.append(droppable.pop(0))
        del columns[dropped[-1]]
    padded = []
    for heading, cells in columns.items():
        room = max(map(len, (heading, *cells)))
        right = heading in ("best", "at", "loss", "epochs", "time")
        padded.append([c.rjust(room) if right else c.ljust(room) for c in (heading, *cells)])
    lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    if dropped:
        lines.append(f"(too narrow for: {', '.join(reversed(dropped))})")
    return "\n".join(lines)


def repeats_text(runs: Sequence[RunSummary], width: int = 100) -> str:
    """Runs that differ by their seed: a line for each, then the mean and the spread of those that
    have an epoch."""
    lines = [as_text(runs, differing(runs), width)]
    for name, rows in (
        ("best", [run.best for run in runs if run.best]),
        ("last", [run.metrics[-1] for run in runs if run.best]),
    ):
        values = [row["valid_accuracy"] for row in rows]
        if len(values) > 1:
            low, high = min(values), max(values)
            lines.append(
                f"{name} accuracy of {len(values)} runs: mean {mean(values):.2%}, "
                f"standard deviation {stdev(values):.2%} (of a sample), {low:.2%} to {high:.2%}"
            )
        elif values:
            lines.append(f"{name} accuracy of 1 run: {values[0]:.2%}; a spread needs two")
    return "\n".join(lines)


def as_json(runs: Sequence[RunSummary], settings: Mapping[str, Sequence[Any]]) -> str:
    data = [
        {
            "run": str(run.folder),
            "name": run.spec.name,
            "started": run.started or None,
            "epochs": run.epochs,
            "planned": run.planned,
            "best": run.best,
            "last": run.metrics[-1] if run.metrics else None,
            "seconds": round(run.seconds, 3),
            "settings": {key: values[number] for key, values in settings.items()},
        }
        for number, run in enumerate(runs)
    ]
    return json.dumps(data, indent=2)


def draw(
    runs: Sequence[RunSummary], settings: Mapping[str, Sequence[Any]], path: Path, title: str
) -> None:
    """Write an SVG of the validation accuracy and loss of runs over each other.

    Raises OSError.
    """
    charts = []
    legend = []
    for key, heading, percent in (
        ("valid_accuracy", "Validation accuracy, %", True),
        ("valid_loss", "Validation loss", False),
    ):
        lines = [
            chart.Line(run.folder.name, points(run.metrics, key), *chart.series(number))
            for number, run in enumerate(runs)
        ]
        values = [y for line in lines for _, y in line.points]
        charts.append(
            chart.line_chart(
                lines, title=heading, up=chart.Scale.around(values, percent=percent), named=False
            )
        )
        legend = lines
    named = []
    for number, (run, line) in enumerate(zip(runs, legend, strict=True)):
        said = [f"{key} {_cell(values[number])}" for key, values in settings.items()]
        result = f"best {_percent(run.best)}" if run.best else "no epoch yet"
        named.append((f"{run.folder.name}: {', '.join([result, *said])}", line))
    path.write_text(chart.sheet(charts, title=title, legend=named), encoding="utf-8")


def points(metrics: Sequence[Mapping[str, float]], key: str) -> list[chart.Point]:
    """(epoch, value) of the rows that have a value."""
    return [(row["epoch"], row[key]) for row in metrics if isinstance(row.get(key), int | float)]


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _percent(row: Mapping[str, float] | None) -> str:
    return f"{row['valid_accuracy']:.2%}" if row else "-"


def _loss(row: Mapping[str, float] | None) -> str:
    return f"{row['valid_loss']:.4f}" if row and "valid_loss" in row else "-"


def when(started: str) -> str:
    """A time of the reader's own clock, to the minute."""
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def _cell(value: Any) -> str:
    text = chart.plain(value if isinstance(value, str) else flow(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    widest = (max(map(len, (heading, *cells))) for heading, cells in columns.items())
    return sum(room + 2 for room in widest) - 2
