"""train, eval and predict as they are typed: what is printed, where, and the exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from training_fixtures import FILES, Learned, Shell, metrics, photographs, text


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of two pictures in ./data, and a spec for them in ./tiny.yaml."""
    photographs(tmp_path / "data", ["blue", "red"], splits={"train": 2, "valid": 1})
    (tmp_path / "tiny.yaml").write_text(text(None, epochs=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_prints_what_it_does(shell: Shell, small: Path) -> None:
    found = shell("train", "tiny.yaml", "--data", "data", "--epochs", 2, "--out", "mine")
    assert found.code == 0
    assert found.out.startswith("the run is in mine; its best weights, of epoch ")
    assert found.out.endswith(": mine/best.safetensors\n")
    assert len(found.out.splitlines()) == 1
    lines = found.err.splitlines()
    assert "the data has 2 classes: classes is 2 in place of 10" in lines
    assert "training on cpu in fp32 (as set)" in lines
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == [
        "epoch 1",
        "epoch 2",
    ]
    assert {path.name for path in (small / "mine").iterdir()} == FILES
    again = shell("train", "--resume", "mine", "--epochs", 3)
    assert again.code == 0
    assert "3 epochs in place of 2: the schedule is counted anew" in again.err
    assert len(metrics(small / "mine")) == 3
    done = shell("train", "--resume", "mine")
    assert done.code == 0
    assert "mine is finished: 3 epochs of 3 are done" in done.err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("tiny.yaml", "--resume", "mine"),
        ("--resume", "mine", "--data", "data"),
        ("--resume", "mine", "--out", "other"),
        ("--resume", "mine", "--set", "train.epochs=3"),
        ("--resume", "mine", "--input", "3x8x8"),
        ("tiny.yaml", "--epochs", "0"),
        ("tiny.yaml", "--epochs", "many"),
        ("tiny.yaml", "--set", "epochs"),
        ("tiny.yaml", "--wrong"),
    ],
)
def test_a_command_used_wrongly(shell: Shell, small: Path, words: tuple[str, ...]) -> None:
    found = shell("train", *words)
    assert found.code == 2
    assert found.err
    assert found.out == ""
    assert {path.name for path in small.iterdir()} == {"data", "tiny.yaml"}


@pytest.mark.parametrize(
    ("words", "named", "mend"),
    [
        (("tiny.yaml", "--data", "tiny.yaml"), "tiny.yaml is a file", "= help: name the folder"),
        (("tiny.yaml", "--data", "dat"), "there is no folder ", "= help: did you mean "),
        (("tiny.yaml", "--data", "data/train/red"), "no class folders", "= help: put the images"),
        (("tiny.yaml",), "there is nothing to train on", "= help: give --data DIR"),
        (("tony.yaml", "--data", "data"), "tony.yaml", "tiny.yaml"),
        (("tiny.yaml", "--data", "data", "--out", "data"), "data is not empty", "another --out"),
        (("tiny.yaml", "--data", "data", "--device", "gpu"), "no device 'gpu'", "cpu or cuda"),
        (
            ("tiny.yaml", "--data", "data", "--set", "train.optimizer=adamv"),
            "'adamv'",
            "did you mean adam?",
        ),
        (("tiny.yaml", "--data", "data", "--set", "params.classes=5"), "gives 5 outputs", "give 2"),
        (("--resume", "missing"), "missing does not exist", ""),
        (("--resume", "data"), "data is no run", ""),
    ],
)
def test_faults_have_a_mend(
    shell: Shell, small: Path, words: tuple[str, ...], named: str, mend: str
) -> None:
    found = shell("train", *words)
    assert found.code == 1
    assert found.err.count("error[E") == 1
    assert named in found.err
    assert mend in found.err
    assert found.out == ""
    assert {path.name for path in small.iterdir()} == {"data", "tiny.yaml"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_gpu_that_is_not_there(shell: Shell, small: Path) -> None:
    found = shell("train", "tiny.yaml", "--data", "data", "--device", "cuda")
    assert found.code == 1
    assert "cuda is asked for, but this machine has no CUDA device" in found.err
    assert "= help: leave --device out" in found.err


def test_a_broken_picture_is_named_or_skipped(shell: Shell, small: Path) -> None:
    path = Path("data/train/red/00.jpg")
    path.write_bytes(path.read_bytes()[:200])
    found = shell("train", "tiny.yaml", "--data", "data")
    assert found.code == 1
    assert str(path) in found.err
    assert "--skip-bad" in found.err
    assert not (small / "runs").exists()
    found = shell("train", "tiny.yaml", "--data", "data", "--skip-bad")
    assert found.code == 0
    assert f"skipped {path} is truncated" in found.err
    found = shell("train", "--resume", "runs/tiny-1", "--epochs", 2, "--skip-bad")
    assert found.code == 0
    assert len(metrics(small / "runs" / "tiny-1")) == 2


def test_a_loss_that_is_no_number(shell: Shell, small: Path) -> None:
    setting = "train.optimizer={sgd: {lr: 1e30}}"
    found = shell("train", "tiny.yaml", "--data", "data", "--set", setting)
    assert found.code == 1
    assert "error[E504]: the loss is " in found.err
    assert "= help: lower the learning rate" in found.err


@pytest.fixture
def weights(learned: Learned, tmp_path: Path) -> Path:
    return Path(shutil.copy(learned.run.path, tmp_path / "network.safetensors"))


def test_eval(shell: Shell, learned: Learned, weights: Path) -> None:
    best = metrics(learned.folder)[learned.run.epoch - 1]
    found = shell("eval", weights, "--split", "valid", "--device", "cpu")
    assert found.code == 0
    assert found.out.startswith(f"accuracy {best['valid_accuracy']:.2%}, loss ")
    assert "on 12 images" in found.out
    found = shell("eval", weights, "--data", learned.data, "--split", "valid", "--format", "json")
    report = json.loads(found.out)
    assert report["accuracy"] == best["valid_accuracy"]
    assert report["images"] == 12
    assert list(report["classes"]) == ["blue", "green", "red"]
    assert sum(map(sum, report["confusion"])) == 12


def test_predict(shell: Shell, learned: Learned, weights: Path) -> None:
    paths = [learned.data / "valid" / name / "00.jpg" for name in ("red", "blue")]
    found = shell("predict", weights, *paths, "--format", "json")
    assert found.code == 0
    report = json.loads(found.out)
    assert [entry["image"] for entry in report] == list(map(str, paths))
    for entry in report:
        assert sum(row["probability"] for row in entry["classes"]) == pytest.approx(1, abs=1e-6)
    found = shell("predict", weights, paths[0], "--top", 1)
    first, second = found.out.splitlines()
    assert first == str(paths[0])
    assert second.endswith(report[0]["classes"][0]["class"])


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_run_that_is_not_there(
    shell: Shell, learned: Learned, tmp_path: Path, command: str
) -> None:
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    words = [learned.data / "valid" / "red" / "00.jpg"] if command == "predict" else []
    for name in ("missing", "junk.safetensors"):
        found = shell(command, tmp_path / name, *words)
        assert found.code == 1
        assert "error[E502]: " in found.err
        assert str(tmp_path / name) in found.err


def test_pictures_that_are_not_there(shell: Shell, weights: Path, tmp_path: Path) -> None:
    found = shell("predict", weights, "missing.jpg")
    assert found.code == 1
    assert "missing.jpg cannot be opened: no such file" in found.err
    found = shell("eval", weights, "--data", tmp_path / "nowhere")
    assert found.code == 1
    assert "there is no folder" in found.err
    assert shell("predict", weights).code == 2
    assert shell("predict", weights, "x.jpg", "--top", 0).code == 2
