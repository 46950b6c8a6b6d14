from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shapecalc.training import synthetic
from shapecalc.training.synthetic import CATEGORIES, draw, write_folder

SMALL = 64


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and a.tobytes() == b.tobytes()


def test_fifteen_categories() -> None:
    assert len(set(CATEGORIES)) == 15
    assert CATEGORIES[0] == "jersey"
    assert CATEGORIES[-1] == "womens_flip_flops"


@pytest.mark.parametrize("category", CATEGORIES)
def test_picture_is_a_function_of_its_key(category: str) -> None:
    picture = draw(category, 3, "train", 5, SMALL)
    assert picture.mode == "RGB"
    assert same(picture, draw(category, 3, "train", 5, SMALL))
    for seed, split, index in ((4, "train", 5), (3, "valid", 5), (3, "train", 6)):
        assert not same(picture, draw(category, seed, split, index, SMALL))


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_size_and_pose_stays_within_its_bounds(category: str) -> None:
    for index in range(2):
        for size in (32, 97):
            picture = draw(category, 0, "test", index, size)
            assert 0.87 * size - 1 <= picture.width <= 1.13 * size + 1
            assert 0.74 <= picture.width / picture.height <= 1.0
            assert np.asarray(picture).std() > 3


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="denim_jeans"):
        draw("denim_jean", 0, "train", 0)
    with pytest.raises(ValueError, match="valid"):
        draw("saree", 0, "validation", 0)


@pytest.mark.parametrize(("seed", "index", "size"), [(-1, 0, 64), (0, -1, 64), (0, 0, 31)])
def test_impossible_numbers_are_refused(seed: int, index: int, size: int) -> None:
    with pytest.raises(ValueError, match="need"):
        draw("saree", seed, "train", index, size)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.jpg")}


def test_folder_holds_the_promised_tree(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    root = tmp_path / "new" / "apparel"
    result = write_folder(
        root, train=2, valid=1, size=SMALL, progress=lambda done, total: seen.append((done, total))
    )
    assert result == root
    assert sorted(p.name for p in root.iterdir()) == ["train", "valid"]
    files = tree(root)
    assert set(files) == {
        f"{split}/{category}/{index:04d}.jpg"
        for split, count in (("train", 2), ("valid", 1))
        for category in CATEGORIES
        for index in range(count)
    }
    for name in files:
        with Image.open(root / name) as picture:
            assert picture.format == "JPEG"
            assert picture.mode == "RGB"
            picture.load()
    assert seen[-1] == (45, 45)
    assert seen == sorted(seen)
    assert [p.name for p in root.parent.iterdir()] == ["apparel"]


def test_more_pictures_leave_the_earlier_ones_alone(tmp_path: Path) -> None:
    few = tree(write_folder(tmp_path / "few", seed=1, train=1, valid=1, size=SMALL))
    many = tree(write_folder(tmp_path / "many", seed=1, train=2, valid=1, test=1, size=SMALL))
    assert few.items() < many.items()


def test_workers_write_what_one_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = []
    for cores in (1, 2):
        monkeypatch.setattr(synthetic, "_cores", lambda cores=cores: cores)
        trees.append(tree(write_folder(tmp_path / str(cores), train=1, valid=0, size=SMALL)))
    assert trees[0] == trees[1]


def test_whole_folder_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "apparel", train=1, valid=0, size=SMALL)
    monkeypatch.setattr(synthetic, "_fill", lambda *_: pytest.fail("written again"))
    assert write_folder(root, train=1, valid=0, size=SMALL) == root
    with pytest.raises(FileExistsError, match="remove it"):
        write_folder(root, train=2, valid=0, size=SMALL)


def test_loser_of_a_race_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "apparel"
    fill = synthetic._fill
    calls = []

    def overtaken(*args: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            write_folder(root, train=1, valid=0, size=SMALL)
        fill(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "_fill", overtaken)
    assert write_folder(root, train=1, valid=0, size=SMALL) == root
    assert len(calls) == 2
    assert len(tree(root)) == 15
    assert [p.name for p in tmp_path.iterdir()] == ["apparel"]


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "apparel", train=1, valid=0, size=SMALL, progress=interrupted)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="counts"):
        write_folder(tmp_path / "apparel", train=0, valid=0)
