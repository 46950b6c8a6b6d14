"""Training as it is seen in a log, where no terminal is."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from shapecalc.report.progress import Progress

METRICS = {
    "epoch": 3,
    "train_loss": 1.23456,
    "train_accuracy": 0.5,
    "valid_loss": 0.9,
    "valid_accuracy": 0.625,
    "lr": 0.00125,
    "images_per_second": 81.26,
    "seconds": 12.4,
}


@pytest.fixture(autouse=True)
def narrow_log(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")


def test_a_line_for_each_epoch_and_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.note("on the cpu [bold] at 3x512x512, which is a line that is not broken in a log")
        progress.started(Path("runs/a-1"), 0, 3)
        progress.begin("epoch 3", 10)
        assert not progress.wants(1)
        progress.update(1, loss=0.5, accuracy=0.25)
        progress.epoch(METRICS)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "on the cpu [bold] at 3x512x512, which is a line that is not broken in a log",
        "epoch 3: train loss 1.2346, accuracy 50.0%; valid loss 0.9000, accuracy 62.5%; "
        "lr 0.00125, 81.3 images/s, 12 s",
    ]


def test_a_stop_that_waits_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.begin("epoch 1", 10)
        progress.hurry()
    said = "stopping once this step is done and saved; Ctrl-C stops at once\n"
    assert capsys.readouterr().err == said


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal is sent while an epoch of two goes on."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    with Progress(Console(file=file, force_terminal=True, width=width, color_system=None)) as bar:
        bar.started(Path("runs/a-1"), 0.25, 2)
        bar.begin("epoch 1/2", 10)
        for done in (5, 7):
            bar.update(done, loss=0.5, accuracy=0.25, lr=0.00125, images=8.0 * done)
            time.sleep(0.2)
    return file.getvalue()


def test_a_bar_has_the_figures_that_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = shown(110, monkeypatch)
    figures = r"loss 0\.5000  accuracy 25\.0%  lr 0\.001\d  \S+ images/s  \d:\d\d left"
    assert re.search(rf"epoch 1/2 .* 7/10 +{figures}", wide)
    narrow = shown(60, monkeypatch)
    assert "loss 0.5000  accuracy 25.0%" in narrow
    assert "images/s" not in narrow
    assert "loss" not in shown(50, monkeypatch)


def test_an_epoch_says_how_long_the_others_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.started(Path("runs/a-1"), 2, 50_000_000)
        progress.epoch(METRICS)
    assert re.search(r", 12 s; \d+:\d\d(:\d\d)? left\n$", capsys.readouterr().err)
