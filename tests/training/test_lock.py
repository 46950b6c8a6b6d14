"""One run in a folder at a time."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery
from training_fixtures import photographs, refusal, text, wait_for

import shapecalc
from shapecalc.diagnostics import RunError
from shapecalc.training.lock import LOCK, expect_free, lock

LONG: dict[str, Any] = {"epochs": 500, "batch_size": 2, "workers": 2, "cache": "none"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("data"))


def test_a_lock_is_for_one(tmp_path: Path) -> None:
    with lock(tmp_path):
        for take in (lambda: lock(tmp_path).__enter__(), lambda: expect_free(tmp_path)):
            found = refusal(RunError, take, "E503")
            assert re.fullmatch(
                f"{tmp_path} is in use by process {os.getpid()} on .+", found.message
            )
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()
    with lock(tmp_path):
        pass


def test_a_lock_that_nobody_holds_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("process 1 on another")
    expect_free(tmp_path)
    with lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    found = refusal(RunError, lambda: lock(tmp_path).__enter__(), "E503")
    assert found.message == f"{tmp_path / LOCK} cannot be written: is a directory"


def test_a_second_run_is_refused(nursery: Nursery, data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(text(data, **LONG))
    first = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    wait_for(first, tmp_path / "run" / "state.pt")
    for words in (("tiny.yaml", "--out", "run"), ("--resume", "run")):
        second = nursery.start("train", *words, cwd=tmp_path)
        assert second.wait() == 1
        assert f"error[E503]: run is in use by process {first.pid} on " in second.said
    found = refusal(RunError, lambda: shapecalc.resume(tmp_path / "run"), "E503")
    assert f"is in use by process {first.pid} on " in found.message
    assert not first.is_over()
    first.send(signal.SIGTERM)
    assert first.wait() == 143
    assert not (tmp_path / "run" / LOCK).exists()


def test_of_two_runs_that_start_together_one_is_refused(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(text(data, epochs=1))
    for number in range(3):
        words = ("train", "tiny.yaml", "--out", f"run-{number}")
        both = [nursery.start(*words, cwd=tmp_path) for _ in range(2)]
        assert sorted(child.wait() for child in both) == [0, 1], [child.said for child in both]
        (refused,) = (child for child in both if child.code)
        assert re.search(r"error\[E503\]: run-\d is (in use by|not empty)", refused.said)
        assert shapecalc.load_run(tmp_path / f"run-{number}").epoch == 1


def test_a_killed_run_holds_nothing(nursery: Nursery, data: Path, tmp_path: Path) -> None:
    """Its workers notice after some seconds only, and must not keep the lock so long."""
    (tmp_path / "tiny.yaml").write_text(text(data, **LONG))
    child = nursery.start("train", "tiny.yaml", "--out", "run", cwd=tmp_path)
    wait_for(child, tmp_path / "run" / "state.pt")
    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    assert workers
    child.send(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert (tmp_path / "run" / LOCK).exists()
    shapecalc.resume(tmp_path / "run", epochs=1)
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/fd").exists() for pid in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
