"""Losses and gradients that are no numbers, found before a step is made with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class NotFinite(Exception):
    """The figures of a step are no numbers; `step` counts within the epoch, from 1.

    `batch` is that of the step's batches whose loss it is, from 0; None where it is the gradient.
    """

    def __init__(self, step: int, batch: int | None, value: float) -> None:
        super().__init__(step, batch, value)
        self.step, self.batch, self.value = step, batch, value


class Watch:
    """Sees to it that no step is made with a loss or a gradient that is not a number.

    Looking at the figures waits for the device. With `every` 1 that is done before each step, else
    only so often, and until then the optimizer itself leaves out the broken step and all that
    follow.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        batches: int,
        device: torch.device,
        every: int,
    ) -> None:
        self._optimizer, self._scaler = optimizer, scaler
        leaves_out = getattr(optimizer, "_step_supports_amp_scaling", False)
        self.every = every if leaves_out or scaler.is_enabled() else 1
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._figures = torch.zeros(batches + 1, dtype=torch.float64, device=device)
        """Of the first broken step, where there is one: its losses, and then its gradient."""

    def note(self, step: int, losses: Sequence[Tensor], gradient: Tensor | None) -> None:
        """The losses of a step's batches, and the greatest number of its gradient; None where the
        scaler looks after that."""
        figures = torch.zeros_like(self._figures)
        figures[: len(losses)] = torch.stack(list(losses))
        if gradient is not None:
            figures[-1] = gradient
        first = (self._step == 0) & ~figures.isfinite().all()
        self._step = torch.where(first, step, self._step)
        self._figures = torch.where(first, figures, self._figures)
        if self.every > 1 and not self._scaler.is_enabled():
            self._optimizer.found_inf = (self._step > 0).float()  # type: ignore[attr-defined]
        if step % self.every == 0:
            self.check()

    def check(self) -> None:
        """Wait for the device, and look. Raises NotFinite."""
        step = int(self._step)
        if not step:
            return
        figures = self._figures.tolist()
        index = next(i for i, value in enumerate(figures) if not math.isfinite(value))
        raise NotFinite(step, index if index < len(figures) - 1 else None, figures[index])
