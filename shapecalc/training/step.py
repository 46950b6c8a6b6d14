"""One step of the optimizer: the gradients of its batches, and what they change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from shapecalc.diagnostics import Fault
from shapecalc.language.recipe import Recipe
from shapecalc.training import distributed
from shapecalc.training.augment import Augment
from shapecalc.training.evaluate import to_device
from shapecalc.training.graphs import Graphs, Sums
from shapecalc.training.loader import Batch
from shapecalc.training.mixing import Mixing, judged, mixed_loss
from shapecalc.training.seeds import mix, seed_torch
from shapecalc.training.sharded import gathered
from shapecalc.training.state import State
from shapecalc.training.stop import Stop
from shapecalc.training.watch import Watch


@dataclass(frozen=True)
class Step:
    """Makes the steps of a run. What is by chance in one is a function of the seed, the epoch and
    its number, and of the picture."""

    recipe: Recipe
    state: State
    model: nn.Module
    """The state's, from pixels to outputs in fp32."""
    loss: nn.Module
    augment: Augment
    mixing: Mixing
    watch: Watch
    stop: Stop
    graphs: Graphs | None = None
    """Which replay the passes of batches."""

    def __call__(self, batches: Sequence[Batch], samples: int) -> None:
        """Train on the batches of one step, or this process's share of them; `samples` counts them
        all. Raises Stopped and Lost, which leave the state as it was, and NotFinite and Fault."""
        state, part = self.state, self.state.begin_epoch()
        self.stop.check()
        losses, correct = state.micro.fit(partial(self._gradients, batches, samples))
        self.watch.note(part.steps + 1, losses, self._clip())
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=self.graphs is None)
        state.schedule.after_step()
        if state.average:
            state.average.update(state.model)
        part.loss += torch.stack(losses).sum()
        part.correct += correct
        part.seen += samples
        part.steps += 1

    @property
    def _within(self) -> Stop:
        """Who may end a step in its midst: no one where other processes would wait for it."""
        return Stop() if self.state.sharded else self.stop

    def _gradients(self, batches: Sequence[Batch], samples: int) -> tuple[list[Tensor], Tensor]:
        """Backward through the mean of all losses; the sum of each batch's losses, and how many
        answers are right."""
        state, seed, device = self.state, self.recipe.seed, self.state.device
        stop = self._within
        epoch, own = state.epoch + 1, [distributed.rank()] if distributed.rank() else []
        step = state.begin_epoch().steps
        losses = [torch.zeros((), dtype=torch.float64, device=device) for _ in batches]
        correct = torch.zeros((), dtype=torch.int64, device=device)
        with _undone_by_errors(state.model):
            seed_torch(mix(seed, "step", epoch, step, *own), device)
            for number, (batch, total) in enumerate(zip(batches, losses, strict=True)):
                pixels, labels, indices = batch
                if not len(labels):
                    self._meet(pixels.to(device))
                    continue
                pixels, labels = to_device(pixels, device), labels.to(device, non_blocking=True)
                pixels = self.augment(
                    pixels, [mix(seed, "augment", epoch, index) for index in indices.tolist()]
                )
                mixed = self.mixing(pixels, labels, mix(seed, "mix", epoch, step, number, *own))
                for some, truth, other in state.micro.parts(*mixed[:3]):
                    stop.check()
                    inputs = (some, truth, other, mixed.share, len(truth) / samples)
                    made = self.graphs(self._pass, *inputs) if self.graphs else self._pass(*inputs)
                    total += made[0]
                    correct += made[1]
            stop.check()
            distributed.add_up_gradients(state.model)
            distributed.add_up([*losses, correct])
        return losses, correct

    def _pass(
        self,
        pixels: Tensor,
        own: Tensor,
        other: Tensor,
        share: float | Tensor | None,
        weight: float | Tensor,
    ) -> Sums:
        """Backward through the mean of the losses of some pictures, times `weight`."""
        output = self._output(pixels)
        loss = mixed_loss(self.loss, output, own, other, share)
        if not self.graphs:  # in which only the device waits
            self._within.check()
        self.state.scaler.scale(loss * weight).backward()  # type: ignore[no-untyped-call]
        right = (output.detach().argmax(1) == judged(own, other, share)).sum()
        return loss.detach() * len(own), right

    def _meet(self, nothing: Tensor) -> None:
        """Where processes meet within the network, one without samples comes along with none."""
        if self.state.micro.whole:
            self._output(nothing).sum().backward()  # type: ignore[no-untyped-call]

    def _output(self, pixels: Tensor) -> Tensor:
        try:
            output: Tensor = self.model(pixels)
        except ValueError as error:  # batch_norm, of one value for each channel
            message = f"torch refuses a batch of {len(pixels)}: {error}"
            raise Fault("E501", message, argument="batch_size") from error
        return output

    def _clip(self) -> Tensor | None:
        """Clip the gradients as the recipe says. Their norm, or the greatest; None where a scaler
        leaves out steps whose gradients are too large for it."""
        state, limit = self.state, self.recipe.clip_grad_norm
        parameters = list(state.model.parameters())
        if limit is not None:
            state.scaler.unscale_(state.optimizer)
            norm = nn.utils.clip_grad_norm_(parameters, limit)
        elif not state.scaler.is_enabled():
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients, math.inf)
        return None if state.scaler.is_enabled() else gathered(norm)


@contextmanager
def _undone_by_errors(model: nn.Module) -> Iterator[None]:
    """Where an error comes up, gradients and statistics are as before."""
    buffers = list(model.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for buffer, old in zip(buffers, before, strict=True):
                buffer.copy_(old)
        model.zero_grad(set_to_none=True)
        raise
