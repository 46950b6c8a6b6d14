"""The data of a task: what the `data:` settings describe, and what a network is evaluated on.

Every random choice is a function of the seed and of names or positions, never of the file
system's order, the number of workers or the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shapecalc.caches import CACHE, cache_root
from shapecalc.language.recipe import FolderData, SyntheticApparel, TorchvisionData
from shapecalc.training import synthetic
from shapecalc.training.faults import data_error, reason
from shapecalc.training.images import Resize
from shapecalc.training.samples import Data, Progress, Samples
from shapecalc.training.splits import expect_known_classes, find_folder, find_split, split_named
from shapecalc.training.torchvision_data import find_torchvision

_DRAWING = 1
"""The version of the drawn pictures: a new one draws them anew."""


def find_data(
    settings: SyntheticApparel | FolderData | TorchvisionData,
    *,
    input_shape: Sequence[int],
    resize: Resize,
    seed: int,
    progress: Progress | None = None,
) -> Data:
    """The data that `settings` describe, for an input [C, H, W] with 1 or 3 channels.

    Synthetic apparel is drawn on first use, torchvision's data sets are downloaded; `progress`
    follows the drawing. Raises DataError.
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise data_error(
            "E501",
            f"the input {list(input_shape)} takes no images",
            "images need an input of [3, H, W], in colour, or [1, H, W], in grey",
        )
    channels, height, width = input_shape
    shape = (channels, height, width)
    if isinstance(settings, TorchvisionData):
        return find_torchvision(settings, shape, resize, seed)
    if isinstance(settings, SyntheticApparel):
        return find_folder(_drawn(settings, progress), 0.5, shape, resize, seed)
    return find_folder(Path(settings.folder).expanduser(), settings.valid, shape, resize, seed)


def evaluation_samples(
    data: str | Path | Data,
    *,
    classes: tuple[str, ...],
    input_shape: tuple[int, int, int],
    resize: Resize,
    split: str | None,
) -> Samples:
    """The pictures to evaluate a network on, labelled by position in its `classes`.

    `data` is what the network was trained on, or a folder. Without a `split` it is the test
    split where there is one, else validation; of a folder, else training, or all of it where it
    has no splits. A folder's classes go by name, and need not be complete. Raises DataError.
    """
    split = split_named(split) if split is not None else None
    if not isinstance(data, Data):
        return find_split(Path(data).expanduser(), split, classes, input_shape, resize)
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    samples = splits[split] if split else data.test or data.valid
    if samples is None:
        raise data_error("E401", f"{data.root} has no test split", "it has train and valid")
    if data.classes == classes:
        return samples
    expect_known_classes(data.classes, classes, data.root)
    labels = tuple(classes.index(data.classes[label]) for label in samples.labels)
    return replace(samples, classes=classes, labels=labels)


def _drawn(settings: SyntheticApparel, progress: Progress | None) -> Path:
    """The folder of synthetic apparel, drawn unless it is there."""
    name = f"apparel-{_DRAWING}-seed{settings.seed}-{settings.train}-{settings.valid}"
    root = cache_root() / name
    try:
        return synthetic.write_folder(
            root,
            seed=settings.seed,
            train=settings.train,
            valid=settings.valid,
            progress=progress,
        )
    except OSError as error:
        raise data_error(
            "E401",
            f"{root} cannot be drawn: {reason(error)}",
            f"{CACHE} names another folder for drawn data",
        ) from error
