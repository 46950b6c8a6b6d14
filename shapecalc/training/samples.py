"""Pictures with their labels, wherever they are kept, and the check that all can be read."""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import torchvision
from torch import Tensor
from torch.utils.data import Dataset

from shapecalc.diagnostics import DataError, Diagnostic
from shapecalc.training.decoders import in_order
from shapecalc.training.faults import data_error
from shapecalc.training.images import Resize, UnreadableImage, convert_image, read_image

Shape = tuple[int, int, int]
"""[C, H, W]"""
Sample = tuple[Tensor, int, int]
"""uint8 [C, H, W], the label, the position in its Samples."""
Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_ONE_AT_A_TIME = threading.Lock()
"""Held where a data set of torchvision reads, whose file may not be for several threads."""


@dataclass(frozen=True, eq=False)
class Samples(Dataset[Sample], ABC):
    """Pictures with their labels; picture i is read when it is asked for, as `samples[i]`.

    `samples[i]` raises UnreadableImage.
    """

    root: Path
    """Where they come from, as the user is to see it."""
    classes: tuple[str, ...]
    files: tuple[str, ...]
    """A path, or where there is no file a name that says which picture it is."""
    labels: tuple[int, ...]
    """Positions in `classes`."""
    shape: Shape
    resize: Resize

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return self.read(index, self.shape), self.labels[index], index

    @abstractmethod
    def read(self, index: int, shape: Shape) -> Tensor:
        """One picture as uint8 of `shape` [C, H, W]."""

    def fetch(self, indices: Sequence[int]) -> Tensor:
        """Pictures as uint8 [B, C, H, W] in channels_last order. Raises UnreadableImage."""
        if not indices:
            return torch.empty(0, *self.shape, dtype=torch.uint8)
        return stacked([self.read(index, self.shape) for index in indices])

    @abstractmethod
    def identity(self) -> Iterator[str]:
        """Words that are others once any picture may be another."""

    def attempt(self, index: int) -> Tensor | UnreadableImage:
        """A picture, or what is wrong with it."""
        try:
            return self.read(index, self.shape)
        except UnreadableImage as error:
            return error

    def check(self, index: int) -> UnreadableImage | None:
        """What is wrong with a picture; all of it is decoded, at the least cost."""
        try:
            self.read(index, (self.shape[0], 1, 1))
        except UnreadableImage as error:
            return error
        return None

    def take(self, indices: Sequence[int]) -> Self:
        """The samples at these positions, in this order."""
        return replace(
            self,
            files=tuple(self.files[index] for index in indices),
            labels=tuple(self.labels[index] for index in indices),
        )


class FileSamples(Samples):
    """Pictures in files of their own."""

    def read(self, index: int, shape: Shape) -> Tensor:
        channels, height, width = shape
        return read_image(
            self.files[index], channels=channels, size=(height, width), resize=self.resize
        )

    def identity(self) -> Iterator[str]:
        return (f"{os.path.abspath(file)}\0{_stamp(file)}" for file in self.files)


@dataclass(frozen=True, eq=False)
class TorchvisionSamples(Samples):
    """Pictures of a data set of torchvision, which gives (PIL image, label)."""

    source: Any
    positions: tuple[int, ...]
    """Of these samples in `source`."""
    folder: Path
    """Where the data set has its files."""

    def read(self, index: int, shape: Shape) -> Tensor:
        channels, height, width = shape
        try:
            with _ONE_AT_A_TIME:
                image, _ = self.source[self.positions[index]]
            return convert_image(image, channels=channels, size=(height, width), resize=self.resize)
        except Exception as error:  # whatever the data set's own reading trips over
            raise UnreadableImage(self.files[index], f"cannot be read: {error}") from error

    def identity(self) -> Iterator[str]:
        yield f"torchvision {torchvision.__version__} {self.root}"
        yield from self.files
        for place, folders, files in os.walk(self.folder):
            folders.sort()
            for path in (os.path.join(place, file) for file in sorted(files)):
                yield f"{path}\0{_stamp(path)}"

    def take(self, indices: Sequence[int]) -> Self:
        positions = tuple(self.positions[index] for index in indices)
        return replace(super().take(indices), positions=positions)


@dataclass(frozen=True)
class Data:
    """The samples of one task; `notes` are sentences for the user."""

    classes: tuple[str, ...]
    train: Samples
    valid: Samples
    test: Samples | None
    notes: tuple[str, ...]
    root: Path

    def fingerprint(self) -> dict[str, dict[str, int | str]]:
        """What tells whether the data is the same, wherever it lies: for each split that is
        trained with the number of pictures and a checksum of their names and classes."""
        found: dict[str, dict[str, int | str]] = {}
        for split, samples in (("train", self.train), ("valid", self.valid)):
            digest = hashlib.sha256()
            for file, label in zip(samples.files, samples.labels, strict=True):
                name = f"{file.removeprefix(str(self.root))}\0{self.classes[label]}\n"
                digest.update(name.encode("utf-8", "surrogateescape"))
            found[split] = {"count": len(samples), "names": digest.hexdigest()}
        return found


def stacked(pictures: Sequence[Tensor]) -> Tensor:
    """uint8 [C, H, W] as [B, C, H, W], with the channels of a pixel beside each other."""
    return torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)


def check_images(
    samples: Samples, *, threads: int = 0, progress: Progress | None = None
) -> list[UnreadableImage]:
    """Decodes every picture once and gives those that cannot be read, in order."""
    bad: list[UnreadableImage] = []
    checked = in_order(samples.check, range(len(samples)), threads)
    for number, found in enumerate(checked, 1):
        if found:
            bad.append(found)
        if progress:
            progress(number, len(samples))
    return bad


def _stamp(file: str) -> str:
    """What changes with the content of a file."""
    try:
        status = os.stat(file)
    except OSError as error:
        return type(error).__name__
    return f"{status.st_size} {status.st_mtime_ns}"


def without(samples: Samples, bad: Iterable[UnreadableImage]) -> Samples:
    """The samples but for the bad ones. Raises DataError where a class is left with nothing."""
    paths = {error.path for error in bad}
    left = samples.take([i for i, file in enumerate(samples.files) if file not in paths])
    if gone := sorted(set(samples.labels) - set(left.labels)):
        names = ", ".join(samples.classes[label] for label in gone)
        raise data_error("E404", f"no picture of {names} can be read")
    return left


def refusal(bad: Iterable[UnreadableImage], mend: str = "replace it, or remove it") -> DataError:
    """The error that names all pictures that cannot be read."""
    return DataError(Diagnostic("E404", str(error), help=mend) for error in bad)
