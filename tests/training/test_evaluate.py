"""What is counted when a network is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import find, folder
from torch import nn
from training_fixtures import spec

import shapecalc
from shapecalc.training.device import Precision
from shapecalc.training.evaluate import Evaluation, evaluate, to_device
from shapecalc.training.loader import Loader
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.reporter import Reporter
from shapecalc.training.stop import Stop

FP32 = Precision("fp32", torch.float32, "")


class ByRed(nn.Module):
    """Three outputs of which the first falls and the last grows with the amount of red."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.dropout = nn.Dropout(0.9)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        red = self.dropout(pixels.float())[:, 0].mean((1, 2)) * self.scale
        return torch.stack([-red, torch.full_like(red, -4.0), red - 12], 1)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_each_sample_is_counted_once(tmp_path: Path, batch_size: int) -> None:
    """Red grows with the number of a picture: 0 to 3 go to the first class, 4 to 7 to the
    second, from 8 on to the third."""
    root = folder(tmp_path, train__a=1, train__b=1, train__c=1)
    samples = find(folder(root, valid__a=11, valid__b=5, valid__c=9)).valid
    model = ByRed()
    given = spec(None, batch_size=batch_size)
    micro = MicroBatch(
        shapecalc.trace(given), given.recipe(), FP32, torch.device("cpu"), Reporter()
    )
    with Loader(samples, batch_size=batch_size, seed=0, shuffle=False) as loader:
        found = evaluate(model, loader, nn.CrossEntropyLoss(), micro, Reporter(), Stop())
    rows = [samples[index] for index in range(len(samples))]
    with torch.no_grad():
        output = torch.cat([model(pixels[None].float()) for pixels, _, _ in rows])
    labels = torch.tensor([label for _, label, _ in rows])
    counts = [[0] * 3 for _ in range(3)]
    for label, choice in zip(labels.tolist(), output.argmax(1).tolist(), strict=True):
        counts[label][choice] += 1
    assert found.confusion == counts
    assert found.count == 25
    assert all(sum(row) for row in zip(*counts, strict=True))
    assert found.loss == pytest.approx(nn.functional.cross_entropy(output, labels).item(), rel=1e-6)
    assert not model.training


def test_figures_of_a_confusion_matrix() -> None:
    """By hand: rows are true classes, columns predicted ones."""
    found = Evaluation(0.5, [[3, 1, 0], [2, 2, 0], [0, 0, 0]])
    assert found.count == 8
    assert found.accuracy == 5 / 8
    assert found.per_class == [
        (3 / 5, 3 / 4, pytest.approx(2 / (5 / 3 + 4 / 3)), 4),
        (2 / 3, 2 / 4, pytest.approx(2 / (3 / 2 + 2)), 4),
        (0.0, 0.0, 0.0, 0),
    ]


def test_pixels_lie_in_channels_last() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    moved = to_device(pixels, torch.device("cpu"))
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved, pixels)
