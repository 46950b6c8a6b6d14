"""The batches of samples, in an order that the seed and the epoch alone decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from shapecalc.training.cache import HeldSamples
from shapecalc.training.images import UnreadableImage
from shapecalc.training.samples import Samples, refusal
from shapecalc.training.seeds import mix
from shapecalc.training.workers import BatchLoader

Batch = tuple[Tensor, Tensor, Tensor]
"""uint8 [B, C, H, W], int64 [B] labels, int64 [B] positions in the Samples. B is 0 where a share
of a small batch is empty."""


class Loader:
    """The batches of samples, epoch by epoch; its workers live from the first epoch to `close`.

    Those of samples that are held come without workers, from where they are held.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        workers: int = 0,
        pin_memory: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Of each batch it gives a share, the one of number `rank` of so many."""
        self.classes, self.ranks = samples.classes, ranks
        self._order = _Order(len(samples), batch_size, seed, shuffle, rank, ranks)
        self._batches: BatchLoader | _Gather | None
        if isinstance(samples, HeldSamples):
            self._batches = _Gather(samples, self._order, pin_memory)
        else:
            self._batches = BatchLoader(
                partial(_fetch, samples), self._order, workers=workers, pin_memory=pin_memory
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self._order.samples // self._order.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch but for the first `start`. Raises DataError."""
        if self._batches is None:
            raise ValueError("the loader is closed")
        self._order.epoch, self._order.start = number, start
        for batch in self._batches:
            if isinstance(batch, UnreadableImage):
                raise refusal([batch])
            yield batch

    def positions(self, epoch: int, batch: int) -> list[int]:
        """The positions in the Samples that a whole batch of an epoch is made of; both count as
        above, the batch from 0."""
        return next(iter(replace(self._order, epoch=epoch, start=batch, rank=0, ranks=1)))

    def size(self, batch: int) -> int:
        """The samples in a whole batch; it counts from 0."""
        order = self._order
        return min(order.batch_size, order.samples - batch * order.batch_size)

    def close(self) -> None:
        """Ends the workers."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batches(
    samples: Samples,
    *,
    batch_size: int,
    epoch: int,
    seed: int,
    shuffle: bool,
    workers: int = 0,
    start: int = 0,
) -> Iterator[Batch]:
    """The batches of a single epoch, as a Loader gives them."""
    with Loader(
        samples, batch_size=batch_size, seed=seed, shuffle=shuffle, workers=workers
    ) as loader:
        yield from loader.epoch(epoch, start)


@dataclass
class _Order:
    """The positions in each batch of the current epoch."""

    samples: int
    batch_size: int
    seed: int
    shuffle: bool
    rank: int = 0
    ranks: int = 1
    epoch: int = 0
    start: int = 0
    """Batches to leave out at the beginning."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.arange(self.samples)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed, "order", self.epoch))
            order = torch.randperm(self.samples, generator=generator)
        for first in range(self.start * self.batch_size, self.samples, self.batch_size):
            batch = order[first : first + self.batch_size]
            yield batch.tensor_split(self.ranks)[self.rank].tolist()


class _Gather:
    """The batches of samples that are held."""

    def __init__(self, samples: HeldSamples, batches: Iterable[list[int]], pin_memory: bool):
        self._samples, self._batches, self._pin_memory = samples, batches, pin_memory
        self._labels = torch.tensor(samples.labels)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._batches)
        following = next(batches, None)
        while following is not None:
            positions, following = following, next(batches, None)
            pixels = self._samples.fetch(positions, pin_memory=self._pin_memory)
            if following is not None:
                self._samples.expect(following)
            yield pixels, self._labels[positions], torch.tensor(positions, dtype=torch.int64)

    def close(self) -> None:
        """Nothing is to be ended."""


def _fetch(samples: Samples, positions: list[int]) -> Batch | UnreadableImage:
    """A batch. A picture that cannot be read is handed over as a value: an exception would
    leave a worker process as a RuntimeError without its fields."""
    try:
        pixels = samples.fetch(positions)
    except UnreadableImage as error:
        return error
    labels = [samples.labels[position] for position in positions]
    whole = torch.int64  # an empty list would be one of floats
    return pixels, torch.tensor(labels, dtype=whole), torch.tensor(positions, dtype=whole)
