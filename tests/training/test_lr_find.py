"""lr-find: the curve, the number that is read off it, and what is said where there is none."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from training_fixtures import HEAD, PLAIN, Shell, photographs, text

from shapecalc.diagnostics import RunError
from shapecalc.report.lr_find import as_text, draw
from shapecalc.training.lr_find import Sweep

NORMED = ("conv: {out_channels: 4, kernel_size: 3}", "batch_norm", "relu", "flatten", HEAD)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes in ./data, and a spec for them in ./tiny.yaml."""
    photographs(tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(text(None))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_number_and_a_picture(shell: Shell, small: Path) -> None:
    found = shell("lr-find", "tiny.yaml", "--data", "data", "--highest", 100)
    assert found.code == 0
    first, *_, last = found.out.splitlines()
    assert first.startswith("learning rate ")
    assert 1e-5 < float(first.removeprefix("learning rate ").split(":")[0]) < 1e-1
    assert last.endswith(" steps is in tiny-lr.svg")
    said = "".join(ElementTree.parse("tiny-lr.svg").getroot().itertext())
    assert "learning rate" in said
    assert "suggestion" in said
    assert {path.name for path in small.iterdir()} == {"data", "tiny.yaml", "tiny-lr.svg"}


def test_the_same_as_json(shell: Shell, small: Path) -> None:
    words = ("lr-find", "tiny.yaml", "--data", "data", "--steps", 60, "--lowest", 1e-5)
    found = shell(*words, "--highest", 1, "--plot", "curve.svg", "--format", "json")
    report = json.loads(found.out)
    rates = [step["lr"] for step in report["steps"]]
    assert rates[0] == pytest.approx(1e-5)
    growth = [after / before for before, after in pairwise(rates)]
    assert growth == pytest.approx([1e5 ** (1 / 59)] * len(growth))
    assert report["suggestion"] == pytest.approx(report["steepest"] / 10, rel=0.05)
    assert Path("curve.svg").is_file()


def test_a_sweep_ends_where_the_loss_is_no_number(shell: Shell, small: Path) -> None:
    setting = "train.optimizer={sgd: {lr: 0.1}}"
    words = ("lr-find", "tiny.yaml", "--data", "data", "--lowest", 1e6, "--highest", 1e30)
    report = json.loads(shell(*words, "--set", setting, "--format", "json").out)
    assert len(report["steps"]) < 100
    assert all(math.isfinite(step["loss"]) for step in report["steps"])
    assert report["suggestion"] is None


def test_what_is_for_a_whole_training_is_left_out(shell: Shell, small: Path) -> None:
    words = ("lr-find", "tiny.yaml", "--data", "data", "--steps", 12, "--format", "json")
    extra = ("--set", "train.schedule=one_cycle", "--set", "train.ema=0.9")
    assert shell(*words, *extra).out == shell(*words).out


def test_steps_are_those_of_training(shell: Shell, small: Path) -> None:
    """A last batch of one picture, which batch_norm cannot take, and several batches to a step."""
    Path("normed.yaml").write_text(text(None, layers=NORMED, batch_size=23))
    words = ("--data", "data", "--steps", 10, "--format", "json")
    assert len(json.loads(shell("lr-find", "normed.yaml", *words).out)["steps"]) == 10
    once = shell("lr-find", "tiny.yaml", *words, "--set", "train.layers=0")
    assert once.code == 1  # a setting that there is not
    Path("plain.yaml").write_text(text(None, layers=(*PLAIN, HEAD), batch_size=8))
    whole = shell("lr-find", "plain.yaml", *words, "--set", "train.batch_size=24")
    parts = shell("lr-find", "plain.yaml", *words, "--set", "train.accumulate=3")
    first = [json.loads(found.out)["steps"][0]["loss"] for found in (whole, parts)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)  # all 24 pictures, in any order


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--lowest", 1, "--highest", 0.1), 2, "--lowest 1 is to lie between 0 and 0.1"),
        (("--steps", 3), 2, "--steps"),
        (("--plot", "missing/curve.svg"), 2, "--plot missing/curve.svg: No such file"),
        (("--device", "gpu"), 1, "error[E501]: there is no device 'gpu'"),
        (("--set", "train.optimizer={adamw: {lrr: 1}}"), 1, "error[E"),
    ],
)
def test_faults(shell: Shell, small: Path, words: tuple[object, ...], code: int, said: str) -> None:
    found = shell("lr-find", "tiny.yaml", "--data", "data", "--steps", 10, *words)
    assert found.code == code
    assert said in found.err


def test_no_suggestion_where_nothing_is_learned(shell: Shell, small: Path) -> None:
    words = ("lr-find", "tiny.yaml", "--data", "data", "--lowest", 1e-12, "--highest", 1e-10)
    found = shell(*words, "--steps", 20)
    assert found.code == 1
    assert found.out == "the curve of 20 steps is in tiny-lr.svg\n"
    assert "error[E505]: between 1e-12 and 1e-10 the loss never fell by more" in found.err


def curve(steepest: float, *, highest: float = 10.0, noise: float = 0.0) -> Sweep:
    """Losses that fall from 2.5 to 0.5 around a rate, and rise thirty times beyond it."""
    rates = np.geomspace(1e-7, highest, 100)
    falls = 2.5 - 2 / (1 + np.exp(-3 * np.log(rates / steepest)))
    rises = np.exp(np.minimum(3 * np.log(rates / (30 * steepest)), 5))
    losses = falls + rises + noise * np.random.default_rng(0).normal(size=100)
    return Sweep(tuple(rates.tolist()), tuple(losses.tolist()))


@pytest.mark.parametrize("steepest", [1e-4, 3e-3, 0.1])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_suggestion_is_a_tenth_of_the_steepest_rate(steepest: float, noise: float) -> None:
    found = curve(steepest, noise=noise)
    assert found.suggestion is not None
    assert steepest / 20 < found.suggestion < steepest / 2  # a mean of the past lags behind
    assert found.rose


def test_a_curve_that_never_rises_says_so() -> None:
    found = curve(0.1, highest=0.3)
    assert found.least == 0.3
    assert not found.rose
    assert found.suggestion is not None
    assert found.suggestion < 0.02
    assert "it never rose: no rate up to 0.3 showed itself too high; " in as_text(found, "x.svg")


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 60,
        np.linspace(2, 9, 60).tolist(),
        (2 + 0.02 * np.random.default_rng(1).normal(size=60)).tolist(),
        [2.0],
        [2.0, 1.0],
        [2.0, 1.0, 5.0],
    ],
)
def test_no_suggestion_without_a_fall_that_can_be_told(losses: Sequence[float]) -> None:
    found = Sweep(tuple(np.geomspace(1e-7, 10, len(losses)).tolist()), tuple(losses))
    assert found.suggestion is None
    assert as_text(found, "x.svg") == f"the curve of {len(losses)} steps is in x.svg"
    with pytest.raises(RunError, match="E505: between"):
        found.expect_suggestion()


def test_the_line_of_the_picture_ends_where_the_loss_diverges(tmp_path: Path) -> None:
    rates = np.geomspace(1e-4, 1, 60).tolist()
    losses = [2.0] * 20 + [1.0] * 20 + [50.0] * 5 + [1.5] * 15
    sweep = Sweep(tuple(rates), tuple(losses))
    draw(sweep, tmp_path / "curve.svg", title="t")
    (chart,) = (node for node in ElementTree.parse(tmp_path / "curve.svg").getroot()
                if "data-chart" in node.attrib)  # fmt: skip
    ((name, points),) = json.loads(chart.attrib["data-chart"])["lines"]
    assert name == "mean"
    assert [y for _, y in points] == pytest.approx(sweep.smoothed[:40], rel=1e-5)
