"""Passes that are recorded and replayed, against passes as they come.

A CUDA graph needs a GPU. What it must not change is tried here with a recording that has its
limits: it reads from places that are fixed when it is made, and its sums lie in others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_fixtures import HEAD, NORMED, PLAIN, RECIPES, Ear, Learned, same_run, spec

import shapecalc
from shapecalc.training import graphs, loop
from shapecalc.training.graphs import Graphs, Recorded, Sums, Work


class Recorder:
    """Stands in for the making of graphs on a CPU."""

    def __init__(self, fails: bool = False) -> None:
        self.made: list[tuple[int, ...]] = []
        self.replayed = 0
        self.fails = fails

    def __call__(
        self, work: Work, inputs: Sequence[Tensor | None], beside: Recorded | None
    ) -> Recorded:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        assert self.made or beside is None
        assert inputs[0] is not None
        self.made.append(tuple(inputs[0].shape))
        sums: Sums = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        with torch.no_grad():
            places = [x.fill_(torch.nan) if x is not None and x.is_floating_point() else x
                      for x in inputs]  # fmt: skip

        def replay() -> None:
            self.replayed += 1
            for place, new in zip(sums, work(*places), strict=True):
                place.copy_(new)

        return Recorded(inputs, sums, replay)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return recording(monkeypatch, Recorder())


def recording(monkeypatch: pytest.MonkeyPatch, made: Recorder) -> Recorder:
    monkeypatch.setattr(
        loop, "graphs_for", lambda _, model, *rest: Graphs(model.parameters(), made, rest[-1])
    )
    return made


@pytest.mark.parametrize("name", RECIPES)
def test_replayed_passes_learn_the_same(
    name: str, learned: Learned, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 pictures in batches of 7, so that the last one has 3."""
    given = spec(learned.data, layers=NORMED, params="{classes: 3}", batch_size=7, epochs=12)
    given = given.model_copy(update={"train": {**given.train, **RECIPES[name]}})
    shapecalc.train(given, out=tmp_path / "replayed")
    assert recorder.replayed >= 8
    assert {shape[0] for shape in recorder.made} == {7, 3}
    monkeypatch.undo()
    shapecalc.train(given, out=tmp_path / "plain")
    assert same_run(tmp_path / "replayed", tmp_path / "plain")


def test_after_the_head_all_is_recorded_anew(
    learned: Learned, tmp_path: Path, recorder: Recorder
) -> None:
    given = spec(
        learned.data, layers=NORMED, params="{classes: 3}", batch_size=24, freeze=6, epochs=12
    )
    shapecalc.train(given, out=tmp_path / "run")
    assert len(recorder.made) == 2


def test_what_cannot_be_recorded_runs_as_it_comes(
    learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, given = Ear(), spec(learned.data, params="{classes: 3}", epochs=4)
    recording(monkeypatch, Recorder(fails=True))
    shapecalc.train(given, out=tmp_path / "run", reporter=ear)
    said = [note for note in ear.notes if "graph" in note]
    assert said == [
        "steps run kernel by kernel, as no graph can be made: "
        "operation not permitted when stream is capturing"
    ]
    monkeypatch.undo()
    shapecalc.train(given, out=tmp_path / "plain")
    assert same_run(tmp_path / "run", tmp_path / "plain")


def test_a_lack_of_memory_while_recording_makes_batches_smaller(
    learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(Recorder):
        def __call__(
            self, work: Work, inputs: Sequence[Tensor | None], beside: Recorded | None
        ) -> Recorded:
            assert inputs[0] is not None
            if len(inputs[0]) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(work, inputs, beside)

    recorder, ear = recording(monkeypatch, Small()), Ear()
    given = spec(learned.data, layers=(*PLAIN, HEAD), params="{classes: 3}", epochs=6)
    shapecalc.train(given, out=tmp_path / "run", reporter=ear)
    assert "out of memory with 8 images at once: going on with 4" in ear.said
    assert recorder.made == [(4, 3, 16, 16)]
    assert recorder.replayed > 10


def test_on_a_cpu_there_are_none(learned: Learned) -> None:
    recipe, model = spec(learned.data).recipe(), torch.nn.Linear(1, 1)
    assert graphs.graphs_for(recipe, model, torch.device("cpu"), Ear()) is None
    cuda, ear = torch.device("cuda"), Ear()
    assert graphs.graphs_for(recipe, model, cuda, ear) is not None
    assert ear.notes == ["replays each size of batch as a CUDA graph once it has run 3 times"]
    for settings in ({"cuda_graphs": False}, {"compile": True}):
        assert graphs.graphs_for(recipe.model_copy(update=settings), model, cuda, Ear()) is None
