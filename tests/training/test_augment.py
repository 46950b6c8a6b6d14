"""Augmentation by seed and normalisation, against torchvision and the plain formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from shapecalc.diagnostics import Fault
from shapecalc.language.recipe import FolderData, Named, Statistics
from shapecalc.training.augment import (
    IMAGENET,
    TRANSFORMS,
    Augment,
    Normalize,
    measure,
    statistics,
)
from shapecalc.training.data import find_data
from shapecalc.training.samples import Samples

SHAPE = (3, 24, 20)
STRONG: list[Named] = [
    "random_horizontal_flip",
    {"random_resized_crop": {"scale": [0.3, 1.0]}},
    {"color_jitter": {"brightness": 0.4, "saturation": 0.4}},
    "trivial_augment_wide",
    "gaussian_noise",
    {"random_erasing": {"p": 0.9}},
]
NEEDS: dict[str, dict[str, Any]] = {  # arguments of those that cannot do without on this shape
    "elastic_transform": {"sigma": 1},
    "gaussian_blur": {"kernel_size": 3},
    "random_adjust_sharpness": {"sharpness_factor": 2},
    "random_affine": {"degrees": 20, "translate": [0.1, 0.1]},
    "random_posterize": {"bits": 3},
    "random_rotation": {"degrees": 30},
    "random_solarize": {"threshold": 100},
    "grayscale": {"num_output_channels": 3},
}
RESHAPE = {"pad", "random_resize", "random_shortest_size", "random_zoom_out", "scale_jitter"}


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


def refused(*augment: Named) -> Fault:
    with pytest.raises(Fault) as caught:
        Augment(augment, SHAPE)
    assert caught.value.code == "E501"
    return caught.value


@pytest.mark.parametrize("augment", [STRONG, ["random_horizontal_flip", "random_vertical_flip"]])
def test_a_picture_depends_on_its_own_seed_only(augment: list[Named]) -> None:
    change = Augment(augment, SHAPE)
    batch, seeds = pictures(12), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    whole = change(batch, seeds)
    assert (whole.shape, whole.dtype) == (batch.shape, torch.uint8)
    assert not torch.equal(whole, batch)
    torch.manual_seed(99)
    alone = torch.cat([change(batch[i : i + 1], seeds[i : i + 1]) for i in reversed(range(12))])
    assert torch.equal(alone.flip(0), whole)


def test_different_seeds_change_one_picture_differently() -> None:
    same = pictures(1).expand(16, -1, -1, -1)
    changed = Augment(STRONG, SHAPE)(same, range(16))
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) == 16


@pytest.mark.parametrize("augment", [STRONG, ["random_vertical_flip"], []])
def test_the_global_random_state_is_left_alone(augment: list[Named]) -> None:
    before = torch.get_rng_state()
    Augment(augment, SHAPE)(pictures(4), range(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_batch_itself_is_left_alone() -> None:
    batch = pictures(4)
    in_place: list[Named] = [{"random_erasing": {"p": 1.0, "inplace": True}}]
    for augment in (STRONG, ["random_horizontal_flip"], in_place):
        Augment(augment, SHAPE)(batch, range(4))
    assert torch.equal(batch, pictures(4))


TORCHVISIONS: dict[str, tuple[Any, Any]] = {
    "random_affine": (
        {"degrees": 30, "interpolation": "bilinear"},
        v2.RandomAffine(30, interpolation=v2.InterpolationMode.BILINEAR),
    ),
    "random_resized_crop": (
        {"scale": [0.3, 0.6], "ratio": [1, 1]},
        v2.RandomResizedCrop(SHAPE[1:], scale=(0.3, 0.6), ratio=(1, 1)),
    ),
    "random_erasing": ({"p": 0.9, "value": 7}, v2.RandomErasing(p=0.9, value=7)),
    "rand_augment": ({"num_ops": 3, "magnitude": 12}, v2.RandAugment(num_ops=3, magnitude=12)),
    "trivial_augment": (None, v2.TrivialAugmentWide()),
    "auto_augment": (
        {"policy": "cifar10"},
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    ),
    "aug_mix": ({"severity": 5}, v2.AugMix(severity=5)),
    "color_jitter": ({"brightness": 0.4, "hue": 0.2}, v2.ColorJitter(brightness=0.4, hue=0.2)),
    "random_horizontal_flip": ({"p": 0.8}, v2.RandomHorizontalFlip(0.8)),
    "random_crop": ({"padding": 4}, v2.RandomCrop(SHAPE[1:], padding=4)),
}


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_it_is_torchvisions_own_transform(name: str) -> None:
    batch, (arguments, transform) = pictures(12), TORCHVISIONS[name]
    expected = []
    with torch.random.fork_rng(devices=[]):
        for seed, picture in enumerate(batch):
            torch.manual_seed(seed)
            expected.append(transform(picture))
    changed = Augment([{name: arguments}], SHAPE)(batch, range(12))
    assert torch.equal(changed, torch.stack(expected))
    assert (changed != batch).flatten(1).any(1).float().mean() > 0.5


MOVES: list[list[Named]] = [
    [{"random_horizontal_flip": {"p": 0.3}}, "random_vertical_flip"],
    [{"random_crop": {"size": [24, 20], "padding": 4}}],
    ["random_horizontal_flip", {"random_crop": {"padding": [1, 2, 3, 0], "fill": [9, 99, 200]}}],
    [{"random_crop": {"padding": 3, "padding_mode": "reflect"}}, "random_vertical_flip"],
    [
        {"random_crop": {"size": [20, 20]}},
        {"random_crop": {"size": [24, 22], "pad_if_needed": True, "padding_mode": "edge"}},
        {"random_crop": {"size": [24, 20], "padding": [0, 5]}},
    ],
]


@pytest.mark.parametrize("augment", MOVES)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_moves_of_a_whole_batch_equal_moves_one_by_one(
    augment: list[Named], format: torch.memory_format
) -> None:
    nothing: Named = {"random_rotation": {"degrees": [0, 0]}}  # it takes the general path
    batch, seeds = pictures(64).to(memory_format=format), range(1000, 1064)
    fast = Augment(augment, SHAPE)(batch, seeds)
    assert torch.equal(fast, Augment([*augment, nothing], SHAPE)(batch, seeds))
    assert fast.is_contiguous(memory_format=format)
    assert (fast == batch).flatten(1).all(1).float().mean() < 0.5


def test_a_crop_that_has_nothing_to_choose_draws_nothing() -> None:
    batch = pictures(16)
    flipped = Augment(["random_crop", "random_horizontal_flip"], SHAPE)(batch, range(16))
    assert torch.equal(flipped, Augment(["random_horizontal_flip"], SHAPE)(batch, range(16)))


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - RESHAPE))
def test_every_transform_keeps_the_shape_and_the_type(name: str) -> None:
    changed = Augment([{name: NEEDS.get(name)}], SHAPE)(pictures(2), [1, 2])
    assert (changed.shape, changed.dtype) == ((2, *SHAPE), torch.uint8)


def test_the_memory_format_is_kept() -> None:
    batch = pictures(2).to(memory_format=torch.channels_last)
    for augment in (STRONG, STRONG[:1], []):
        changed = Augment(augment, SHAPE)(batch, [1, 2])
        assert changed.is_contiguous(memory_format=torch.channels_last)


def test_a_shape_may_change_on_the_way() -> None:
    changed = Augment([{"pad": {"padding": 4}}, "random_crop"], SHAPE)(pictures(2), [1, 2])
    assert changed.shape == (2, *SHAPE)


@pytest.mark.parametrize(
    ("augment", "message", "help"),
    [
        (
            "random_horizontal_flop",
            "there is no augmentation random_horizontal_flop",
            "did you mean random_horizontal_flip?",
        ),
        (
            {"random_rotation": {"degree": 9}},
            "random_rotation takes no argument degree",
            "did you mean degrees?",
        ),
        (
            "random_rotation",
            "random_rotation needs degrees",
            "write {random_rotation: {degrees: ...}}",
        ),
        (
            {"random_horizontal_flip": {"p": 7}},
            "torchvision refuses random_horizontal_flip: `p` should be a floating point value "
            "in the interval [0.0, 1.0].",
            "",
        ),
        (
            {"center_crop": {"size": 9}},
            "the augmentations turn [3, 24, 20] into [3, 9, 9]",
            "end with a random_crop or resize to [24, 20]",
        ),
    ],
)
def test_what_does_not_fit_says_so(augment: Named, message: str, help: str) -> None:
    fault = refused(augment)
    assert fault.argument == (augment if isinstance(augment, str) else next(iter(augment)))
    assert (fault.message, fault.help) == (message, help)


@pytest.mark.parametrize(
    "augment",
    [
        {"random_affine": {"degrees": 9, "interpolation": "cubist"}},
        {"auto_augment": {"policy": "insurance"}},
        {"gaussian_blur": {"kernel_size": 2}},
        {"random_horizontal_flip": {"p": "often"}},
        {"random_resized_crop": {"scale": "large"}},
        "lambda",
        "compose",
        "mix_up",
        "__class__",
    ],
)
def test_refused_before_training_starts(augment: Named) -> None:
    refused("random_horizontal_flip", augment)


def test_as_many_seeds_as_pictures() -> None:
    with pytest.raises(ValueError, match="2 seeds for 3 pictures"):
        Augment(STRONG, SHAPE)(pictures(3), [1, 2])


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_normalisation_is_the_plain_formula(format: torch.memory_format) -> None:
    batch = pictures(3).to(memory_format=format)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in IMAGENET)
    found = Normalize(*IMAGENET)(batch)
    torch.testing.assert_close(found.double(), (batch / 255 - mean) / std, rtol=1e-6, atol=1e-6)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=format)
    assert torch.equal(batch, pictures(3))


def test_without_statistics_pixels_go_from_0_to_1() -> None:
    batch = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    torch.testing.assert_close(Normalize()(batch).flatten(), torch.tensor([0.0, 0.2, 1.0]))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """24 pictures of noise, darker in green."""
    root = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    for i in range(48):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = generator.integers(0, 256, (*SHAPE[1:], 3)) // [1, 2, 1]
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    settings = FolderData(folder=str(root), valid=0.5)
    return find_data(settings, input_shape=SHAPE, resize="squish", seed=0).train


def test_measured_statistics_are_those_of_the_pixels(noise: Samples) -> None:
    values = torch.stack([noise[i][0] for i in range(len(noise))]).double() / 255
    mean, std = measure(noise, seed=0)
    dims = (0, 2, 3)
    assert mean == pytest.approx(values.mean(dims).tolist(), abs=6e-5)
    assert std == pytest.approx(values.std(dims, correction=0).tolist(), abs=6e-5)
    assert all(value == round(value, 4) for value in mean + std)
    normalised = Normalize(mean, std)((values * 255).round().to(torch.uint8))
    assert normalised.mean(dims).abs().max() < 1e-3


def test_a_measured_subset_follows_the_seed(noise: Samples) -> None:
    first = measure(noise, 1, limit=3)
    assert first == measure(noise, 1, limit=3, workers=1)
    assert first != measure(noise, 2, limit=3)


def test_pictures_of_one_colour_do_not_divide_by_zero(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("L", (4, 4), 51).save(tmp_path / name / f"{i}.png")
    settings = FolderData(folder=str(tmp_path))
    data = find_data(settings, input_shape=(1, 4, 4), resize="squish", seed=0)
    assert measure(data.train, 0) == ((0.2,), (0.0039,))


def test_statistics_by_setting(noise: Samples) -> None:
    given = Statistics(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert statistics(None, noise, 0) is None
    assert statistics("imagenet", noise, 0) == IMAGENET
    assert statistics(given, noise, 0) == (given.mean, given.std)
    assert statistics("measured", noise, 0) == measure(noise, 0)
    with pytest.raises(Fault, match="normalize has 1 means for an input of 3 channels"):
        statistics(Statistics(mean=(0.1,), std=(0.4,)), noise, 0)
