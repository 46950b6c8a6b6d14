"""What the recipe names of torch: initial weights, loss, optimizer and schedule."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import lr_scheduler

from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named, named

_LOSSES = {
    "cross_entropy": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
    "multi_margin": nn.MultiMarginLoss,
}
"""The losses of torch.nn that take an output for each class and the number of the right one."""

INITS = {
    name.removesuffix("_"): getattr(nn.init, name)
    for name in (
        *("kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_"),
        *("orthogonal_", "trunc_normal_", "normal_", "uniform_"),
    )
}


_OPTIMIZERS = {
    cls.__name__.lower(): cls
    for cls in vars(torch.optim).values()
    if inspect.isclass(cls)
    and issubclass(cls, torch.optim.Optimizer)
    and cls.__name__ not in ("Optimizer", "LBFGS", "SparseAdam")  # need a closure; sparse gradients
}
_SCHEDULES = {
    re.sub("(?<=[a-z])(?=[A-Z])|(?<=R)(?=On)", "_", name.removesuffix("LR")).lower(): cls
    for name, cls in vars(lr_scheduler).items()
    if inspect.isclass(cls)
    and issubclass(cls, lr_scheduler.LRScheduler)
    and cls.__name__
    not in (
        "LRScheduler",
        "_LRScheduler",
        "LambdaLR",
        "MultiplicativeLR",
        "ChainedScheduler",
        "SequentialLR",
    )
}
_EACH_STEP = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)


def loss(setting: Named) -> nn.Module:
    """The loss module. Raises Fault."""
    name, arguments = named(setting)
    module: nn.Module = _make("loss", name, _LOSSES, arguments)
    if module.reduction != "mean":
        message = f"training needs the mean of a batch's losses, not reduction: {module.reduction}"
        raise Fault("E501", message, argument="loss", help="leave reduction out")
    return module


def initialize(model: nn.Module, setting: Named) -> None:
    """Draw the weights of convolutions and linear layers anew, by torch.nn.init; biases are 0."""
    name, arguments = named(setting)
    function = _find("init", name, INITS)
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() < 2:
            continue
        try:
            function(weight, **arguments)
        except Exception as error:
            raise _refusal("init", name, error) from error
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)


def is_initialization(setting: Named) -> bool:
    """Whether `init:` names a way to draw weights, not weights to load."""
    return _plain(named(setting)[0]) in map(_plain, INITS)


def optimizer(setting: Named, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, in torch's fused form where it has one, which is for whole tensors. Raises
    Fault."""
    name, arguments = named(setting)
    cls, parameters = _find("optimizer", name, _OPTIMIZERS), list(parameters)
    has_fused = "fused" in inspect.signature(cls).parameters
    if any(isinstance(parameter, DTensor) for parameter in parameters):
        arguments = {key: value for key, value in arguments.items() if key != "fused"}
    elif has_fused and not {"foreach", "fused"} & set(arguments):
        arguments = {"fused": True, **arguments}
    try:
        made: torch.optim.Optimizer = cls(parameters, **arguments)
    except Exception as error:
        raise _refusal("optimizer", name, error) from error
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give the first group of weights a learning rate, and the others theirs in proportion."""
    first = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr"] / first if first else rate


class Schedule:
    """A learning-rate schedule of torch that knows when to step.

    One-cycle and cyclic schedules step after every batch, as do the cosine ones whose period is
    not given (it is then the whole training); the others after every epoch.
    """

    def __init__(
        self,
        setting: Named | None,
        optimizer: torch.optim.Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        self.optimizer = optimizer
        self.scheduler: Any = None
        self.name = ""
        self.each_step = False
        if setting is None:
            return
        name, arguments = named(setting)
        self.name = name
        cls = _find("schedule", name, _SCHEDULES)
        total = epochs * steps_per_epoch
        self.each_step = issubclass(cls, _EACH_STEP)
        if cls is lr_scheduler.OneCycleLR:
            rate = optimizer.param_groups[0]["lr"]
            arguments = {"max_lr": rate, "total_steps": total, **arguments}
        elif cls is lr_scheduler.CosineAnnealingLR and "T_max" not in arguments:
            arguments = {"T_max": total, **arguments}
            self.each_step = True
        elif cls is lr_scheduler.PolynomialLR and "total_iters" not in arguments:
            arguments = {"total_iters": total, **arguments}
            self.each_step = True
        try:
            self.scheduler = cls(optimizer, **arguments)
        except Exception as error:
            raise _refusal("schedule", name, error) from error
        planned = getattr(self.scheduler, "total_steps", total)
        if planned < total:
            message = f"the schedule {name} ends after {planned} steps, but training has {total}"
            raise Fault("E501", message, argument="schedule", help="leave total_steps out")

    def after_step(self) -> None:
        if self.scheduler and self.each_step:
            self._step()

    def after_epoch(self, valid_loss: float) -> None:
        if not self.scheduler or self.each_step:
            return
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self._step(valid_loss)
        else:
            self._step()

    def advance(self, steps: int) -> None:
        """Go to a later step of the schedule; the optimizer takes none."""
        for _ in range(steps):
            self._step()

    def _step(self, *figures: float) -> None:
        try:
            with warnings.catch_warnings():
                # torch misses the optimizer's steps where a resumed run has done them before, and
                # where a scaler has left them out.
                warnings.simplefilter("ignore")
                self.scheduler.step(*figures)
        except Exception as error:  # such as a division by an argument of zero
            raise _refusal("schedule", self.name, error) from error

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        if self.scheduler is None:
            return {}
        plain = (int, float, str, bool, list, tuple, type(None))
        state = self.scheduler.state_dict().items()
        return {key: value for key, value in state if isinstance(value, plain)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)


def _make(what: str, name: str, known: Mapping[str, Any], arguments: dict[str, Any]) -> Any:
    cls = _find(what, name, known)
    try:
        return cls(**arguments)
    except Exception as error:
        raise _refusal(what, name, error) from error


def _find(what: str, name: str, known: Mapping[str, Any]) -> Any:
    by_plain = {_plain(key): value for key, value in known.items()}
    if _plain(name) in by_plain:
        return by_plain[_plain(name)]
    raise unknown(what, name, known)


def unknown(what: str, name: str, known: Iterable[str]) -> Fault:
    """A Fault for a name that torch does not have, with the nearest that it has."""
    known = list(known)
    parts = [key for key in known if len(name) > 2 and name.lower() in key]  # cosine, plateau
    close = nearest(name, known) or min(parts, key=len, default="")
    help = f"did you mean {close}?" if close else f"known: {', '.join(sorted(known))}"
    return Fault("E501", f"torch has no {what} called {name!r}", argument=what, help=help)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _refusal(what: str, name: str, error: Exception) -> Fault:
    lines = str(error).splitlines() or [type(error).__name__]
    reason = re.sub(r"^\w+\.__init__\(\) ", "", lines[0])
    return Fault("E501", f"torch refuses the {what} {name}: {reason}", argument=what)
