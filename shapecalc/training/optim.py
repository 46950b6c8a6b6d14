"""What the recipe names of torch: initial weights, loss, optimizer and schedule."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named, named
from shapecalc.training.distributed import is_share
from shapecalc.training.losses import Focal, Weighted

_LOSSES = {
    "cross_entropy": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
    "multi_margin": nn.MultiMarginLoss,
    "focal": Focal,
}
"""The losses that take an output for each class and the number of the right one."""

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
    and cls.__name__ not in ("Optimizer", "LBFGS", "SparseAdam")
}
_CANNOT = {
    "lbfgs": "it computes the loss of a batch several times in a step, which training does once",
    "sparseadam": "it takes sparse gradients alone, and those of layers are dense",
}
"""Optimizers of torch that are not offered, and why."""
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
_SCHEDULES |= {
    "cosine": lr_scheduler.CosineAnnealingLR,
    "plateau": lr_scheduler.ReduceLROnPlateau,
}
_EACH_STEP = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)


def loss(setting: Named, weights: Sequence[float] | None = None) -> nn.Module:
    """The loss module, maybe with a weight for each class. Raises Fault."""
    name, arguments = named(setting)
    module: Any = _make("loss", name, _LOSSES, arguments)
    if module.reduction != "mean":
        message = f"training needs the mean of a batch's losses, not reduction: {module.reduction}"
        raise Fault("E501", message, argument="loss", help="leave reduction out")
    if weights is not None:
        module.reduction = "none"
        return Weighted(module, weights)
    made: nn.Module = module
    return made


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


def optimizer(
    setting: Named, parts: Sequence[Sequence[nn.Parameter]], decay: float = 1.0
) -> torch.optim.Optimizer:
    """The optimizer, in torch's fused form where it has one, which is for whole tensors. The rate
    of each part is `decay` times that of the one before. Raises Fault."""
    name, arguments = named(setting)
    if why := _CANNOT.get(_plain(name)):
        message = f"the optimizer {name} cannot train here: {why}"
        raise Fault("E501", message, argument="optimizer", help="adamw and sgd fit any network")
    cls, groups = _find("optimizer", name, _OPTIMIZERS), [{"params": [*part]} for part in parts]
    has_fused = "fused" in inspect.signature(cls).parameters
    if any(is_share(parameter) for part in parts for parameter in part):
        arguments = {key: value for key, value in arguments.items() if key != "fused"}
    elif has_fused and not {"foreach", "fused"} & set(arguments):
        arguments = {"fused": True, **arguments}
    try:
        made: torch.optim.Optimizer = cls(groups, **arguments)
    except Exception as error:
        fault = _refusal("optimizer", name, error)
        if cls is torch.optim.Muon:  # it says what it found
            fault.help = "it fits networks of linear layers without bias; adamw and sgd fit any"
        raise fault from error
    for number, group in enumerate(made.param_groups):
        group["lr"] *= decay**number
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give the first group of weights a learning rate, and the others theirs in proportion."""
    first = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr"] / first if first else rate


class Schedule:
    """A learning-rate schedule of torch that knows when to step.

    One-cycle and cyclic schedules step after every batch, as do the cosine ones whose period is
    not given (it is then the whole training); the others after every epoch. It begins after the
    epochs in which the head is trained alone, at the whole rate, and after a warm-up: in `warmup`
    epochs the rate rises in a straight line to the schedule's first one.
    """

    def __init__(
        self,
        setting: Named | None,
        optimizer: torch.optim.Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
        warmup: float | None = None,
        freeze: int = 0,
    ) -> None:
        self.optimizer = optimizer
        self.scheduler: Any = None
        self.name = ""
        self.each_step = False
        self._frozen = freeze * steps_per_epoch if freeze < epochs else 0
        self._warmup = max(1, round(warmup * steps_per_epoch)) if warmup else 0
        self._warmed = 0
        """Steps before the schedule that are done."""
        self._is_cold = False
        """Whether some were in this epoch, which does not count for a schedule of epochs."""
        total = epochs * steps_per_epoch - self._before
        if total < 1:
            message = f"a warm-up of {warmup:g} epochs leaves nothing of a training of {epochs}"
            message += f" whose first {freeze} are the head's alone" if self._frozen else ""
            raise Fault(
                "E501", message, argument="warmup", help="warm up for less, or train longer"
            )
        whole = [group["lr"] for group in optimizer.param_groups]
        if setting is not None:
            self._begin(setting, epochs, total)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        groups = zip(optimizer.param_groups, whole, strict=True)
        self._whole = [group.get("max_lr", rate) for group, rate in groups]
        self._set_rates()

    @property
    def _before(self) -> int:
        """Steps before the schedule begins."""
        return self._frozen + self._warmup

    def _begin(self, setting: Named, epochs: int, total: int) -> None:
        """Make the scheduler, for so many steps."""
        self.name, arguments = named(setting)
        cls = _find("schedule", self.name, _SCHEDULES)
        self.each_step = issubclass(cls, _EACH_STEP)
        if cls is lr_scheduler.OneCycleLR:
            if self._warmup:
                message = "one_cycle has a warm-up of its own"
                help = "leave warmup out; one_cycle: {pct_start: 0.1} makes it shorter"
                raise Fault("E501", message, argument="warmup", help=help)
            rates = [group["lr"] for group in self.optimizer.param_groups]
            if "max_lr" in arguments and rates[0]:
                rates = [arguments["max_lr"] * rate / rates[0] for rate in rates]
            arguments = {"total_steps": total, **arguments, "max_lr": rates}
        elif cls is lr_scheduler.CosineAnnealingLR and "T_max" not in arguments:
            arguments = {"T_max": total, **arguments}
            self.each_step = True
        elif cls is lr_scheduler.PolynomialLR and "total_iters" not in arguments:
            arguments = {"total_iters": total, **arguments}
            self.each_step = True
        elif cls is lr_scheduler.StepLR:
            arguments = {"step_size": max(1, epochs // 3), **arguments}
        try:
            self.scheduler = cls(self.optimizer, **arguments)
        except Exception as error:
            raise _refusal("schedule", self.name, error) from error
        planned = getattr(self.scheduler, "total_steps", total)
        if planned < total:
            message = (
                f"the schedule {self.name} ends after {planned} steps, but training has {total}"
            )
            raise Fault("E501", message, argument="schedule", help="leave total_steps out")

    def after_step(self) -> None:
        if self._warmed < self._before:
            self._warmed, self._is_cold = self._warmed + 1, True
            self._set_rates()
        elif self.scheduler and self.each_step:
            self._step()

    def after_epoch(self, valid_loss: float) -> None:
        was_cold, self._is_cold = self._is_cold, False
        if not self.scheduler or self.each_step or was_cold:
            return
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self._step(valid_loss)
        else:
            self._step()

    def advance(self, steps: int) -> None:
        """Go to a later step of a schedule that steps after every batch; the optimizer takes
        none."""
        for _ in range(steps):
            self.after_step()

    def _set_rates(self) -> None:
        """The rates of the next step, up to the schedule's first one."""
        rates = self._whole
        if self._warmed >= self._frozen:
            share = (self._warmed - self._frozen + 1) / (self._warmup + 1)
            rates = [rate * share for rate in self._rates]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

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
        found: dict[str, Any] = {}
        if self.scheduler is not None:
            plain = (int, float, str, bool, list, tuple, type(None))
            state = self.scheduler.state_dict().items()
            found = {key: value for key, value in state if isinstance(value, plain)}
        if self._before:
            found["warmed"], found["is_cold"] = self._warmed, self._is_cold
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        ours = ("warmed", "is_cold")
        self._warmed, self._is_cold = state.get("warmed", 0), state.get("is_cold", False)
        if self.scheduler is not None:
            self.scheduler.load_state_dict({k: v for k, v in state.items() if k not in ours})


def _make(what: str, name: str, known: Mapping[str, Any], arguments: dict[str, Any]) -> Any:
    cls = _find(what, name, known)
    try:
        return cls(**arguments)
    except Fault:
        raise
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
