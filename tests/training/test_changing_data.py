"""Pictures that disappear or break while a run is on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from training_fixtures import Ear, photographs, refusal, same_run, spec

import shapecalc
from shapecalc.diagnostics import DataError, RunError


class Harm(Ear):
    """Does something once so many epochs are saved."""

    def __init__(self, epochs: int, harm: Callable[[], object]) -> None:
        super().__init__()
        self._epochs, self._harm = epochs, harm

    def begin(self, task: str, total: int) -> None:
        super().begin(task, total)
        if task.startswith("epoch") and len(self.epochs) == self._epochs:
            self._harm()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return photographs(tmp_path / "data", ["blue", "red"], splits={"train": 6, "valid": 2})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("how", ["removed", "cut", "forbidden"])
def test_a_picture_that_is_lost_while_training(
    data: Path, tmp_path: Path, how: str, epochs: int, workers: int
) -> None:
    """The run stops with its name, keeps what was saved, and goes on once it is back."""
    if how == "forbidden" and os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    file = data / "train" / "red" / "03.jpg"
    content = file.read_bytes()
    harms: dict[str, tuple[Callable[[], object], str]] = {
        "removed": (file.unlink, "cannot be opened: no such file or directory"),
        "cut": (lambda: file.write_bytes(content[:300]), "is truncated"),
        "forbidden": (lambda: file.chmod(0), "cannot be opened: permission denied"),
    }
    harm, reason = harms[how]
    given = spec(data, epochs=3, workers=workers, save_every=1, batch_size=2, cache="none")
    shapecalc.train(given, out=tmp_path / "whole")
    run = tmp_path / "run"
    found = refusal(
        DataError, lambda: shapecalc.train(given, out=run, reporter=Harm(epochs, harm)), "E404"
    )
    assert found.message == f"{file} {reason}"
    assert found.help
    if how == "removed":
        again = refusal(RunError, lambda: shapecalc.resume(run), "E503")
        assert "train has 11 pictures where it had 12" in again.message
    elif how == "cut":
        refusal(DataError, lambda: shapecalc.resume(run), "E404")
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    shapecalc.resume(run)
    assert same_run(tmp_path / "whole", run)


def test_pictures_that_are_held_may_be_lost(data: Path, tmp_path: Path) -> None:
    given = spec(data, cache="memory")
    shapecalc.train(given, out=tmp_path / "whole")
    harm = (data / "train" / "red" / "03.jpg").unlink
    shapecalc.train(given, out=tmp_path / "run", reporter=Harm(0, harm))
    assert same_run(tmp_path / "whole", tmp_path / "run")


def test_pictures_that_come_while_training_are_left_out(data: Path, tmp_path: Path) -> None:
    def more() -> None:
        photographs(tmp_path / "more", ["blue", "red"], splits={"train": 9})
        for file in (tmp_path / "more" / "train" / "red").iterdir():
            file.rename(data / "train" / "red" / f"new{file.name}")

    given = spec(data, epochs=2)
    shapecalc.train(given, out=tmp_path / "whole")
    shapecalc.train(given, out=tmp_path / "run", reporter=Harm(1, more))
    assert same_run(tmp_path / "whole", tmp_path / "run")
