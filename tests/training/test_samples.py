"""Every picture that cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import find, folder

from shapecalc.diagnostics import DataError
from shapecalc.training.images import UnreadableImage
from shapecalc.training.samples import check_images, refusal, without


@pytest.mark.parametrize("workers", [0, 2])
def test_all_unreadable_images_are_named_in_one_list(tmp_path: Path, workers: int) -> None:
    data = find(folder(tmp_path, train__hat=70, train__cap=70, valid__hat=1, valid__cap=1))
    broken = [data.train.files[i] for i in (3, 80, 139)]
    Path(broken[0]).write_bytes(b"")
    Path(broken[1]).write_text("<html>")
    Path(broken[2]).unlink()
    seen: list[tuple[int, int]] = []
    bad = check_images(data.train, threads=workers, progress=lambda *counts: seen.append(counts))
    assert [(error.path, error.reason) for error in bad] == [
        (broken[0], "is empty"),
        (broken[1], "is no image but a page of HTML or XML"),
        (broken[2], "cannot be opened: no such file or directory"),
    ]
    assert seen[-1] == (140, 140)
    error = refusal(bad)
    assert [fault.code for fault in error.diagnostics] == ["E404"] * 3
    assert error.diagnostics[0].message == f"{broken[0]} is empty"

    left = without(data.train, bad)
    assert len(left) == 137
    assert not set(broken) & set(left.files)
    assert check_images(left) == []


def test_a_class_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    data = find(folder(tmp_path, train__hat=1, train__cap=1, valid__hat=1, valid__cap=1))
    with pytest.raises(DataError, match="E404: no picture of hat can be read"):
        without(data.train, [UnreadableImage(data.train.files[1], "is empty")])
