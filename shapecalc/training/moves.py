"""Flips and crops of a whole batch at once. Each picture comes out as torchvision's own transform
gives it when it is alone, under the same seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

_FLIPS = {v2.RandomHorizontalFlip: -1, v2.RandomVerticalFlip: -2}
"""The axis that each turns round."""

_SMALL = 2**13
"""Numbers of a picture below which a CPU turns all pictures in less time than it takes to look at
each."""


class _Flip:
    def __init__(self, transform: Any) -> None:
        self._probability, self._axis = transform.p, _FLIPS[type(transform)]

    def draw(self, generator: torch.Generator) -> tuple[bool, ...]:
        """The same numbers, in the same order, as the transform draws for a picture."""
        return (bool(torch.rand(1, generator=generator) < self._probability),)

    def __call__(self, batch: Tensor, drawn: Tensor) -> Tensor:
        """`drawn` has a row for each picture, on the CPU."""
        if batch.device.type != "cpu" or batch[0].numel() < _SMALL:
            chosen = drawn.to(batch.device).view(-1, 1, 1, 1)
            return torch.where(chosen, batch.flip(self._axis), batch)
        turned = torch.empty_like(batch)
        for row, turn in enumerate(drawn.flatten().tolist()):
            picture = batch[row : row + 1]
            turned[row : row + 1] = picture.flip(self._axis) if turn else picture
        return turned


class _Crop:
    def __init__(self, transform: v2.RandomCrop, size: Sequence[int]) -> None:
        self._transform = transform
        with torch.random.fork_rng(devices=[]):  # it draws, too
            settled = transform.make_params([torch.empty(tuple(size), device="meta")])
        self._padding = {**settled, "needs_crop": False}
        self.size: tuple[int, int] = settled["height"], settled["width"]
        left, top, right, bottom = settled["padding"]
        padded = size[0] + top + bottom, size[1] + left + right
        self._room = [have - take for have, take in zip(padded, self.size, strict=True)]

    def draw(self, generator: torch.Generator) -> tuple[int, ...]:
        """Top and left."""
        return tuple(
            int(torch.randint(0, room + 1, size=(), generator=generator)) if room else 0
            for room in self._room
        )

    def __call__(self, batch: Tensor, drawn: Tensor) -> Tensor:
        padded: Tensor = self._transform.transform(batch, self._padding).permute(0, 2, 3, 1)
        rows, columns = (
            start.to(batch.device).view(-1, 1) + torch.arange(length, device=batch.device)
            for start, length in zip(drawn.unbind(1), self.size, strict=True)
        )
        pictures = torch.arange(len(batch), device=batch.device)
        cropped = padded[pictures[:, None, None], rows[:, :, None], columns[:, None, :]]
        cropped = cropped.permute(0, 3, 1, 2)
        return cropped.contiguous() if batch.is_contiguous() else cropped


class Moves:
    """The moves of a sequence of transforms for pictures of [H, W], all of which `can_move`.

    Raises ValueError for a crop that is larger than the pictures.
    """

    def __init__(self, transforms: Iterable[v2.Transform], size: Sequence[int]) -> None:
        self._moves: list[_Flip | _Crop] = []
        for transform in transforms:
            if isinstance(transform, v2.RandomCrop):
                crop = _Crop(transform, size)
                size = crop.size
                self._moves.append(crop)
            else:
                self._moves.append(_Flip(transform))

    def __call__(self, batch: Tensor, seeds: Sequence[int]) -> Tensor:
        """[B, C, H, W] to the same, in the same memory format and on the same device."""
        generator = torch.Generator()
        drawn = []
        for seed in seeds:
            generator.manual_seed(seed)
            drawn.append([move.draw(generator) for move in self._moves])
        for move, rows in zip(self._moves, zip(*drawn, strict=True), strict=True):
            batch = move(batch, torch.tensor(rows))
        return batch


def can_move(transform: v2.Transform) -> bool:
    """Whether a transform is one of those that are done here."""
    return type(transform) in (*_FLIPS, v2.RandomCrop)
