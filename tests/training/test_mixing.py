"""Mixed batches: what is in the pictures, what is in the targets, and what chance decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_fixtures import Ear, metrics, refusal, same, spec, tensors

import shapecalc
from shapecalc.diagnostics import Fault, SpecError
from shapecalc.language.recipe import Named
from shapecalc.training.mixing import MIXES, Mixed, Mixing, judged, mixed_loss

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
SEEDS = range(40)


def pictures() -> torch.Tensor:
    """Pictures of one value each, by which they are known."""
    return (20 * torch.arange(8, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(8, 3, 16, 12)


def mixed(*augment: Named, seed: int = 0) -> Mixed:
    return Mixing(augment)(pictures(), LABELS, seed)


def test_mixup_fades_two_pictures_and_their_targets_by_one_share() -> None:
    shares = []
    for seed in SEEDS:
        found = mixed({"mixup": {"alpha": 1.0}}, seed=seed)
        own = pictures()[:, 0, 0, 0].float()
        values = found.pixels[:, 0, 0, 0]
        partners = ((values - found.share * own) / (1 - found.share) / 20).round().long()
        assert torch.equal(partners.sort().values, torch.arange(8))
        expected = found.share * own + (1 - found.share) * own[partners]
        assert torch.allclose(values, expected)
        assert torch.equal(found.others, LABELS[partners])
        assert torch.equal(found.labels, LABELS)
        assert (found.pixels == values.view(-1, 1, 1, 1)).all()
        shares.append(found.share)
    assert min(shares) < 0.2
    assert max(shares) > 0.8
    assert np.mean(shares) == pytest.approx(0.5, abs=0.15)


def test_cutmix_puts_a_box_of_another_picture_in_and_shares_by_its_area() -> None:
    shares = []
    for seed in SEEDS:
        found = mixed("cutmix", seed=seed)
        assert found.pixels.dtype == torch.uint8
        foreign = (found.pixels != pictures()).all(1)
        for picture, where in zip(found.pixels, foreign, strict=True):
            if where.any():  # a picture may be its own partner
                rows, columns = where.any(1).nonzero(), where.any(0).nonzero()
                box = where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                assert box.all()
                assert where.sum() == box.numel()
                assert found.share == pytest.approx(1 - box.numel() / (16 * 12), rel=1e-6)
                assert len(picture[:, where].unique()) == 1
        shares.append(found.share)
    assert min(shares) < 0.4
    assert max(shares) > 0.9


def test_the_loss_is_that_of_mixed_targets() -> None:
    torch.manual_seed(0)
    output, found = torch.randn(8, 3), mixed("mixup", seed=3)
    assert 0 < found.share < 1
    targets = found.share * nn.functional.one_hot(LABELS, 3)
    targets = targets + (1 - found.share) * nn.functional.one_hot(found.others, 3)
    loss = nn.CrossEntropyLoss()
    value = mixed_loss(loss, output, found.labels, found.others, found.share)
    torch.testing.assert_close(value, nn.functional.cross_entropy(output, targets.float()))


def test_an_answer_is_right_where_it_is_the_label_of_the_greater_share() -> None:
    other = LABELS.flip(0)
    for share, labels in ((0.7, LABELS), (0.3, other), (None, LABELS)):
        assert torch.equal(judged(LABELS, other, share), labels)
        if share is not None:
            assert torch.equal(judged(LABELS, other, torch.tensor(share)), labels)


def test_of_two_ways_each_batch_gets_one_by_chance() -> None:
    kinds = [mixed("mixup", "cutmix", seed=seed).pixels.dtype for seed in SEEDS]
    assert 10 < kinds.count(torch.float32) < 30
    some = [mixed({"cutmix": {"p": 0.5}}, seed=seed).share is not None for seed in SEEDS]
    assert 10 < sum(some) < 30


def test_what_is_by_chance_is_a_function_of_the_seed() -> None:
    before = torch.get_rng_state()
    one, again, other = (mixed("mixup", "cutmix", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.pixels, again.pixels)
    assert one.share == again.share
    assert one.share != other.share
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_alone_and_a_batch_without_mixing_stay() -> None:
    alone = Mixing(["mixup"])(pictures()[:1], LABELS[:1], 0)
    plain = Mixing(["random_horizontal_flip"])(pictures(), LABELS, 0)
    assert alone.share is plain.share is None
    assert torch.equal(plain.pixels, pictures())


@pytest.mark.parametrize(
    ("setting", "message", "help"),
    [
        ({"mixup": {"alfa": 1}}, "mixup takes no argument alfa", "did you mean alpha?"),
        ({"cutmix": {"x": 1}}, "cutmix takes no argument x", "it takes alpha, p"),
        ({"mixup": {"alpha": 0}}, "alpha of mixup is to be more than 0, not 0", "leave it out"),
        ({"cutmix": {"p": 2}}, "p of cutmix is to be more than 0 and at most 1, not 2", "leave"),
        ({"mixup": {"alpha": "much"}}, "alpha of mixup is to be more than 0, not much", "leave"),
    ],
)
def test_arguments_that_are_refused(setting: Named, message: str, help: str) -> None:
    with pytest.raises(Fault) as caught:
        Mixing([setting])
    assert caught.value.message == message
    assert caught.value.help.startswith(help)
    assert caught.value.argument in MIXES


def test_a_fault_is_shown_at_its_entry(tmp_path: Path, data: Path) -> None:
    given = spec(data, augment=["random_horizontal_flip", {"mixup": {"alpha": -1}}])
    found = refusal(SpecError, lambda: shapecalc.train(given, out=tmp_path / "run"), "E501")
    assert found.place is not None
    assert "mixup" in found.place.text[found.place.column - 1 :]


def test_training_mixes_and_still_learns(data: Path, tmp_path: Path) -> None:
    """Against the same training without; parts of a batch change nothing but rounding."""
    settings = {"epochs": 4, "layers": ("flatten", "linear: ${classes}")}
    plain, both = tmp_path / "plain", tmp_path / "both"
    shapecalc.train(spec(data, **settings), out=plain)
    ear = Ear()
    given = spec(data, **settings, augment=[{"mixup": {"alpha": 1.0}}, "cutmix"])
    shapecalc.train(given, out=both, reporter=ear)
    assert not same(tensors(plain), tensors(both))
    one, other = metrics(plain)[-1], metrics(both)[-1]
    assert other["train_loss"] > one["train_loss"]  # of mixed targets
    assert other["valid_accuracy"] > 0.9  # three colours
    assert 0.5 < other["train_accuracy"] <= 1
