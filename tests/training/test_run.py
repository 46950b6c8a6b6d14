"""What can be done with a trained network, from its folder or from one file."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from training_fixtures import Learned, metrics, refusal

import shapecalc
from shapecalc.diagnostics import DataError, RunError
from shapecalc.training.run import Run, new_folder


@pytest.fixture
def alone(learned: Learned, tmp_path: Path) -> Run:
    """The run from its weights file alone, in a folder of its own."""
    path = tmp_path / "alone" / "network.safetensors"
    path.parent.mkdir()
    shutil.copy(learned.run.path, path)
    return shapecalc.load_run(path)


def pictures(learned: Learned) -> list[Path]:
    return sorted((learned.data / "valid").glob("*/*.jpg"))


def test_evaluation_gives_the_metrics_of_the_best_epoch(learned: Learned, alone: Run) -> None:
    best = metrics(learned.folder)[alone.epoch - 1]
    for data, split in ((None, "valid"), (learned.data, "valid"), (learned.data, "val")):
        result, samples = alone.evaluate(data, split=split)
        assert result.accuracy == best["valid_accuracy"]
        assert result.loss == pytest.approx(best["valid_loss"], rel=1e-6)
        assert samples.classes == ("blue", "green", "red")
        assert result.count == 12
    result, _ = alone.evaluate(split="train")
    assert result.count == 24


def test_classes_of_a_folder_go_by_name(learned: Learned, alone: Run, tmp_path: Path) -> None:
    """A folder with one class, and one with those there are in another order of making."""
    whole, _ = alone.evaluate(split="valid")
    shutil.copytree(learned.data / "valid" / "red", tmp_path / "one" / "red")
    one, samples = alone.evaluate(tmp_path / "one")
    assert one.confusion[2] == whole.confusion[2]
    assert one.confusion[:2] == [[0, 0, 0], [0, 0, 0]]
    assert set(samples.labels) == {2}
    for name in ("red", "blue"):
        shutil.copytree(learned.data / "valid" / name, tmp_path / "two" / name)
    two, _ = alone.evaluate(tmp_path / "two")
    assert two.confusion == [whole.confusion[0], [0, 0, 0], whole.confusion[2]]


def test_a_class_that_the_network_does_not_know(
    learned: Learned, alone: Run, tmp_path: Path
) -> None:
    shutil.copytree(learned.data / "valid" / "red", tmp_path / "data" / "pink")
    found = refusal(DataError, lambda: alone.evaluate(tmp_path / "data"), "E403")
    assert "pink" in found.message


def test_prediction_agrees_with_evaluation(learned: Learned, alone: Run) -> None:
    result, _ = alone.evaluate(split="valid")
    counts = {name: dict.fromkeys(alone.classes, 0) for name in alone.classes}
    paths = pictures(learned)
    for path, prediction in zip(paths, alone.predict(paths), strict=True):
        assert prediction.path == path
        counts[path.parent.name][prediction.classes[0][0]] += 1
    assert [list(row.values()) for row in counts.values()] == result.confusion


def test_views_of_a_picture_and_its_mirror_image(
    learned: Learned, alone: Run, tmp_path: Path
) -> None:
    """Probabilities by hand, for predict as for eval."""
    path, mirrored = pictures(learned)[5], tmp_path / "mirrored.png"
    with Image.open(path) as image:
        size = alone.input_shape[:0:-1]  # the mirror image of what the network sees
        small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    small.save(tmp_path / "plain.png")
    small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    found = alone.predict([tmp_path / "plain.png", mirrored])
    plain, mirror = (dict(prediction.classes) for prediction in found)
    assert plain != mirror
    alone.spec = alone.spec.model_copy(update={"train": {**alone.spec.train, "tta": "flips"}})
    (both,) = alone.predict([tmp_path / "plain.png"])
    by_hand = {name: (plain[name] + mirror[name]) / 2 for name in plain}
    assert dict(both.classes) == pytest.approx(by_hand, abs=1e-5)
    losses = []
    result, _ = alone.evaluate(
        split="valid",
        on_batch=lambda output, labels: losses.append(
            torch.nn.functional.nll_loss(output, labels, reduction="sum")
        ),
    )
    assert result.loss == pytest.approx(float(sum(losses)) / 12)  # logarithms of probabilities
    said = alone.predict(pictures(learned))
    answers = [dict(found.classes)[found.path.parent.name] for found in said]
    assert result.loss == pytest.approx(-sum(map(math.log, answers)) / 12, rel=1e-4)


def test_probabilities(learned: Learned, alone: Run) -> None:
    (path,) = pictures(learned)[:1]
    (found,) = alone.predict([path], top=3)
    shares = [share for _, share in found.classes]
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    assert shares == sorted(shares, reverse=True)
    assert {name for name, _ in found.classes} == set(alone.classes)
    assert alone.predict([path], top=99) == [found]
    assert alone.predict([str(path)], top=1)[0].classes == found.classes[:1]


def test_the_model_is_a_plain_module(learned: Learned, alone: Run) -> None:
    """By hand: the documented input, normalised float32 [N, C, H, W]."""
    (path,) = pictures(learned)[:1]
    pixels = shapecalc.training.images.read_image(
        path, channels=3, size=(16, 16), resize=alone.preprocessing.resize
    )
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in alone.preprocessing[1:])
    with torch.no_grad():
        shares = alone.model(((pixels / 255 - mean) / std)[None]).softmax(1)[0]
    for name, share in alone.predict([path])[0].classes:
        assert share == pytest.approx(shares[alone.classes.index(name)].item(), abs=1e-5)


def test_a_folder_stands_for_the_pictures_in_it(learned: Learned, alone: Run) -> None:
    """More of them than are decoded in this process alone."""
    folder = learned.data / "train"
    files = sorted(folder.rglob("*.jpg"))
    assert len(files) > 16
    found = alone.predict([folder])
    assert [prediction.path for prediction in found] == files
    for prediction, (one,) in zip(found[:3], (alone.predict([f]) for f in files[:3]), strict=True):
        for (name, share), (same, alike) in zip(prediction.classes, one.classes, strict=True):
            assert name == same
            assert share == pytest.approx(alike, abs=1e-2)


def test_a_folder_without_pictures_is_named(alone: Run, tmp_path: Path) -> None:
    found = refusal(DataError, lambda: alone.predict([tmp_path]), "E402")
    assert found.message == f"there are no pictures in {tmp_path}"


def test_pictures_that_cannot_be_read_are_named(
    learned: Learned, alone: Run, tmp_path: Path
) -> None:
    good = pictures(learned)[0]
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    for name in ("page.jpg", "cut.jpg", "missing.jpg"):
        path = tmp_path / name
        found = refusal(DataError, lambda path=path: alone.predict([good, path]), "E404")
        assert found.message.startswith(str(path))
        assert found.help == "give a picture, such as a JPEG or PNG file"


def test_a_picture_that_breaks_during_evaluation_is_named(
    learned: Learned, alone: Run, tmp_path: Path
) -> None:
    shutil.copytree(learned.data / "valid", tmp_path / "data")
    path = tmp_path / "data" / "red" / "01.jpg"
    path.write_bytes(b"")
    found = refusal(DataError, lambda: alone.evaluate(tmp_path / "data"), "E404")
    assert found.message == f"{path} is empty"


def test_pictures_of_any_kind(alone: Run, tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "CMYK", "1", "I;16"):
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (30, 11)).save(path)
        assert len(alone.predict([path])[0].classes) == 3


def test_data_that_has_gone_is_named(learned: Learned, alone: Run, tmp_path: Path) -> None:
    for split in ("test", "holiday"):
        with pytest.raises(DataError):
            alone.evaluate(split=split)
    refusal(DataError, lambda: alone.evaluate(tmp_path / "nowhere"), "E401")


def test_a_run_loads_from_its_folder_or_a_file(learned: Learned) -> None:
    for path in (learned.folder, str(learned.folder), learned.folder / "best.safetensors"):
        assert shapecalc.load_run(path).epoch == learned.run.epoch
    assert shapecalc.load_run(learned.folder / "last.safetensors").epoch == 4


def test_what_is_no_run(learned: Learned, tmp_path: Path) -> None:
    shutil.copytree(learned.folder, tmp_path / "tiny-1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "new").mkdir()
    shutil.copy(learned.folder / "spec.yaml", tmp_path / "new" / "spec.yaml")
    for name, what in (
        ("missing", "does not exist"),
        ("empty", "is no run"),
        ("new", "has no weights yet"),
    ):
        path = tmp_path / name
        found = refusal(RunError, lambda path=path: shapecalc.load_run(path), "E502")
        assert found.message == f"{path} {what}"
        assert str(tmp_path / "tiny-1") in found.help
    for file in ("spec.yaml", "state.pt"):
        path = learned.folder / file
        found = refusal(RunError, lambda path=path: shapecalc.load_run(path), "E502")
        assert found.message.startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("tiny", "tiny-1"),
        ("../../etc/cron", "_.._etc_cron-1"),
        ("a b/c\0", "a_b_c_-1"),
        ("...", "network-1"),
        ("Fußball", "Fußball-1"),
    ],
)
def test_a_runs_folder_is_below_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder(None, name) == Path("runs") / folder
    assert (tmp_path / "runs" / folder).is_dir()
    assert new_folder(None, name) == Path("runs") / f"{folder[:-1]}2"


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    for out in ("runs", "runs/mine", None):
        found = refusal(RunError, lambda out=out: new_folder(out, "tiny"), "E503")
        assert found.message.startswith("runs")
        assert " cannot be made: " in found.message
    assert new_folder("new/deep", "tiny") == Path("new/deep")
    assert new_folder("new/deep", "tiny") == Path("new/deep")
