"""TensorBoard's events, where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_fixtures import metrics, photographs, spec

import shapecalc


def test_the_events_are_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shapecalc.train(spec(photographs(tmp_path / "data")), out=tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    for key in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr"):
        found = {event.step: event.value for event in events.Scalars(key)}
        rows = metrics(tmp_path / "run")
        assert found == {row["epoch"]: pytest.approx(row[key], rel=1e-6) for row in rows}
