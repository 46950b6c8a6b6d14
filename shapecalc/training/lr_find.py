"""The learning rate to train with, found by trying all of them for a moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import torch
from torch import nn

from shapecalc.builder import build
from shapecalc.diagnostics import Diagnostic, Fault, RunError
from shapecalc.language.spec import Spec
from shapecalc.training import optim
from shapecalc.training.augment import Augment, Normalize
from shapecalc.training.device import (
    choose_device,
    choose_precision,
    choose_workers,
    kept_memory,
)
from shapecalc.training.evaluate import to_device
from shapecalc.training.loader import Batch, Loader
from shapecalc.training.loop import faults_in
from shapecalc.training.prepare import Task, prepare
from shapecalc.training.reporter import Reporter
from shapecalc.training.seeds import mix
from shapecalc.training.start import start_weights

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
_SMOOTHING = 0.9
_DIVERGED = 4.0
"""The sweep ends where the smoothed loss is so many times its least."""
_FALLEN = 0.98
"""The loss has fallen where its least is below so much of what it was at first."""


@dataclass(frozen=True)
class Sweep:
    """Learning rates with the loss that the step before left at each."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The losses as an exponential mean that weighs the last one by 1 - 0.9, without the bias
        towards its beginning: Kingma and Ba, Adam, 2015 (arXiv:1412.6980), section 3."""
        mean, found = 0.0, []
        for number, loss in enumerate(self.losses, 1):
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
            found.append(mean / (1 - _SMOOTHING**number))
        return tuple(found)

    @property
    def least(self) -> float:
        """The rate at which the smoothed loss is least."""
        smoothed = self.smoothed
        return self.rates[smoothed.index(min(smoothed))]

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the smoothed loss is least; None where it never fell.

        At that rate training is about to break, so one goes back by a power of ten: Howard and
        Gugger, Deep Learning for Coders with fastai and PyTorch, 2020, chapter 5. The sweep itself
        is Smith's: Cyclical Learning Rates for Training Neural Networks, 2017 (arXiv:1506.01186),
        section 3.3.
        """
        smoothed = self.smoothed
        fell = min(smoothed) < _FALLEN * smoothed[0]
        return float(f"{self.least / 10:.2g}") if fell else None

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest, for each factor that the rate grows
        by, before its least: the other rule in use."""
        smoothed = self.smoothed
        falls = [smoothed[i + 1] - smoothed[i - 1] for i in range(1, smoothed.index(min(smoothed)))]
        if self.suggestion is None or not falls:
            return None
        return float(f"{self.rates[1 + falls.index(min(falls))]:.2g}")


def lr_find(
    spec: Spec,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> Sweep:
    """Train a spec for some steps as its `train:` says, with a learning rate that grows from
    `lowest` to `highest` by the same factor in each, until the loss has gone up for good.

    Leaves nothing behind. Raises SpecError and DataError.
    """
    reporter = reporter or Reporter()
    try:
        where = choose_device(device)
    except Fault as fault:
        raise RunError([fault.at(None)]) from None
    workers = choose_workers(spec.recipe().workers, where)
    task = prepare(
        spec, skip_bad=skip_bad, workers=workers, reporter=reporter, on_cpu=where.type == "cpu"
    )
    growth = (highest / lowest) ** (1 / max(1, steps - 1))
    rates = [lowest * growth**number for number in range(steps)]
    with faults_in(task), kept_memory(where):
        losses = list(_losses(task, rates, where, workers, reporter))
    if not losses:
        message = "the loss of the very first step is no number"
        help = "start from other weights (train.init), or normalize the pictures"
        raise RunError([Diagnostic("E504", message, help=help)])
    return Sweep(tuple(rates[: len(losses)]), tuple(losses))


def _losses(
    task: Task,
    rates: Sequence[float],
    device: torch.device,
    workers: int,
    reporter: Reporter,
) -> Iterator[float]:
    """The loss of each step, before its rate has had any effect; ends where it diverges."""
    recipe = task.recipe
    precision = choose_precision(recipe.precision, device)
    reporter.note(f"trying rates on {device.type} in {precision.name} ({precision.why})")
    pre = task.preprocessing(workers)
    normalize, augment = (
        Normalize(pre.mean, pre.std),
        Augment(recipe.augment, task.trace.input_shape),
    )
    torch.manual_seed(mix(recipe.seed, "weights"))
    model = build(task.trace)
    start_weights(model, recipe.init, reporter)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    loss_function = optim.loss(recipe.loss).to(device)
    optimizer = optim.optimizer(recipe.optimizer, model.parameters())
    scaler = torch.amp.GradScaler(device.type, enabled=precision.dtype == torch.float16)
    loader = Loader(
        task.data.train,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        shuffle=True,
        workers=workers,
    )
    seen: list[float] = []
    with loader:
        reporter.begin("trying rates", len(rates))
        batches = _whole_batches(loader, recipe.batch_size)
        for rate in rates:
            optim.set_rate(optimizer, rate)
            mean = 0.0
            for epoch, (pixels, labels, indices) in islice(batches, recipe.accumulate):
                seeds = [mix(recipe.seed, "augment", epoch, index) for index in indices.tolist()]
                pixels, labels = to_device(pixels, device), labels.to(device, non_blocking=True)
                with torch.autocast(device.type, precision.dtype, enabled=precision.lowered):
                    output = model(normalize(augment(pixels, seeds)))
                loss = loss_function(output.float(), labels) / recipe.accumulate
                scaler.scale(loss).backward()
                mean += float(loss.detach())
            if not math.isfinite(mean):
                return
            seen.append(mean)
            yield mean
            smoothed = Sweep(tuple(rates[: len(seen)]), tuple(seen)).smoothed
            if smoothed[-1] > _DIVERGED * min(smoothed):
                return
            if recipe.clip_grad_norm is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            if reporter.wants(len(seen)):
                reporter.update(len(seen), loss=mean, lr=rate)


def _whole_batches(loader: Loader, size: int) -> Iterator[tuple[int, Batch]]:
    """Batches of as many epochs as are wanted, each with its epoch; a last one that is not full
    is left out where there are others, lest it be a single picture for a batch_norm."""
    for epoch in count(1):
        for number, batch in enumerate(loader.epoch(epoch)):
            if len(batch[1]) == size or number == 0:
                yield epoch, batch
