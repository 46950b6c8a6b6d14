"""What a trained network gets right, and what it says of pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapecalc.training.evaluate import Evaluation
    from shapecalc.training.run import Prediction


def evaluation_text(result: Evaluation, classes: Sequence[str], source: str, width: int) -> str:
    """Accuracy, a row for each class, and the confusion matrix where it fits into the width."""
    name = max(len("class"), *map(len, classes))
    lines = [
        f"accuracy {result.accuracy:.2%}, loss {result.loss:.4f} on {result.count} images "
        f"of {source}",
        "",
        f"{'class'.ljust(name)}  precision  recall      F1  images",
    ]
    for label, (precision, recall, f1, count) in zip(classes, result.per_class, strict=True):
        lines.append(f"{label.ljust(name)}  {precision:9.1%}  {recall:6.1%}  {f1:6.1%}  {count:6}")
    cell = max(len(str(max(map(max, result.confusion)))), len(str(len(classes)))) + 1
    corner = "true / predicted"
    room = max(name + 4, len(corner))
    if room + cell * len(classes) > width:
        return "\n".join([*lines, "", "(the confusion matrix needs a wider terminal)"])
    numbers = "".join(str(i).rjust(cell) for i in range(1, len(classes) + 1))
    lines += ["", f"{corner.ljust(room)}{numbers}"]
    for i, (label, row) in enumerate(zip(classes, result.confusion, strict=True), 1):
        counts = "".join((str(n) if n else ".").rjust(cell) for n in row)
        lines.append(f"{i:3} {label.ljust(room - 4)}{counts}")
    return "\n".join(lines)


def evaluation_json(result: Evaluation, classes: Sequence[str]) -> str:
    keys = ("precision", "recall", "f1", "images")
    data = {
        "accuracy": result.accuracy,
        "loss": result.loss,
        "images": result.count,
        "classes": {
            name: dict(zip(keys, values, strict=True))
            for name, values in zip(classes, result.per_class, strict=True)
        },
        "confusion": result.confusion,
    }
    return json.dumps(data, indent=2)


def predictions_text(found: Sequence[Prediction]) -> str:
    """A line for each picture, and one for each class below it."""
    lines = []
    for prediction in found:
        room = max(len(name) for name, _ in prediction.classes)
        lines.append(str(prediction.path))
        lines += [f"  {share:6.1%}  {name.ljust(room)}" for name, share in prediction.classes]
    return "\n".join(line.rstrip() for line in lines)


def predictions_json(found: Sequence[Prediction]) -> str:
    data = [
        {
            "image": str(p.path),
            "classes": [{"class": name, "probability": share} for name, share in p.classes],
        }
        for p in found
    ]
    return json.dumps(data, indent=2)
