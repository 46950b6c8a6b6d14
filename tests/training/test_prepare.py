"""A spec and its data are brought together before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from training_fixtures import HEAD, PLAIN, Ear, photographs, refusal, spec

from shapecalc.diagnostics import DataError, SpecError
from shapecalc.training.prepare import Task, prepare


def ready(given: Any, *, skip_bad: bool = False, ear: Ear | None = None) -> Task:
    return prepare(given, skip_bad=skip_bad, threads=0, reporter=ear or Ear())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepare") / "colours"
    return photographs(root, splits={"train": 2, "valid": 1})


def test_classes_come_from_the_data(data: Path) -> None:
    ear = Ear()
    task = ready(spec(data), ear=ear)
    assert ear.notes[1:] == ["the data has 3 classes: classes is 3 in place of 10"]
    assert task.spec.params == {"classes": 3}
    assert task.trace.output_shape == (3,)
    assert task.data.classes == ("blue", "green", "red")
    assert task.spec.train["data"]["folder"] == str(data.absolute())


def test_classes_that_are_right_are_not_talked_of(data: Path) -> None:
    ear = Ear()
    ready(spec(data, params="{classes: 3}"), ear=ear)
    ready(spec(data, overrides={"params.classes": "3"}), ear=ear)
    ready(spec(data, params="{width: 3}", layers=(*PLAIN, "linear: ${width}")), ear=ear)
    assert "classes" not in ear.said


def test_classes_that_were_set_are_not_changed(data: Path) -> None:
    given = spec(data, overrides={"params.classes": "7"})
    found = refusal(DataError, lambda: ready(given), "E403")
    assert found.message == f"layers.5 gives 7 outputs, but {data} has 3 classes"
    assert found.help == (
        "leave --set params.classes out, or give 3; the classes are blue, green, red"
    )
    assert found.place is not None
    assert found.place.text == f"  - {HEAD}"


def test_a_wrong_number_of_outputs_is_shown_with_its_mend(data: Path) -> None:
    for params in ("{}", "{classes: 3}"):
        layers = (*PLAIN, "linear: {out_features: 7}")
        given = spec(data, layers=layers, params=params)
        found = refusal(DataError, lambda given=given: ready(given), "E403")
        assert found.message == f"layers.4 gives 7 outputs, but {data} has 3 classes"
        assert found.help == "write linear: 3; the classes are blue, green, red"
        assert found.place is not None
        assert found.place.text == "  - linear: {out_features: 7}"
        mend = found.help.split("; ")[0].removeprefix("write ")
        assert ready(spec(data, layers=(*PLAIN, mend), params=params)).trace.output_shape == (3,)


@pytest.mark.parametrize("after", [("batch_norm",), ("prelu",), ("batch_norm", "log_softmax")])
def test_the_line_to_mend_is_the_linears(data: Path, after: tuple[str, ...]) -> None:
    given = spec(data, layers=(*PLAIN, "linear: 7", *after))
    found = refusal(DataError, lambda: ready(given), "E403")
    assert found.place is not None
    assert found.place.text == "  - linear: 7"
    assert found.help.startswith("write linear: 3; ")


@pytest.mark.parametrize(
    ("layers", "message", "mended"),
    [
        (PLAIN[:3], "the network gives [4, 7, 7], but 3 classes need [3]", (*PLAIN, "linear: 3")),
        (PLAIN, "the network gives [196], but 3 classes need [3]", (*PLAIN, "linear: 3")),
    ],
)
def test_a_network_without_a_head(
    data: Path, layers: tuple[str, ...], message: str, mended: tuple[str, ...]
) -> None:
    found = refusal(DataError, lambda: ready(spec(data, layers=layers)), "E403")
    assert found.message == message
    assert found.help.startswith("end with flatten and linear: 3; ")
    assert ready(spec(data, layers=mended)).trace.output_shape == (3,)


def test_many_classes_are_not_all_named(tmp_path: Path) -> None:
    root = photographs(tmp_path / "data", ["red"], splits={"train": 1, "valid": 1})
    for number in range(13):
        for split in ("train", "valid"):
            shutil.copytree(root / split / "red", root / split / f"c{number:02}")
    found = refusal(DataError, lambda: ready(spec(root, layers=(*PLAIN, "linear: 3"))), "E403")
    assert found.message.endswith("has 14 classes")
    assert found.help.endswith("c11, ...")


def test_a_fault_in_the_network_comes_before_any_in_the_data(tmp_path: Path) -> None:
    given = spec(tmp_path / "missing", layers=("max_pool: 99", "flatten", HEAD))
    refusal(SpecError, lambda: ready(given), "E203")


def test_nothing_to_train_on() -> None:
    found = refusal(SpecError, lambda: ready(spec(None)), "E107")
    assert found.message == "there is nothing to train on: train has no data"
    assert found.help == "give --data DIR, or write data: synthetic_apparel under train:"
    assert found.place is not None
    assert found.place.text == "train:"


def broken(root: Path) -> list[Path]:
    """Pictures cut short in each split."""
    paths = [root / "train" / "red" / "00.jpg", root / "valid" / "blue" / "00.jpg"]
    for path in paths:
        path.write_bytes(path.read_bytes()[:300])
    return paths


def test_all_pictures_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    root = photographs(tmp_path / "data", splits={"train": 3, "valid": 2})
    paths = broken(root)
    with pytest.raises(DataError) as caught:
        ready(spec(root))
    found = caught.value.diagnostics
    assert [d.code for d in found] == ["E404", "E404"]
    assert [d.message.split(" is ")[0] for d in found] == list(map(str, paths))
    assert all("--skip-bad" in d.help for d in found)


def test_pictures_that_cannot_be_read_are_left_out_on_demand(tmp_path: Path) -> None:
    root = photographs(tmp_path / "data", splits={"train": 3, "valid": 2})
    paths, ear = broken(root), Ear()
    task = ready(spec(root), skip_bad=True, ear=ear)
    assert (len(task.data.train), len(task.data.valid)) == (8, 5)
    assert not {str(path) for path in paths} & {*task.data.train.files, *task.data.valid.files}
    skipped = [note for note in ear.notes if note.startswith("skipped ")]
    assert [note.split()[1] for note in skipped] == list(map(str, paths))


def test_normalisation_is_measured_given_or_left_out(data: Path) -> None:
    measured = ready(spec(data)).preprocessing(0)
    assert measured.resize == "squish"
    assert measured.mean is not None
    assert measured.std is not None
    assert all(0 < value < 1 for value in (*measured.mean, *measured.std))
    given = spec(data, normalize={"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}, resize="pad")
    assert ready(given).preprocessing(0) == ("pad", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    left_out = spec(data, overrides={"train.normalize": "null"})
    assert ready(left_out).preprocessing(0) == ("squish", None, None)


def test_normalisation_of_other_channels_is_refused(data: Path) -> None:
    given = spec(data, normalize={"mean": [0.1], "std": [1.0]})
    found = refusal(SpecError, lambda: ready(given).preprocessing(0), "E501")
    assert found.place is not None
    assert found.place.text.startswith("  normalize: ")
