"""All that changes while training: what is saved to go on from, and how it comes back."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from shapecalc.analysis.runs import best
from shapecalc.builder import build
from shapecalc.training import distributed, optim
from shapecalc.training.device import Precision
from shapecalc.training.evaluate import Evaluation
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.prepare import Task
from shapecalc.training.reporter import Reporter
from shapecalc.training.seeds import mix
from shapecalc.training.sharded import (
    is_sharded,
    is_to_be_sharded,
    load,
    load_optimizer,
    own,
    shard,
    whole,
)
from shapecalc.training.start import start_weights
from shapecalc.training.transfer import groups

Metrics = dict[str, float]
"""What is told of an epoch: a line of `metrics.jsonl`."""


class Average:
    """An exponential moving average of a network's weights and statistics.

    The first steps take less from before, up to `decay`, for the weights that a network starts
    with are worth little: (1 + steps) / (10 + steps).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.steps = decay, 0

    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        pairs = list(zip(self._tensors(self.model), self._tensors(model), strict=True))
        mine, theirs = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        get_ema_multi_avg_fn(decay)(mine, theirs, None)  # type: ignore[no-untyped-call]
        for counter, new in (pair for pair in pairs if not pair[0].is_floating_point()):
            counter.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"model": whole(self.model.state_dict()), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load(self.model, state["model"])
        self.steps = state["steps"]

    @staticmethod
    def _tensors(model: nn.Module) -> list[Tensor]:
        return [*(own(p.detach()) for p in model.parameters()), *model.buffers()]


@dataclass
class Part:
    """What an epoch that is not over has come to; the sums lie on the device."""

    lr: float
    """At its beginning."""
    loss: Tensor
    """The sum over the samples, in float64."""
    correct: Tensor
    seen: int = 0
    steps: int = 0
    """Steps of the optimizer that are done."""
    seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def tick(self) -> None:
        """Count the time since the last tick, or since it began or went on."""
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now

    def figures(self) -> dict[str, float]:
        """The mean loss and accuracy so far; reading them waits for the device."""
        return {"loss": float(self.loss) / self.seen, "accuracy": int(self.correct) / self.seen}

    def state_dict(self) -> dict[str, Any]:
        return {
            "lr": self.lr,
            "loss": float(self.loss),
            "correct": int(self.correct),
            "seen": self.seen,
            "steps": self.steps,
            "seconds": self.seconds,
        }


@dataclass
class Best:
    """The network after the best epoch so far."""

    tensors: dict[str, Tensor]
    confusion: list[list[int]]


@dataclass
class State:
    """All that changes while training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: optim.Schedule
    scaler: torch.amp.GradScaler
    average: Average | None
    micro: MicroBatch
    metrics: list[Metrics] = field(default_factory=list)
    """One row for each finished epoch."""
    part: Part | None = None
    """The epoch that is not over."""
    best: Best | None = None

    @property
    def epoch(self) -> int:
        """Epochs that are finished."""
        return len(self.metrics)

    @property
    def place(self) -> str:
        """How far it has come; "" where it has not."""
        return told(self.epoch, self.part.steps if self.part else 0)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def sharded(self) -> bool:
        """Whether this process has a share of the network."""
        return is_sharded(self.model)

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the average, where there is one."""
        return self.average.model if self.average else self.model

    def begin_epoch(self) -> Part:
        """The epoch that is next, or that was left in its midst."""
        if self.part is None:
            loss = torch.zeros((), dtype=torch.float64, device=self.device)
            correct = torch.zeros((), dtype=torch.int64, device=self.device)
            self.part = Part(self.schedule.lr, loss, correct)
        return self.part

    def end_epoch(self, valid: Evaluation) -> Metrics:
        """Its figures, once it is validated."""
        part = self.part
        assert part is not None
        self.schedule.after_epoch(valid.loss)
        train = part.figures()
        row = {
            "epoch": self.epoch + 1,
            "train_loss": train["loss"],
            "train_accuracy": train["accuracy"],
            "valid_loss": valid.loss,
            "valid_accuracy": valid.accuracy,
            "lr": part.lr,
            "seconds": round(part.seconds, 3),
            "images_per_second": round(part.seen / part.seconds, 2),
        }
        self.metrics.append(row)
        self.part = None
        if best_epoch(self.metrics) == self.epoch:
            tensors = whole(self.judged.state_dict())
            kept = {k: t.detach().cpu().clone() for k, t in tensors.items() if t is not None}
            self.best = Best(kept, valid.confusion)
        return row

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, from which `load_state_dict` makes the same state. Where
        processes have shares of them all must come here, and the first is given the whole."""
        return {
            "model": whole(self.model.state_dict()),
            "optimizer": whole(self.optimizer.state_dict()),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "at_once": self.micro.size,
            "ranks": distributed.world(),
            "metrics": self.metrics,
            "part": self.part.state_dict() if self.part else None,
            "best": vars(self.best) if self.best else None,
        }

    def load_state_dict(self, state: Mapping[str, Any], epochs: int) -> None:
        """Come to the state that was saved, in a training of so many epochs, maybe of others."""
        load(self.model, state["model"])
        optimizer, schedule = state["optimizer"], state["schedule"]
        if state["epochs"] != epochs and self.schedule.each_step:
            self.schedule.advance(schedule["last_epoch"] + schedule.get("warmed", 0))
            schedule = self.schedule.state_dict()
            new = self.optimizer.state_dict()["param_groups"]
            old = [group["params"] for group in optimizer["param_groups"]]
            groups = [{**group, "params": params} for group, params in zip(new, old, strict=True)]
            optimizer = {**optimizer, "param_groups": groups}
        load_optimizer(self.optimizer, optimizer)
        self.schedule.load_state_dict(schedule)
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        if saved_ranks(state) == distributed.world():
            self.micro.size = state["at_once"]
        self.metrics = state["metrics"]
        if part := state["part"]:
            empty = self.begin_epoch()
            loss, correct = empty.loss + part["loss"], empty.correct + part["correct"]
            self.part = Part(**{**part, "loss": loss, "correct": correct})
        self.best = Best(**state["best"]) if state["best"] else None


def saved_ranks(state: Mapping[str, Any]) -> int:
    """How many processes have trained together when a state was saved."""
    return int(state.get("ranks", 1))


def best_epoch(metrics: list[Metrics]) -> int:
    """The number of the epoch with the best validation accuracy, the first of several."""
    row = best(metrics)
    assert row is not None, "no epoch is over"
    return int(row["epoch"])


def told(epochs: int, steps: int) -> str:
    """A place in a training, in words; "" for its beginning."""
    if steps:
        return f"step {steps} of epoch {epochs + 1}"
    return f"epoch {epochs}" if epochs else ""


def new_state(
    task: Task,
    device: torch.device,
    precision: Precision,
    micro: MicroBatch,
    reporter: Reporter | None,
) -> State:
    """The state before training; without a reporter one that saved state will replace."""
    recipe = task.recipe
    torch.manual_seed(mix(recipe.seed, "weights"))
    model = build(task.trace)
    if reporter is not None:
        start_weights(model, recipe.init, reporter, task.data.classes)
    sharded = is_to_be_sharded(recipe)
    layout = torch.contiguous_format if sharded else torch.channels_last  # of which are no shares
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    average = Average(model, recipe.ema) if recipe.ema else None
    if distributed.world() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    if sharded:
        shard(device, model, *([average.model] if average else []))
    decay = recipe.lr_decay or 1.0
    optimizer = optim.optimizer(recipe.optimizer, groups(model, task.trace, decay), decay)
    steps = math.ceil(task.batches / recipe.accumulate)
    schedule = optim.Schedule(
        recipe.schedule,
        optimizer,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        warmup=recipe.warmup,
        freeze=recipe.freeze or 0,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision.dtype == torch.float16)
    return State(model, optimizer, schedule, scaler, average, micro)
