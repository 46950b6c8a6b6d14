"""A run as one page that opens anywhere: no server, no network, nothing beside it.

Everything that comes from a spec, a folder or a file is escaped by the template, and the page
forbids itself whatever could still load or run: its policy allows the one script it was made with.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shapecalc import __version__
from shapecalc.analysis.runs import best
from shapecalc.language.writer import flow
from shapecalc.report import chart, pictures, table
from shapecalc.report.runs import duration, points, when
from shapecalc.tracer import Trace

if TYPE_CHECKING:
    from shapecalc.training.findings import Findings

_TEMPLATES = Path(__file__).with_name("page")
_NUMBERED = 30
"""The most classes whose confusion is a table of counts; of more it is a picture."""
_BLUE = 0, 103, 168
_PAIRS, _EPOCHS, _OPEN_ROWS = 12, 1000, 60
"""Confused pairs and epochs that are listed; the most rows of a network that are open at first."""


def page(
    trace: Trace,
    findings: Findings,
    *,
    epoch: int,
    metrics: Sequence[Mapping[str, float]] = (),
    machine: Mapping[str, Any] | None = None,
) -> str:
    """The page, for the weights of an epoch."""
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "count": lambda number: f"{number:,}"}
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        version=__version__,
        name=trace.name,
        epoch=epoch,
        epochs=len(metrics),
        findings=findings,
        evaluation=findings.evaluation,
        headline=list(_headline(trace, findings, metrics)),
        charts=list(_charts(metrics)),
        metrics=_listed(metrics),
        best=best(metrics),
        classes=list(zip(findings.classes, findings.evaluation.per_class, strict=True)),
        confusion=_confusion(findings),
        pairs=_pairs(findings),
        headings=table.HEADINGS,
        rows=table.cells(trace),
        open_rows=_OPEN_ROWS,
        summary=table.summary(trace),
        spec=trace.spec.to_yaml(),
        settings=list(_settings(trace)),
        machine=list(_machine(machine or {})),
        style=Markup(style + chart.dark_style()),
        script=Markup(script),
        digest=digest,
    )


def _headline(
    trace: Trace, findings: Findings, metrics: Sequence[Mapping[str, float]]
) -> Iterator[tuple[str, str]]:
    """The figures that matter most, each with what it is."""
    yield f"{findings.evaluation.loss:.4g}", "loss"
    yield f"{trace.params:,}", "params"
    yield table.quantity(trace.macs), "MACs a picture"
    if seconds := sum(row.get("seconds", 0.0) for row in metrics):
        yield duration(seconds), f"of training, {len(metrics)} epochs"
    rates = [row["images_per_second"] for row in metrics if "images_per_second" in row]
    if rates:
        yield f"{median(rates):.3g}", "pictures a second"


def _charts(metrics: Sequence[Mapping[str, float]]) -> Iterator[tuple[Markup, str]]:
    """The curves of a run, each with the values of its last epoch."""
    top = best(metrics)
    for title, keys, percent in (
        ("Loss", ("train_loss", "valid_loss"), False),
        ("Accuracy, %", ("train_accuracy", "valid_accuracy"), True),
        ("Learning rate", ("lr",), False),
        ("Pictures a second", ("images_per_second",), False),
    ):
        names = [key.partition("_")[0] if len(keys) > 1 else "" for key in keys]
        lines = [
            chart.Line(name, points(metrics, key), "train" if name == "train" else "valid")
            for name, key in zip(names, keys, strict=True)
        ]
        values = [y for line in lines for _, y in line.points]
        if not values:
            continue
        log = not percent and min(values) > 0 and max(values) > 30 * min(values)
        mark = None
        if top is not None and keys[-1] == "valid_accuracy":
            mark = top["epoch"], f"best {_percent(top['valid_accuracy'])}, epoch {top['epoch']}"
        last = [f"{line.name} {_said(line.points[-1][1], percent)}".strip()
                for line in lines if line.points]  # fmt: skip
        rest = f"epoch {lines[-1].points[-1][0]:g}: {', '.join(last)}"
        drawn = chart.line_chart(
            lines,
            title=title,
            up=chart.Scale.around(values, log=log, percent=percent),
            mark=mark,
            about=f"{title} by epoch. At the last {rest}",
        )
        yield Markup(drawn), rest


def _listed(metrics: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """The rows of epochs; of very many every so many, and the last."""
    every = math.ceil(len(metrics) / _EPOCHS) or 1
    return [row for left, row in zip(range(len(metrics) - 1, -1, -1), metrics, strict=True)
            if left % every == 0]  # fmt: skip


def _confusion(findings: Findings) -> dict[str, Any]:
    """Rows of (count, share of its row), or a picture of the shares where there are many."""
    counts = np.array(findings.evaluation.confusion, dtype=np.float64)
    shares = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    if len(findings.classes) > _NUMBERED:
        return {"picture": pictures.shares(shares, _BLUE), "rows": []}
    rows = [
        [(int(count), float(share)) for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    return {"picture": "", "rows": rows}


def _pairs(findings: Findings) -> list[tuple[str, str, int, float]]:
    """What is most often taken for what: true class, said class, count, share of the true one."""
    confusion, names = findings.evaluation.confusion, findings.classes
    pairs = [
        (names[i], names[j], count, count / sum(row))
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if count and i != j
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_PAIRS]


def _settings(trace: Trace) -> Iterator[tuple[str, str, bool]]:
    """Every setting of the recipe: its key, its value as YAML, and whether the spec gives it."""
    recipe = trace.spec.recipe()
    for key, value in recipe.model_dump().items():
        given = trace.spec.train.get(key, value)
        yield key, flow(given), key in trace.spec.train


_TOLD = {
    "started": "Begun",
    "model": "Device",
    "precision": "Precision",
    "threads": "Threads",
    "cores": "Cores",
    "system": "System",
    "python": "Python",
    "torch": "torch",
    "torchvision": "torchvision",
    "cuda": "CUDA",
    "shapecalc": "shapecalc",
}


def _machine(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of the machine, in words."""
    for key, name in _TOLD.items():
        if machine.get(key) is not None:
            said = str(machine[key])
            yield name, when(said) or said if key == "started" else said


def _said(value: float, percent: bool) -> str:
    return _percent(value) if percent else f"{value:.4g}"


def _percent(share: float) -> str:
    """A share with a digit behind the point; the full 100 % is for what is whole."""
    number = "100" if share >= 1 else f"{min(share * 100, 99.9):.1f}"
    return f"{number}\N{NO-BREAK SPACE}%"
