"""Class folders: what is found in them, what is refused, and what is set aside."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from pictures import SHAPE, find, folder, names, picture, refused


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_splits_are_found_by_name(tmp_path: Path, valid: str) -> None:
    folder(tmp_path, train__hat=3, train__cap=2, test__hat=1, test__cap=1)
    folder(tmp_path / valid, hat=1, cap=2)
    data = find(tmp_path)
    assert data.classes == ("cap", "hat")
    assert names(data.train) == [
        "cap/000.png",
        "cap/001.png",
        *(f"hat/00{i}.png" for i in range(3)),
    ]
    assert data.train.labels == (0, 0, 1, 1, 1)
    assert data.test is not None
    assert (len(data.valid), len(data.test)) == (3, 2)
    assert data.notes == ()
    roots = [samples.root.name for samples in (data.train, data.valid, data.test)]
    assert roots == ["train", valid, "test"]
    pixels, label, index = data.train[1]
    assert (pixels.shape, pixels.dtype, label, index) == (SHAPE, torch.uint8, 0, 1)
    assert pixels[:, 0, 0].tolist() == [1, 0, 0]


def test_a_single_folder_is_split_by_class(tmp_path: Path) -> None:
    data = find(folder(tmp_path, hat=20, cap=10, scarf=2))
    assert Counter(data.valid.labels) == {0: 2, 1: 4, 2: 1}
    assert Counter(data.train.labels) == {0: 8, 1: 16, 2: 1}
    assert not set(data.train.files) & set(data.valid.files)
    assert data.test is None
    assert data.notes == ("set 7 pictures aside for validation, 20% of each class",)


def test_the_split_depends_on_names_and_seed_only(tmp_path: Path) -> None:
    first = find(folder(tmp_path / "a", hat=30, cap=30))
    elsewhere = tmp_path / "b"
    for file in sorted(first.train.files + first.valid.files, reverse=True):
        picture(elsewhere / Path(file).relative_to(tmp_path / "a"))
    assert names(find(elsewhere).valid) == names(first.valid)
    assert names(find(elsewhere, seed=1).valid) != names(first.valid)


def test_another_picture_or_class_moves_no_other(tmp_path: Path) -> None:
    before = set(names(find(folder(tmp_path, hat=30, cap=30)).valid))
    folder(tmp_path, scarf=9)
    picture(tmp_path / "hat" / "more.png")
    after = set(names(find(tmp_path).valid))
    assert len(before - after) <= 1
    assert len({name for name in after - before if not name.startswith("scarf")}) <= 1


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_sides_of_a_split_keep_a_picture(tmp_path: Path, share: float) -> None:
    data = find(folder(tmp_path, hat=2, cap=5), valid=share)
    assert set(data.train.labels) == set(data.valid.labels) == {0, 1}


def test_train_without_a_validation_folder_is_split(tmp_path: Path) -> None:
    data = find(folder(tmp_path, train__hat=10, train__cap=10, test__hat=1, test__cap=1))
    assert Counter(data.valid.labels) == {0: 2, 1: 2}
    assert data.test is not None
    assert all("/train/" in file for file in data.valid.files)


def test_a_class_of_one_picture_cannot_be_split(tmp_path: Path) -> None:
    (fault,) = refused(folder(tmp_path, hat=1, cap=5))
    assert fault.code == "E402"
    assert fault.message == f"hat in {tmp_path} has one picture only, and a split needs two"
    assert str(tmp_path / "valid") in fault.help


def test_pictures_in_folders_below_a_class_count(tmp_path: Path) -> None:
    folder(tmp_path, train__hat__2019=2, train__hat=1, train__cap=1, valid__hat=1, valid__cap=1)
    (tmp_path / "train" / "hat" / "back").symlink_to(tmp_path / "train")
    assert find(tmp_path).train.labels == (0, 1, 1, 1)


def test_what_is_ignored_is_said(tmp_path: Path) -> None:
    folder(tmp_path, train__hat=2, train__cap=2, valid__hat=1, valid__cap=1, old__hat=1)
    picture(tmp_path / "train" / ".ipynb_checkpoints" / "000.png")
    picture(tmp_path / "train" / "__MACOSX" / "000.png")
    picture(tmp_path / "train" / "hat" / "._000.png")
    picture(tmp_path / "train" / "hat" / "._001.png")
    picture(tmp_path / "train" / "stray.png")
    for name in ("Thumbs.db", "labels.csv", "more.csv"):
        (tmp_path / "train" / "cap" / name).write_text("x")
    (tmp_path / "test").mkdir()
    picture(tmp_path / "test" / "1.png")
    data = find(tmp_path)
    assert len(data.train) == 4
    assert data.test is None
    assert set(data.notes) == {
        "ignored .ipynb_checkpoints in train/",
        "ignored __MACOSX in train/",
        "ignored 2 hidden files in train/hat/",
        "ignored Thumbs.db in train/cap/",
        "ignored 2 files without an image's suffix (.csv)",
        "ignored 1 file beside the class folders of train/",
        "ignored old/ beside train/",
        "ignored test/, which has no class folders",
    }


def test_what_is_ignored_is_counted_once(tmp_path: Path) -> None:
    folder(tmp_path, hat=2, cap=2)
    picture(tmp_path / ".thumbnails" / "000.png")
    picture(tmp_path / "._000.png")
    assert find(tmp_path).notes[:2] == (
        f"ignored .thumbnails in {tmp_path}/",
        f"ignored 1 hidden file in {tmp_path}/",
    )


def test_every_empty_class_is_named(tmp_path: Path) -> None:
    folder(tmp_path, train__hat=2, train__cap=0, train__scarf=0, valid__hat=1, valid__cap=1)
    (tmp_path / "train" / "cap" / "notes.txt").write_text("x")
    faults = refused(tmp_path)
    assert [fault.code for fault in faults] == ["E402", "E402"]
    assert [fault.message for fault in faults] == [
        f"the class folder {tmp_path / 'train' / name} has no images" for name in ("cap", "scarf")
    ]
    assert ".jpeg" in faults[0].help


def test_different_classes_are_listed_on_both_sides(tmp_path: Path) -> None:
    folder(tmp_path, train__cap=1, train__hat=1, train__scarf=1, valid__hat=1, valid__Cap=1)
    folder(tmp_path, test__cap=1, test__hat=1)
    first, second = refused(tmp_path)
    assert first.code == second.code == "E403"
    assert first.message == (
        f"the classes of train/ and valid/ in {tmp_path} differ: "
        "valid/ lacks cap, scarf; train/ lacks Cap"
    )
    assert second.message.endswith("test/ lacks scarf")


def test_a_class_less_in_validation_is_a_mismatch(tmp_path: Path) -> None:
    (fault,) = refused(folder(tmp_path, train__cap=1, train__hat=1, valid__hat=1))
    assert fault.code == "E403"
    assert "valid/ lacks cap" in fault.message


def test_a_missing_folder_suggests_its_sibling(tmp_path: Path) -> None:
    folder(tmp_path, data__clothing10__hat=1, data__other__hat=1)
    (fault,) = refused(tmp_path / "data" / "clothing")
    assert fault.code == "E401"
    assert fault.message == f"there is no folder {tmp_path / 'data' / 'clothing'}"
    assert fault.help == f"did you mean {tmp_path / 'data' / 'clothing10'}?"
    (fault,) = refused(tmp_path / "dat" / "clothing10")
    assert fault.help == f"did you mean {tmp_path / 'data' / 'clothing10'}?"
    (fault,) = refused(tmp_path / "zzz" / "zzz")
    assert f"{tmp_path} has no folder zzz" in fault.help


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (fault,) = refused(picture(tmp_path / "hat.png"))
    assert fault.code == "E401"
    assert fault.message == f"{tmp_path / 'hat.png'} is a file, not a folder of class folders"
    with zipfile.ZipFile(tmp_path / "data.zip", "w"):
        (fault,) = refused(tmp_path / "data.zip")
    assert fault.help == "unpack it and name the folder"


def test_pictures_without_class_folders(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    (fault,) = refused(tmp_path)
    assert fault.code == "E402"
    assert fault.message == f"{tmp_path} has 1 image and no class folders"
    assert "a folder of its own" in fault.help


def test_an_empty_folder(tmp_path: Path) -> None:
    (fault,) = refused(tmp_path)
    assert (fault.code, fault.message) == ("E402", f"{tmp_path} has no class folders")


def test_a_folder_too_high_up_points_to_the_right_one(tmp_path: Path) -> None:
    folder(tmp_path, clothing10__train__hat=1, clothing10__valid__hat=1)
    (fault,) = refused(tmp_path)
    assert "a single class folder, clothing10/" in fault.message
    assert fault.help == f"did you mean {tmp_path / 'clothing10'}?"


def test_two_validation_folders_and_none_for_training(tmp_path: Path) -> None:
    folder(tmp_path, valid__hat=1, val__hat=1, other=1)
    (fault,) = refused(tmp_path)
    assert fault.message == f"{tmp_path} has val/, valid/ but no train/"
    folder(tmp_path, train__hat=1, train__cap=1)
    (fault,) = refused(tmp_path)
    assert fault.message == f"{tmp_path} has valid/ and val/"


def test_a_folder_that_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = folder(Path(name), hat=2, cap=2)
        root.chmod(0o755)
        (root / "hat").chmod(0o000)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            (fault,) = refused(root)
        finally:
            os.seteuid(user)
            (root / "hat").chmod(0o755)
    assert fault.code == "E401"
    assert fault.message.lower() == f"{root / 'hat'} cannot be opened: permission denied".lower()


def test_a_folder_that_may_be_listed_but_not_entered_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = folder(Path(name), hat=2, cap=2)
        root.chmod(0o744)
        user = os.geteuid()
        os.seteuid(65534 if user == 0 else user)
        try:
            (fault,) = refused(root)
        finally:
            os.seteuid(user)
            root.chmod(0o755)
    assert fault.code == "E401"
    assert str(root) in fault.message
