"""Folders of small pictures, and the data found in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from shapecalc.diagnostics import DataError, Diagnostic
from shapecalc.language.recipe import FolderData
from shapecalc.training.data import find_data
from shapecalc.training.samples import Data, Samples

SHAPE = (3, 8, 8)


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 10), (shade % 256, 0, 0)).save(path)
    return path


def folder(root: Path, **counts: int) -> Path:
    """Class folders by name with so many pictures; `__` in a name is a slash."""
    for name, count in counts.items():
        place = root / name.replace("__", "/")
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(place / f"{i:03}.png", shade=i)
    return root


def find(root: Path, *, valid: float = 0.2, seed: int = 0) -> Data:
    settings = FolderData(folder=str(root), valid=valid)
    return find_data(settings, input_shape=SHAPE, resize="squish", seed=seed)


def refused(root: Path) -> tuple[Diagnostic, ...]:
    with pytest.raises(DataError) as caught:
        find(root)
    return caught.value.diagnostics


def names(samples: Samples) -> list[str]:
    return ["/".join(Path(file).parts[-2:]) for file in samples.files]
