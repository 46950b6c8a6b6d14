"""The data that settings describe, and what a network is evaluated on."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import SHAPE, find, folder, names, picture

from shapecalc.caches import cache_root
from shapecalc.diagnostics import DataError, Diagnostic
from shapecalc.language.recipe import FolderData, SyntheticApparel
from shapecalc.training import synthetic
from shapecalc.training.data import evaluation_samples, find_data
from shapecalc.training.samples import Data, Samples


@pytest.mark.parametrize("shape", [(16,), (2, 8, 8), (3, 8), (3, 4, 8, 8)])
def test_an_input_that_takes_no_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    settings = FolderData(folder=str(tmp_path))
    with pytest.raises(DataError, match=r"images need an input of \[3, H, W\]") as caught:
        find_data(settings, input_shape=shape, resize="squish", seed=0)
    assert caught.value.diagnostics[0].code == "E501"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SHAPECALC_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/shapecalc"),
        ({"HOME": "/c"}, "/c/.cache/shapecalc"),
    ],
)
def test_the_cache_is_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("SHAPECALC_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(expected)


def test_synthetic_apparel_is_drawn_into_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = []

    def draw_two_classes(root: Path, **counts: object) -> Path:
        drawn.append(counts)
        return folder(root, train__hat=2, train__cap=2, valid__hat=1, valid__cap=1)

    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path))
    monkeypatch.setattr(synthetic, "write_folder", draw_two_classes)
    settings = SyntheticApparel(train=2, valid=1, seed=5)
    data = find_data(settings, input_shape=SHAPE, resize="squish", seed=0)
    assert data.root.parent == tmp_path
    assert data.root.name.startswith("apparel-")
    assert data.root.name.endswith("-seed5-2-1")
    assert (len(data.train), len(data.valid), data.test) == (4, 2, None)
    assert drawn == [{"seed": 5, "train": 2, "valid": 1, "progress": None}]


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"E401: .* cannot be drawn.*SHAPECALC_CACHE"):
        find_data(SyntheticApparel(), input_shape=SHAPE, resize="squish", seed=0)


CLASSES = ("hat", "boot", "cap", "scarf")  # not in the order of folders


def evaluated(data: Path | Data, split: str | None = None) -> Samples:
    return evaluation_samples(
        data, classes=CLASSES, input_shape=SHAPE, resize="squish", split=split
    )


def not_evaluated(data: Path | Data, split: str | None = None) -> Diagnostic:
    with pytest.raises(DataError) as caught:
        evaluated(data, split)
    (fault,) = caught.value.diagnostics
    return fault


def test_classes_go_by_name_and_some_may_be_missing(tmp_path: Path) -> None:
    samples = evaluated(folder(tmp_path, cap=2, scarf=1, hat=1))
    assert samples.classes == CLASSES
    assert samples.root == tmp_path
    labelled = dict(zip(names(samples), samples.labels, strict=True))
    assert labelled == {"cap/000.png": 2, "cap/001.png": 2, "scarf/000.png": 3, "hat/000.png": 0}
    assert samples[0][0].shape == SHAPE


def test_a_single_class_is_enough(tmp_path: Path) -> None:
    assert evaluated(folder(tmp_path, cap=2)).labels == (2, 2)


def test_a_class_that_the_network_does_not_know(tmp_path: Path) -> None:
    fault = not_evaluated(folder(tmp_path, Cap=1, hat=1, gloves=1))
    assert fault.code == "E403"
    assert fault.message == (
        f"the classes of {tmp_path} and the network differ: the network lacks Cap, gloves; "
        "the data lacks boot, cap, scarf"
    )
    assert fault.help == "did you mean cap in place of Cap?"


def test_the_right_folder_below_is_named(tmp_path: Path) -> None:
    folder(tmp_path, clothing10__test__hat=1)
    fault = not_evaluated(tmp_path)
    assert (fault.code, fault.help) == ("E403", f"did you mean {tmp_path / 'clothing10'}?")


@pytest.mark.parametrize(
    ("present", "split", "chosen"),
    [
        (("train", "val", "test"), None, "test"),
        (("train", "val"), None, "val"),
        (("train",), None, "train"),
        (("test",), None, "test"),
        (("train", "val", "test"), "train", "train"),
        (("train", "val", "test"), "valid", "val"),
        (("train", "valid", "test"), "validation", "valid"),
        (("train", "val", "test"), "test", "test"),
    ],
)
def test_the_split_of_a_folder(
    tmp_path: Path, present: tuple[str, ...], split: str | None, chosen: str
) -> None:
    for name in present:
        folder(tmp_path / name, cap=1)
    samples = evaluated(tmp_path, split)
    assert samples.root == tmp_path / chosen
    assert samples.files == (str(tmp_path / chosen / "cap" / "000.png"),)


def test_a_test_that_nobody_has_sorted_is_no_default(tmp_path: Path) -> None:
    folder(tmp_path, valid__cap=1)
    picture(tmp_path / "test" / "1.png")
    assert evaluated(tmp_path).root == tmp_path / "valid"
    assert "1 image and no class folders" in not_evaluated(tmp_path, "test").message


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    samples = evaluation_samples(
        folder(tmp_path, train=1, car=1),
        classes=("car", "train"),
        input_shape=SHAPE,
        resize="squish",
        split=None,
    )
    assert (samples.root, samples.labels) == (tmp_path, (0, 1))


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    folder(tmp_path, train__cap=1, val__cap=1)
    fault = not_evaluated(tmp_path, "test")
    assert (fault.code, fault.message) == ("E401", f"{tmp_path} has no test/")
    assert fault.help == "it has train/, val/"
    fault = not_evaluated(folder(tmp_path / "plain", cap=1), "valid")
    assert (fault.code, fault.message) == ("E401", f"{tmp_path / 'plain'} has no valid/")
    assert fault.help == "without a split, all of it is taken"


def test_a_split_of_no_such_name(tmp_path: Path) -> None:
    folder(tmp_path, train__cap=2, train__hat=2)
    for data in (tmp_path, find(tmp_path)):
        fault = not_evaluated(data, "tests")
        assert (fault.code, fault.message) == ("E401", "there is no split tests")
        assert fault.help == "did you mean test?"
    assert not_evaluated(tmp_path, "zzz").help == "the splits are train, valid and test"


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    fault = not_evaluated(folder(tmp_path, val__cap=1, valid__cap=1))
    assert (fault.code, fault.message) == ("E402", f"{tmp_path} has valid/ and val/")


def test_a_folder_that_cannot_be_evaluated_on(tmp_path: Path) -> None:
    fault = not_evaluated(picture(tmp_path / "hat.png"))
    assert fault.message == f"{tmp_path / 'hat.png'} is a file, not a folder of class folders"
    assert fault.help == "name the folder that holds the class folders"
    folder(tmp_path, test__cap=0, test__hat=1)
    fault = not_evaluated(tmp_path)
    assert fault.message == f"the class folder {tmp_path / 'test' / 'cap'} has no images"
    assert not_evaluated(tmp_path / "tests").help == f"did you mean {tmp_path / 'test'}?"


def test_the_splits_of_a_runs_own_data(tmp_path: Path) -> None:
    folder(tmp_path, train__hat=3, train__cap=2, valid__hat=2, valid__cap=2)
    data = find(tmp_path)
    assert evaluated(data).files == data.valid.files
    assert evaluated(data, "train").files == data.train.files
    fault = not_evaluated(data, "test")
    assert (fault.code, fault.message) == ("E401", f"{tmp_path} has no test split")
    assert fault.help == "it has train and valid"
    data = find(folder(tmp_path, test__hat=1, test__cap=1))
    assert data.test is not None
    assert evaluated(data).files == data.test.files
    assert evaluated(data).root == tmp_path / "test"
    assert evaluated(data, "val").files == data.valid.files


def test_a_runs_own_data_may_have_changed(tmp_path: Path) -> None:
    samples = evaluated(find(folder(tmp_path, train__hat=2, train__cap=3)), "train")
    assert (samples.classes, set(samples.labels)) == (CLASSES, {0, 2})
    assert all(
        ("/hat/" in file) == (label == 0)
        for file, label in zip(samples.files, samples.labels, strict=True)
    )
    folder(tmp_path, train__glove=2)
    fault = not_evaluated(find(tmp_path))
    assert fault.code == "E403"
    assert "the network lacks glove" in fault.message
