"""A sweep of learning rates, as text, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from shapecalc.report import chart

if TYPE_CHECKING:
    from shapecalc.training.lr_find import Sweep


_RULE = "a tenth of the rate at which the smoothed loss falls fastest"


def as_text(sweep: Sweep, path: str) -> str:
    """The suggestion with its rule, where there is one, and where the curve is."""
    high, lines = sweep.rates[-1], []
    if sweep.suggestion is not None and sweep.steepest is not None:
        lines = [
            f"learning rate {sweep.suggestion:.2g}: a tenth of {sweep.steepest:.2g}, where the "
            "smoothed loss falls fastest",
            f"it is {sweep.first:.4g} at first, and {min(sweep.smoothed):.4g} at {sweep.least:.2g}"
            + (", where it is least" if sweep.rose else ""),
        ]
        if not sweep.rose:
            lines.append(
                f"it never rose: no rate up to {high:.2g} showed itself too high; --highest "
                f"{10 * high:.2g} may show one"
            )
    return "\n".join([*lines, f"the curve of {len(sweep.rates)} steps is in {path}"])


def as_json(sweep: Sweep) -> str:
    data = {
        "suggestion": sweep.suggestion,
        "rule": _RULE,
        "steepest": sweep.steepest,
        "least": sweep.least,
        "rose": sweep.rose,
        "steps": [
            {"lr": rate, "loss": loss, "smoothed": smoothed}
            for rate, loss, smoothed in zip(sweep.rates, sweep.losses, sweep.smoothed, strict=True)
        ],
    }
    return json.dumps(data, indent=2)


def draw(sweep: Sweep, path: Path, title: str) -> None:
    """Write an SVG of the loss by learning rate, with the suggestion marked. Raises OSError."""
    smoothed = sweep.smoothed
    bottom = smoothed.index(min(smoothed))
    highest = 1.2 * max(smoothed[: bottom + 1])  # what diverges would flatten all else
    end = next((n for n in range(bottom, len(smoothed)) if smoothed[n] > highest), len(smoothed))
    each = zip(sweep.rates, sweep.losses, strict=True)
    lines = [
        chart.Line("", [(x, y) for x, y in each if y <= highest], "grey", dots=True),
        chart.Line("mean", list(zip(sweep.rates, smoothed, strict=True))[:end], "valid"),
    ]
    marked = sweep.suggestion
    drawn = chart.line_chart(
        lines,
        title="Loss",
        across="learning rate",
        along=chart.Scale.around(sweep.rates, log=True, room=0.03),
        mark=None if marked is None else (marked, f"suggestion {marked:.2g}"),
    )
    path.write_text(chart.sheet([drawn], title=f"{title}: loss by learning rate"), "utf-8")
