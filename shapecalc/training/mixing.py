"""Batches whose pictures are mixed with each other, and their targets with them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named, named


@dataclass(frozen=True)
class Mixup:
    """Each picture fades into another: Zhang et al., mixup, 2017 (arXiv:1710.09412)."""

    alpha: float = 0.2
    p: float = 1.0

    def __call__(
        self, pixels: Tensor, partners: Tensor, share: float, random: np.random.Generator
    ) -> tuple[Tensor, float]:
        own = pixels.to(torch.float32)
        return own * share + own[partners] * (1 - share), share


@dataclass(frozen=True)
class Cutmix:
    """A box of each picture is another's: Yun et al., CutMix, 2019 (arXiv:1905.04899)."""

    alpha: float = 1.0
    p: float = 1.0

    def __call__(
        self, pixels: Tensor, partners: Tensor, share: float, random: np.random.Generator
    ) -> tuple[Tensor, float]:
        sides, spans = pixels.shape[-2:], []
        for side in sides:
            half = side * math.sqrt(1 - share) / 2
            middle = random.uniform(0, side)
            spans.append(slice(max(0, round(middle - half)), min(side, round(middle + half))))
        rows, columns = spans
        mixed = pixels.clone()
        mixed[..., rows, columns] = pixels[partners][..., rows, columns]
        box = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, 1 - box / math.prod(sides)  # what the border has cut off counts


MIXES: dict[str, type[Mixup] | type[Cutmix]] = {"mixup": Mixup, "cutmix": Cutmix}
"""The entries of `augment:` that change a batch, not a picture."""


class Mixed(NamedTuple):
    """A batch, mixed or not. `share` of each picture is its own, the rest that of another one."""

    pixels: Tensor
    labels: Tensor
    others: Tensor
    """The labels of the other ones."""
    share: float | None = None
    """None where nothing is mixed."""


def mixed_loss(
    loss: nn.Module, output: Tensor, own: Tensor, other: Tensor, share: float | Tensor | None
) -> Tensor:
    """The losses for both labels, each by its share: that of mixed targets."""
    value: Tensor = loss(output, own)
    return value if share is None else share * value + (1 - share) * loss(output, other)


def judged(own: Tensor, other: Tensor, share: float | Tensor | None) -> Tensor:
    """The labels that answers are held against: those of the greater share."""
    if isinstance(share, Tensor):
        return torch.where(share >= 0.5, own, other)
    return own if share is None or share >= 0.5 else other


class Mixing:
    """What `augment:` says of whole batches; of several ways each batch gets one by chance.

    Raises Fault.
    """

    def __init__(self, augment: Iterable[Named]) -> None:
        settings = [named(item) for item in augment]
        self._ways = [_way(name, arguments) for name, arguments in settings if name in MIXES]

    def __call__(self, pixels: Tensor, labels: Tensor, seed: int) -> Mixed:
        """Pixels [B, C, H, W] and labels [B]; what is by chance is a function of the seed. Pixels
        that fade into each other come back in float32, from 0 to 255 as before."""
        if not self._ways or len(labels) < 2:
            return Mixed(pixels, labels, labels)
        random = np.random.Generator(np.random.PCG64(seed))
        way = self._ways[random.integers(len(self._ways))]
        if random.random() >= way.p:
            return Mixed(pixels, labels, labels)
        share = float(random.beta(way.alpha, way.alpha))
        partners = torch.from_numpy(random.permutation(len(labels))).to(labels.device)
        mixed, share = way(pixels, partners, share, random)
        return Mixed(mixed, labels, labels[partners], float(np.float32(share)))


def _way(name: str, arguments: dict[str, Any]) -> Mixup | Cutmix:
    kind = MIXES[name]
    takes = inspect.signature(kind).parameters
    for key, value in arguments.items():
        if key not in takes:
            near = nearest(key, takes)
            help = f"did you mean {near}?" if near else f"it takes {', '.join(takes)}"
            raise Fault("E501", f"{name} takes no argument {key}", argument=name, help=help)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not value > 0 or (key == "p" and value > 1):
            upto = " and at most 1" if key == "p" else ""
            message = f"{key} of {name} is to be more than 0{upto}, not {value}"
            raise Fault("E501", message, argument=name, help=f"leave it out: {takes[key].default}")
    return kind(**arguments)
