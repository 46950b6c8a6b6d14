"""What a trained network gets right, as text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from shapecalc.report.results import (
    evaluation_json,
    evaluation_text,
    predictions_json,
    predictions_text,
)
from shapecalc.training.evaluate import Evaluation
from shapecalc.training.run import Prediction

CLASSES = ["hat", "raincoat", "sock"]
RESULT = Evaluation(0.5, [[3, 1, 0], [0, 4, 0], [2, 0, 0]])
FOUND = [
    Prediction(Path("a b.png"), (("raincoat", 0.875), ("hat", 0.125))),
    Prediction(Path("c.png"), (("sock", 1.0),)),
]


def test_evaluation() -> None:
    assert evaluation_text(RESULT, CLASSES, "data/test", 80) == (
        "accuracy 70.00%, loss 0.5000 on 10 images of data/test\n"
        "\n"
        "class     precision  recall      F1  images\n"
        "hat           60.0%   75.0%   66.7%       4\n"
        "raincoat      80.0%  100.0%   88.9%       4\n"
        "sock           0.0%    0.0%    0.0%       2\n"
        "\n"
        "true / predicted 1 2 3\n"
        "  1 hat          3 1 .\n"
        "  2 raincoat     . 4 .\n"
        "  3 sock         2 . ."
    )


def test_evaluation_in_a_narrow_terminal() -> None:
    text = evaluation_text(RESULT, CLASSES, "data/test", 16)
    assert text.endswith("sock           0.0%    0.0%    0.0%       2\n\n"
                         "(the confusion matrix needs a wider terminal)")  # fmt: skip


def test_columns_of_many_classes_and_large_counts_stay_apart() -> None:
    classes = [f"class {i}" for i in range(12)]
    confusion = [[1234 if i == j else 7 for j in range(12)] for i in range(12)]
    text = evaluation_text(Evaluation(0.1, confusion), classes, "x", 200)
    rows = text.splitlines()[-12:]
    assert len({len(row) for row in rows}) == 1
    for i, row in enumerate(rows):
        number, _, label, *counts = row.split()
        assert (number, label) == (str(i + 1), str(i))
        assert list(map(int, counts)) == confusion[i]


def test_evaluation_json() -> None:
    data = json.loads(evaluation_json(RESULT, CLASSES))
    assert data == {
        "accuracy": 0.7,
        "loss": 0.5,
        "images": 10,
        "classes": {
            "hat": {"precision": 0.6, "recall": 0.75, "f1": 2 * 3 / 9, "images": 4},
            "raincoat": {"precision": 0.8, "recall": 1.0, "f1": 8 / 9, "images": 4},
            "sock": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 2},
        },
        "confusion": [[3, 1, 0], [0, 4, 0], [2, 0, 0]],
    }


def test_predictions() -> None:
    assert predictions_text(FOUND) == (
        "a b.png\n   87.5%  raincoat\n   12.5%  hat\nc.png\n  100.0%  sock"
    )
    assert json.loads(predictions_json(FOUND)) == [
        {
            "image": "a b.png",
            "classes": [
                {"class": "raincoat", "probability": 0.875},
                {"class": "hat", "probability": 0.125},
            ],
        },
        {"image": "c.png", "classes": [{"class": "sock", "probability": 1.0}]},
    ]
