"""How well a network does on samples whose classes are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from shapecalc.training import distributed
from shapecalc.training.loader import Loader
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.reporter import Reporter
from shapecalc.training.stop import Stop


@dataclass(frozen=True)
class Evaluation:
    """How a network does on some samples."""

    loss: float
    confusion: list[list[int]]
    """Counts: a row for each true class, a column for each predicted one."""

    @property
    def count(self) -> int:
        """Samples seen."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """The share that is right, from 0 to 1."""
        return sum(row[i] for i, row in enumerate(self.confusion)) / self.count

    @property
    def per_class(self) -> list[tuple[float, float, float, int]]:
        """Precision, recall, F1 and the number of samples of each class; 0 where undefined."""
        rows = []
        for i, row in enumerate(self.confusion):
            right, true = row[i], sum(row)
            predicted = sum(other[i] for other in self.confusion)
            rows.append(
                (
                    right / predicted if predicted else 0.0,
                    right / true if true else 0.0,
                    2 * right / (true + predicted) if true + predicted else 0.0,
                    true,
                )
            )
        return rows


def evaluate(
    model: nn.Module,
    loader: Loader,
    loss_function: nn.Module,
    micro: MicroBatch,
    reporter: Reporter,
    stop: Stop,
    on_batch: Callable[[Tensor, Tensor], None] | None = None,
) -> Evaluation:
    """The mean loss and the confusion matrix over all batches of a loader, also where several
    processes have a share of each. `model` takes pixels, as `network.Computed` does. `on_batch` is
    given the outputs and the labels of each batch, in float32 on the device. Raises Stopped."""
    device = next(model.parameters()).device

    def figures(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of a batch's losses, its confusion matrix, and its outputs."""
        total, counts, outputs = [], [], []
        for some, truth in micro.parts(pixels, labels):
            output = model(some)
            classes = output.shape[1]
            total.append(loss_function(output, truth) * len(truth))
            pairs = truth * classes + output.argmax(1)
            counts.append(torch.bincount(pairs, minlength=classes**2).view(classes, classes))
            outputs.append(output)
        return torch.stack(total).sum(), torch.stack(counts).sum(0), torch.cat(outputs)

    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=device)
    classes = len(loader.classes)
    counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    with torch.inference_mode():
        for number, (pixels, labels, _) in enumerate(loader.epoch(0), 1):
            stop.check()
            if not len(labels):
                if micro.whole:  # the others may wait for it within the network
                    model(pixels.to(device))
                continue
            pixels, labels = to_device(pixels, device), labels.to(device, non_blocking=True)
            loss, confusion, outputs = micro.fit(partial(figures, pixels, labels))
            total += loss
            counts += confusion
            if on_batch is not None:
                on_batch(outputs, labels)
            if reporter.wants(number):
                reporter.update(number)
        if loader.ranks > 1:
            distributed.add_up([total, counts])
    return Evaluation(float(total) / int(counts.sum()), counts.tolist())


def to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, C, H, W] on the device, in channels_last: there as bytes, a quarter of floats."""
    return pixels.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
