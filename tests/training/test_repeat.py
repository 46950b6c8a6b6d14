"""Runs beside each other: `train --repeat`, and `runs`."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from statistics import mean, stdev

import pytest
from training_fixtures import Output, Shell, metrics, photographs, text

from shapecalc.analysis.runs import read_run
from shapecalc.report.runs import repeats_text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Output]:
    """A folder with two runs of two epochs by `--repeat`, and a third with another rate; what the
    first command printed."""
    folder = tmp_path_factory.mktemp("repeat")
    photographs(folder / "data")
    (folder / "tiny.yaml").write_text(text(None, optimizer={"adamw": {"lr": 1e-3}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "120")
        found = _run("train", "tiny.yaml", "--data", "data", "--repeat", "2", "--out", "runs/a")
        _run(
            *("train", "tiny.yaml", "--data", "data", "--out", "runs/a-10", "--epochs", "1"),
            *("--set", "train.optimizer.adamw.lr=0.02"),
        )
    return folder, found


def _run(*words: str) -> Output:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "shapecalc", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Output(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def there(trained: tuple[Path, Output], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained[0])
    return trained[0]


def accuracies(*names: str) -> list[float]:
    """The best validation accuracy of runs."""
    return [max(row["valid_accuracy"] for row in metrics(Path("runs", name))) for name in names]


def test_repeat_tells_the_mean_and_the_spread(trained: tuple[Path, Output], there: Path) -> None:
    out = trained[1].out
    values = accuracies("a-1", "a-2")
    said = f"best accuracy of 2 runs: mean {mean(values):.2%}, standard deviation "
    assert f"{said}{stdev(values):.2%} (of a sample), {min(values):.2%} to {max(values):.2%}" in out
    assert "last accuracy of 2 runs: mean " in out
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["runs/a-1", "runs/a-2"]
    seeds = [read_run(Path("runs", name)).settings["seed"] for name in ("a-1", "a-2")]
    assert seeds == [0, 1]
    assert "run 2 of 2, with seed 1" in trained[1].err


def test_no_spread_of_fewer_than_two_runs(there: Path) -> None:
    done = read_run(Path("runs/a-1"))
    undone = type(done)(done.folder, done.spec, [], {})
    assert repeats_text([undone, undone]).count("accuracy") == 0
    said = repeats_text([done, undone]).splitlines()[-2:]
    best = accuracies("a-1")[0]
    assert said[0] == f"best accuracy of 1 run: {best:.2%}; a spread needs two"
    assert said[1].startswith("last accuracy of 1 run: ")


@pytest.mark.parametrize(
    "words", [("tiny.yaml", "--repeat", 1), ("--resume", "runs/a-1", "--repeat", 2)]
)
def test_repeat_used_wrongly(shell: Shell, there: Path, words: tuple[object, ...]) -> None:
    assert shell("train", *words).code == 2


@pytest.mark.parametrize("words", [("train", "--repeat", 2), ("lr-find",)])
def test_what_runs_in_one_process(
    shell: Shell, there: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...]
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2" if name == "WORLD_SIZE" else "0")
    found = shell(*words, "tiny.yaml", "--data", "data")
    assert found.code == 2
    assert "runs in one process: start it without torchrun" in found.err


def test_no_run_is_begun_where_a_later_one_has_no_room(shell: Shell, there: Path) -> None:
    found = shell("train", "tiny.yaml", "--data", "data", "--repeat", 11, "--out", "runs/a")
    assert found.code == 1
    assert "error[E503]: runs/a-1 is not empty" in found.err
    shutil.copytree("runs/a-1", "runs/b-2")
    found = shell("train", "tiny.yaml", "--data", "data", "--repeat", 2, "--out", "runs/b")
    shutil.rmtree("runs/b-2")
    assert "error[E503]: runs/b-2 is not empty" in found.err
    assert not Path("runs/b-1").exists()


def test_runs_has_results_and_the_settings_that_differ(shell: Shell, there: Path) -> None:
    found = shell("runs")
    assert found.code == 0
    heading, *rows = found.out.splitlines()
    assert heading.split() == [
        *("run", "best", "at", "loss", "epochs", "time", "begun"),
        *("optimizer.adamw.lr", "seed"),
    ]
    assert [row.split()[0] for row in rows] == ["runs/a-1", "runs/a-2", "runs/a-10"]
    assert [row.split()[1] for row in rows] == [
        f"{value:.2%}" for value in accuracies("a-1", "a-2", "a-10")
    ]
    pairs = [row.split()[-2:] for row in rows]
    assert pairs == [["0.001", "0"], ["0.001", "1"], ["0.02", "0"]]
    assert [row.split()[4] for row in rows] == ["2/2", "2/2", "1/1"]
    assert len(shell("runs", "runs/a-1").out.splitlines()) == 2


def test_a_setting_that_is_called_as_a_result_is(shell: Shell, there: Path) -> None:
    shutil.copytree("runs/a-1", "runs/other")
    path = Path("runs/other/spec.yaml")
    path.write_text(path.read_text() + "  loss: multi_margin_loss\n")
    found = shell("runs", "--sort", "train.loss")
    shutil.rmtree("runs/other")
    assert found.code == 0
    heading = found.out.splitlines()[0].split()
    assert heading.count("loss") == heading.count("train.loss") == 1


def test_runs_as_json_in_an_order(shell: Shell, there: Path) -> None:
    report = json.loads(shell("runs", "--sort", "accuracy", "--format", "json").out)
    best = [entry["best"]["valid_accuracy"] for entry in report]
    assert best == sorted(best, reverse=True)
    assert sorted(best) == sorted(accuracies("a-1", "a-2", "a-10"))
    report = json.loads(shell("runs", "--sort", "optimizer.adamw.lr", "--format", "json").out)
    assert report[-1]["settings"]["optimizer.adamw.lr"] == 0.02
    assert report[-1]["epochs"] == 1


def test_runs_draws_the_curves_over_each_other(shell: Shell, there: Path) -> None:
    found = shell("runs", "--plot", "curves.svg")
    assert found.code == 0
    root = ElementTree.parse("curves.svg").getroot()
    accuracy, loss = (node for node in root if node.tag == f"{SVG}svg")
    for chart, key in ((accuracy, "valid_accuracy"), (loss, "valid_loss")):
        (data,) = [json.loads(node.attrib["data-chart"]) for node in (chart,)]
        drawn = {name: [y for _, y in points] for name, points in data["lines"]}
        assert drawn == {
            name: pytest.approx([row[key] for row in metrics(Path("runs", name))], rel=1e-5)
            for name in ("a-1", "a-2", "a-10")
        }
    named = [node.text for node in root if node.tag == f"{SVG}text"]
    assert any(f"a-10: best {accuracies('a-10')[0]:.2%}, " in (text or "") for text in named)
    Path("curves.svg").unlink()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("missing",), 1, "error[E502]: there is no folder missing"),
        (("data",), 1, "error[E502]: there are no runs in data"),
        (("--sort", "accuraxy"), 1, "did you mean accuracy?"),
        (("--plot", "missing/curves.svg"), 2, "--plot missing/curves.svg: No such file"),
    ],
)
def test_faults_of_runs(
    shell: Shell, there: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    found = shell("runs", *words)
    assert found.code == code
    assert said in found.err


def test_a_run_that_cannot_be_read_is_named_beside_the_others(shell: Shell, there: Path) -> None:
    shutil.copytree("runs/a-1", "runs/broken")
    Path("runs/broken/metrics.jsonl").write_text("{")
    found = shell("runs")
    shutil.rmtree("runs/broken")
    assert found.code == 1
    assert len(found.out.splitlines()) == 4
    assert "error[E502]: runs/broken/metrics.jsonl cannot be read" in found.err
