"""The learning rate to train with, found by trying all of them for a moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice

import numpy as np
import torch

from shapecalc.diagnostics import Diagnostic, Fault, RunError
from shapecalc.language.spec import Spec
from shapecalc.training import optim
from shapecalc.training.augment import Augment, Normalize
from shapecalc.training.device import (
    choose_decoders,
    choose_device,
    choose_precision,
    choose_workers,
    kept_memory,
)
from shapecalc.training.loader import Batch, Loader
from shapecalc.training.loop import faults_in
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.mixing import Mixing
from shapecalc.training.network import Way
from shapecalc.training.prepare import Task, prepare
from shapecalc.training.reporter import Reporter
from shapecalc.training.state import new_state
from shapecalc.training.step import Step
from shapecalc.training.stop import Stop
from shapecalc.training.transfer import completed
from shapecalc.training.watch import NotFinite, Watch

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
_SMOOTHING = 0.9
_OF_A_WHOLE_TRAINING = ("schedule", "warmup", "ema")
_DIVERGED = 4.0
"""The sweep ends where the smoothed loss is so many times its least."""
_LEARNED = 0.1
"""Less than so much of the loss at first counts as this much, as few pictures are soon learned."""
_FALL = 0.02
"""The loss has fallen where it is less by at least so much of what it was at first."""
_AT_FIRST, _AROUND = 10, 25
"""One in so many steps is left out at first, and looked at to each side for a slope."""


@dataclass(frozen=True)
class Sweep:
    """Learning rates with the loss that the step before left at each."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @cached_property
    def smoothed(self) -> tuple[float, ...]:
        return smooth(self.losses)

    @property
    def least(self) -> float:
        """The rate at which the smoothed loss is least."""
        return self.rates[self._bottom]

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest, for each factor that the rate grows
        by, on its way to its least; None where it never fell.

        The slope at a step is that of the line nearest to the steps around it, for the noise of
        single batches is steeper than the curve. The first steps are too few for a mean.
        """
        if not self.fell:
            return None
        smoothed, around = np.array(self.smoothed), max(1, len(self.rates) // _AROUND)
        offsets = np.arange(-around, around + 1)
        slopes = {
            step: float(offsets @ smoothed[step - around : step + around + 1])
            for step in range(
                max(around, self._start), min(self._bottom, len(smoothed) - 1 - around) + 1
            )
        }
        steep = min(slopes, key=slopes.__getitem__, default=None)
        return None if steep is None or slopes[steep] >= 0 else self.rates[steep]

    @property
    def suggestion(self) -> float | None:
        """A tenth of the steepest rate; None where the loss never fell.

        Where the loss falls fastest a rate works best for a moment, but one that is to last for a
        training goes back by a power of ten, as Howard and Gugger do from the least one: Deep
        Learning for Coders with fastai and PyTorch, 2020, chapter 5. The sweep itself is Smith's:
        Cyclical Learning Rates for Training Neural Networks, 2017 (arXiv:1506.01186), section 3.3.
        """
        return None if self.steepest is None else float(f"{self.steepest / 10:.2g}")

    @property
    def rose(self) -> bool:
        """Whether the loss went up again, by a tenth of its fall at least."""
        least = min(self.smoothed)
        return self.smoothed[-1] - least > 0.1 * (self.first - least)

    @property
    def fell(self) -> bool:
        """Whether the loss went down by more than one batch differs from the next."""
        before = np.array(self.losses[: self._bottom + 1])
        noise = float(np.diff(before).std() / 2**0.5) if len(before) > 1 else 0.0
        return self.first - min(self.smoothed) > max(noise, _FALL * abs(self.first))

    def expect_suggestion(self) -> None:
        """Raises RunError where no rate can be suggested."""
        if self.suggestion is None:
            message = (
                f"between {self.rates[0]:.2g} and {self.rates[-1]:.2g} the loss never fell by more "
                "than it differs from batch to batch"
            )
            help = "try more --steps, a larger --highest or batch_size, or other initial weights"
            raise RunError([Diagnostic("E505", message, help=f"{help} (train.init)")])

    @property
    def first(self) -> float:
        """The smoothed loss once it is the mean of some steps."""
        return self.smoothed[self._start]

    @property
    def _start(self) -> int:
        return len(self.rates) // _AT_FIRST

    @property
    def _bottom(self) -> int:
        """The step of the least smoothed loss."""
        return self.smoothed.index(min(self.smoothed))


def smooth(losses: Sequence[float]) -> tuple[float, ...]:
    """An exponential mean that weighs the last loss by 1 - 0.9, without the bias towards its
    beginning: Kingma and Ba, Adam, 2015 (arXiv:1412.6980), section 3."""
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        found.append(mean / (1 - _SMOOTHING**number))
    return tuple(found)


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

    Leaves nothing behind. Raises SpecError, DataError and RunError.
    """
    reporter = reporter or Reporter()
    try:
        where = choose_device(device)
    except Fault as fault:
        raise RunError([fault.at(None)]) from None
    spec = completed(spec, reporter)
    settings = {key: value for key, value in spec.train.items() if key not in _OF_A_WHOLE_TRAINING}
    spec = spec.model_copy(update={"train": settings})
    workers = choose_workers(spec.recipe().workers, where)
    threads = choose_decoders(spec.recipe().workers)
    task = prepare(spec, skip_bad=skip_bad, threads=threads, reporter=reporter, device=where)
    growth = (highest / lowest) ** (1 / max(1, steps - 1))
    rates = [lowest * growth**number for number in range(steps)]
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
    """The mean loss of each step, before its rate has had any effect; ends where it diverges."""
    recipe = task.recipe
    precision = choose_precision(recipe.precision, device)
    reporter.note(f"trying rates on {device.type} in {precision.name} ({precision.why})")
    pre = task.preprocessing(workers)
    micro = MicroBatch(task.trace, recipe, precision, device, reporter)
    with faults_in(task, micro), kept_memory(device):
        state = new_state(task, device, precision, micro, reporter)
        way = Way(Normalize(pre.mean, pre.std), precision, recipe.rewrites)
        model, _ = way.of(state.model, task.trace, training=True, batch=micro.size)
        step = Step(
            recipe,
            state,
            model.train(),
            optim.loss(recipe.loss, task.class_weights()).to(device),
            Augment(recipe.augment, task.trace.input_shape),
            Mixing(recipe.augment),
            Watch(state.optimizer, state.scaler, recipe.accumulate, device, every=1),
            Stop(),
        )
        part = state.begin_epoch()
        seen: list[float] = []
        with Loader(
            task.data.train,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            shuffle=True,
            workers=workers,
        ) as loader:
            reporter.begin("trying rates", len(rates))
            batches = _whole_batches(loader, recipe.batch_size)
            for rate in rates:
                optim.set_rate(state.optimizer, rate)
                loss, images = float(part.loss), part.seen
                try:
                    of_step = list(islice(batches, recipe.accumulate))
                    step(of_step, sum(len(labels) for _, labels, _ in of_step))
                except NotFinite:
                    return
                seen.append((float(part.loss) - loss) / (part.seen - images))
                yield seen[-1]
                smoothed = smooth(seen)
                if smoothed[-1] > _DIVERGED * max(min(smoothed), _LEARNED * smoothed[0]):
                    return
                if reporter.wants(len(seen)):
                    reporter.update(len(seen), loss=seen[-1], lr=rate)


def _whole_batches(loader: Loader, size: int) -> Iterator[Batch]:
    """Batches of as many epochs as are wanted; a last one that is not full is left out where there
    are others, lest it be a single picture for a batch_norm."""
    for epoch in count(1):
        for number, batch in enumerate(loader.epoch(epoch)):
            if len(batch[1]) == size or number == 0:
                yield batch
