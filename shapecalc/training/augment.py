"""What happens to a batch on its device before the network sees it: random changes for training,
then normalisation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named, Statistics, named
from shapecalc.training.loader import batches
from shapecalc.training.mixing import MIXES
from shapecalc.training.moves import Moves, can_move
from shapecalc.training.samples import Samples
from shapecalc.training.seeds import mix, seed_torch

Channels = tuple[float, ...]

IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel that torchvision's ImageNet weights were trained with."""

TRANSFORMS: dict[str, type[v2.Transform]] = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): kind
    for kind in (
        v2.AugMix,
        v2.AutoAugment,
        v2.CenterCrop,
        v2.ColorJitter,
        v2.ElasticTransform,
        v2.GaussianBlur,
        v2.GaussianNoise,
        v2.Grayscale,
        v2.Pad,
        v2.RandAugment,
        v2.RandomAdjustSharpness,
        v2.RandomAffine,
        v2.RandomAutocontrast,
        v2.RandomChannelPermutation,
        v2.RandomCrop,
        v2.RandomEqualize,
        v2.RandomErasing,
        v2.RandomGrayscale,
        v2.RandomHorizontalFlip,
        v2.RandomInvert,
        v2.RandomPerspective,
        v2.RandomPhotometricDistort,
        v2.RandomPosterize,
        v2.RandomResize,
        v2.RandomResizedCrop,
        v2.RandomRotation,
        v2.RandomShortestSize,
        v2.RandomSolarize,
        v2.RandomVerticalFlip,
        v2.RandomZoomOut,
        v2.Resize,
        v2.ScaleJitter,
        v2.TrivialAugmentWide,
    )
}
"""The transforms of torchvision that turn one picture into one picture, by snake-case name."""
TRANSFORMS["trivial_augment"] = v2.TrivialAugmentWide

_ENUMS = {"interpolation": InterpolationMode, "policy": AutoAugmentPolicy}
_TRIES = 8
"""Seeds that every transform is tried with, since many act by chance."""


class Augment:
    """Random changes to the pictures of a batch, each a function of its own seed alone.

    `shape` is the pictures' [C, H, W]; a transform that needs a `size` and is given none gets
    theirs. What mixes pictures is left to `mixing`. Raises Fault for an unknown name, for arguments
    that torchvision refuses and for transforms that change the shape.
    """

    def __init__(self, augment: Iterable[Named], shape: Sequence[int]) -> None:
        settings = [named(item) for item in augment]
        settings = [(name, arguments) for name, arguments in settings if name not in MIXES]
        self._names = [name for name, _ in settings]
        self._transforms = [_transform(*setting, shape) for setting in settings]
        self._try(torch.zeros(tuple(shape), dtype=torch.uint8))
        whole = all(map(can_move, self._transforms))
        self._moves = Moves(self._transforms, shape[-2:]) if whole else None

    def __call__(self, batch: Tensor, seeds: Sequence[int]) -> Tensor:
        """uint8 [B, C, H, W] to the same, on the same device, with B seeds.

        The global random state is left as it was.
        """
        if len(seeds) != len(batch):
            raise ValueError(f"{len(seeds)} seeds for {len(batch)} pictures")
        if not self._transforms:
            return batch
        if self._moves:
            return self._moves(batch, seeds)
        changed = batch.clone()  # the transforms may work in place
        with _own_random_state(batch.device):
            for row, seed in enumerate(seeds):
                seed_torch(seed, batch.device)
                picture = changed[row]
                for transform in self._transforms:
                    picture = transform(picture)
                if picture.shape != batch.shape[1:]:
                    raise self._changes_shape(batch.shape[1:], picture)
                changed[row] = picture
        return changed

    def _try(self, picture: Tensor) -> None:
        """Finds now what would otherwise stop the first epoch."""
        with _own_random_state(picture.device):
            for seed in range(_TRIES if self._transforms else 0):
                seed_torch(seed, picture.device)
                changed = picture
                for name, transform in zip(self._names, self._transforms, strict=True):
                    try:
                        changed = transform(changed)
                    except Exception as error:
                        raise _refused(name, error) from error
                if changed.shape != picture.shape:
                    raise self._changes_shape(picture.shape, changed)

    def _changes_shape(self, shape: torch.Size, changed: Tensor) -> Fault:
        return Fault(
            "E501",
            f"the augmentations turn {list(shape)} into {list(changed.shape)}",
            argument=self._names[-1],
            help=f"end with a random_crop or resize to [{shape[-2]}, {shape[-1]}]",
        )


def _transform(name: str, arguments: dict[str, Any], shape: Sequence[int]) -> v2.Transform:
    kind = TRANSFORMS.get(name)
    if kind is None:
        known = [*TRANSFORMS, *MIXES]
        near = nearest(name, known)
        raise Fault(
            "E501",
            f"there is no augmentation {name}",
            argument=name,
            help=f"did you mean {near}?" if near else f"known are {', '.join(known)}",
        )
    takes = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in takes:
            near = nearest(argument, takes)
            raise Fault(
                "E501",
                f"{name} takes no argument {argument}",
                argument=name,
                help=f"did you mean {near}?" if near else f"it takes {', '.join(takes)}",
            )
    needs = [key for key, argument in takes.items() if argument.default is argument.empty]
    if "size" in needs:
        arguments = {"size": list(shape[-2:]), **arguments}
    if missing := [key for key in needs if key not in arguments]:
        raise Fault(
            "E501",
            f"{name} needs {' and '.join(missing)}",
            argument=name,
            help=f"write {{{name}: {{{', '.join(f'{key}: ...' for key in missing)}}}}}",
        )
    try:
        converted = {
            key: _ENUMS[key](value) if key in _ENUMS and isinstance(value, str) else value
            for key, value in arguments.items()
        }
        return kind(**converted)
    except Exception as error:
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> Fault:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Fault("E501", f"torchvision refuses {name}: {reason}", argument=name)


def _own_random_state(device: torch.device) -> Any:
    """A context after which the random state is as it was before."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


class Normalize:
    """Pixels from 0 to 255 to (pixel / 255 - mean) / std in float32; without statistics to
    pixel / 255."""

    def __init__(self, mean: Channels | None = None, std: Channels | None = None) -> None:
        means = torch.tensor(mean or (0.0,), dtype=torch.float64).view(-1, 1, 1)
        stds = torch.tensor(std or (1.0,), dtype=torch.float64).view(-1, 1, 1)
        self._scale, self._shift = (1 / (255 * stds)).float(), (-means / stds).float()

    def factors(self, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """What the pixels of each channel are multiplied by, and what is then added: [C]."""
        scale, shift = (t.flatten().expand(channels).clone() for t in (self._scale, self._shift))
        return scale.to(device), shift.to(device)

    def __call__(self, batch: Tensor) -> Tensor:
        """[B, C, H, W] to float32, in the same memory format and on the same device; the batch
        stays as it is."""
        if self._scale.device != batch.device:
            self._scale, self._shift = self._scale.to(batch.device), self._shift.to(batch.device)
        pixels = batch.to(torch.float32, copy=True)
        return torch.addcmul(self._shift, pixels, self._scale, out=pixels)


def statistics(
    setting: Literal["measured", "imagenet"] | Statistics | None,
    samples: Samples,
    seed: int,
    *,
    workers: int = 0,
) -> tuple[Channels, Channels] | None:
    """Mean and standard deviation that `normalize:` asks for. Raises Fault, DataError."""
    if setting is None:
        return None
    if setting == "measured":
        return measure(samples, seed, workers=workers)
    mean, std = IMAGENET if setting == "imagenet" else (setting.mean, setting.std)
    if len(mean) != samples.shape[0]:
        raise Fault(
            "E501",
            f"normalize has {len(mean)} means for an input of {samples.shape[0]} channels",
            argument="normalize",
            help="normalize: measured takes them from the training images",
        )
    return mean, std


def measure(
    samples: Samples, seed: int, limit: int = 128, *, workers: int = 0
) -> tuple[Channels, Channels]:
    """Mean and standard deviation per channel, for pixels from 0 to 1, rounded to 4 digits.

    Of `limit` samples chosen by the seed; exact sums, so that neither order nor workers count.
    Raises DataError.
    """
    generator = torch.Generator().manual_seed(mix(seed, "measure"))
    chosen = torch.randperm(len(samples), generator=generator)[:limit].sort().values.tolist()
    count = 0
    total, squares = torch.zeros(2, samples.shape[0], dtype=torch.int64)
    for pixels, _, _ in batches(
        samples.take(chosen), batch_size=8, epoch=0, seed=0, shuffle=False, workers=workers
    ):
        values = pixels.cpu().to(torch.int64)
        count += values[:, 0].numel()
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    mean = total.double() / count
    variance = squares.double() / count - mean.square()
    least = 1.0  # of 255; without it, images of one colour would be divided by zero
    std = variance.clamp(min=least).sqrt()
    return _rounded(mean), _rounded(std)


def _rounded(values: Tensor) -> Channels:
    return tuple(round(value / 255, 4) for value in values.tolist())
