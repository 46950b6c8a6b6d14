"""What the recipe names of torch does what torch does."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from shapecalc.diagnostics import Fault
from shapecalc.training import optim

OFFERED = sorted(
    name.lower()
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind)
    and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")  # Muon: matrices only
)
EPOCHS, STEPS = 4, 5


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def refused(action: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        action()
    assert caught.value.code == "E501"
    return caught.value


@pytest.mark.parametrize("name", OFFERED)
def test_each_optimizer_of_torch_takes_its_own_step(name: str) -> None:
    kind = next(kind for key, kind in vars(torch.optim).items() if key.lower() == name)
    ours, theirs = nn.Sequential(*network()[2:]), nn.Sequential(*network()[2:])
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    pairs = (
        (ours, optim.optimizer({name: {"lr": 0.05}}, [[*ours.parameters()]])),
        (theirs, kind(theirs.parameters(), lr=0.05)),
    )
    pixels = torch.randn(4, 12)
    for model, optimizer in pairs:
        for _ in range(3):
            optimizer.zero_grad()
            model(pixels).square().sum().backward()
            optimizer.step()
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[key], rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(value, before[key]) for key, value in ours.named_parameters())


def test_an_optimizer_may_be_written_in_any_case() -> None:
    for name in ("AdamW", "adam_w", "adamw"):
        assert type(optim.optimizer(name, [[*network().parameters()]])) is torch.optim.AdamW


@pytest.mark.parametrize(
    ("setting", "message", "help"),
    [
        ("adamq", "torch has no optimizer called 'adamq'", "did you mean adam?"),
        ("quantum", "torch has no optimizer called 'quantum'", "known: adadelta, adafactor, "),
        (
            {"adamw": {"lrr": 1}},
            "torch refuses the optimizer adamw: got an unexpected keyword argument 'lrr'",
            "",
        ),
        (
            {"adamw": {"lr": -1}},
            "torch refuses the optimizer adamw: Invalid learning rate: -1",
            "",
        ),
        ({"adamw": {"lr": "fast"}}, "torch refuses the optimizer adamw: '<=' not supported", ""),
        (
            "muon",
            "torch refuses the optimizer muon: Muon only supports 2D parameters",
            "it fits networks of linear layers without bias; adamw and sgd fit any",
        ),
        (
            "lbfgs",
            "the optimizer lbfgs cannot train here: it computes the loss of a batch several times",
            "adamw and sgd fit any network",
        ),
        (
            {"sparse_adam": {"lr": 1}},
            "the optimizer sparse_adam cannot train here: it takes sparse gradients alone",
            "adamw and sgd fit any network",
        ),
    ],
)
def test_optimizers_that_are_refused(setting: Any, message: str, help: str) -> None:
    fault = refused(lambda: optim.optimizer(setting, [[*network().parameters()]]))
    assert fault.message.startswith(message)
    assert fault.help.startswith(help)
    assert fault.argument == "optimizer"


def rates(scheduler: Any, optimizer: torch.optim.Optimizer, losses: list[float], each: int) -> Any:
    """The learning rate of each step, driven by hand: `each` steps of the scheduler an epoch."""
    found = []
    for loss in losses:
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if each == STEPS:
                scheduler.step()
        if each == 1:
            scheduler.step()
        elif not each:
            scheduler.step(loss)
    return found


ALL = EPOCHS * STEPS
SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[Any], Any], int]] = {
    "one_cycle": (
        {"max_lr": 0.3},
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.3, total_steps=ALL),
        STEPS,
    ),
    "onecycle": ({}, lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=ALL), STEPS),
    "cosine_annealing": ({}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=ALL), STEPS),
    "CosineAnnealing": (
        {"T_max": 3, "eta_min": 0.01},
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=3, eta_min=0.01),
        1,
    ),
    "step": (
        {"step_size": 2, "gamma": 0.5},
        lambda o: lr_scheduler.StepLR(o, step_size=2, gamma=0.5),
        1,
    ),
    "Step": ({}, lambda o: lr_scheduler.StepLR(o, step_size=EPOCHS // 3), 1),
    "cosine": ({}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=ALL), STEPS),
    "plateau": ({"patience": 0}, lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0), 0),
    "exponential": ({"gamma": 0.7}, lambda o: lr_scheduler.ExponentialLR(o, gamma=0.7), 1),
    "multi_step": (
        {"milestones": [1, 3]},
        lambda o: lr_scheduler.MultiStepLR(o, milestones=[1, 3]),
        1,
    ),
    "polynomial": ({}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=ALL), STEPS),
    "poly_nomial": (
        {"total_iters": 3, "power": 2},
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=3, power=2),
        1,
    ),
    "linear": ({"total_iters": 3}, lambda o: lr_scheduler.LinearLR(o, total_iters=3), 1),
    "constant": ({"total_iters": 2}, lambda o: lr_scheduler.ConstantLR(o, total_iters=2), 1),
    "cosine_annealing_warm_restarts": (
        {"T_0": 2},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=2),
        1,
    ),
    "cyclic": (
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
        lambda o: lr_scheduler.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=3),
        STEPS,
    ),
    "reduce_lr_on_plateau": (
        {"patience": 0},
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
        0,
    ),
}


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_torchs(name: str) -> None:
    arguments, make, each = SCHEDULES[name]
    losses = [1.0, 2.0, 0.5, 0.6]
    by_hand = sgd()
    expected = rates(make(by_hand), by_hand, losses, each)

    found = warmed({name: arguments} if arguments else name, None, tuple(losses))
    assert found == expected
    assert len(set(found)) > 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_from_its_state(name: str) -> None:
    arguments, _, _ = SCHEDULES[name]
    setting = {name: arguments} if arguments else name

    def begin() -> tuple[torch.optim.Optimizer, optim.Schedule]:
        optimizer = sgd()
        return optimizer, optim.Schedule(setting, optimizer, epochs=EPOCHS, steps_per_epoch=STEPS)

    def epoch(optimizer: torch.optim.Optimizer, schedule: optim.Schedule) -> list[float]:
        found = []
        for _ in range(STEPS):
            optimizer.step()
            schedule.after_step()
            found.append(schedule.lr)
        schedule.after_epoch(1.0)
        return [*found, schedule.lr]

    first = begin()
    for _ in range(2):
        epoch(*first)
    second = begin()
    second[0].load_state_dict(first[0].state_dict())
    second[1].load_state_dict(first[1].state_dict())
    assert [epoch(*second), epoch(*second)] == [epoch(*first), epoch(*first)]


def warmed(
    setting: Any, warmup: float | None, losses: tuple[float, ...] = (1.0,) * 4
) -> list[float]:
    """The rate of each step, 5 to an epoch, from 0.1 on."""
    optimizer, found = sgd(), []
    schedule = optim.Schedule(
        setting, optimizer, epochs=len(losses), steps_per_epoch=STEPS, warmup=warmup
    )
    for loss in losses:
        for _ in range(STEPS):
            found.append(schedule.lr)
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(loss)
    return found


def test_a_warm_up_rises_in_a_straight_line_before_the_schedule() -> None:
    """By hand: 4 steps of 1/5 each, then what the schedule has in the steps that are left."""
    rising = [0.02, 0.04, 0.06, 0.08]
    assert warmed(None, 0.8) == pytest.approx([*rising, *[0.1] * 16])
    by_hand = sgd()
    rest = rates(lr_scheduler.CosineAnnealingLR(by_hand, T_max=16), by_hand, [0] * 4, STEPS)
    assert warmed("cosine", 0.8) == pytest.approx([*rising, *rest[:16]])
    halved = {"step": {"step_size": 1, "gamma": 0.5}}
    assert warmed(halved, 0.8) == pytest.approx(
        [*rising, *[0.1] * 6, *[0.05] * 5, *[0.025] * 5]
    )  # an epoch with some warm-up does not count
    rising = [k / 60 for k in range(1, 6)]
    found = warmed({"plateau": {"patience": 0, "factor": 0.1}}, 1, (1, 9, 9, 9))
    assert found == pytest.approx([*rising, *[0.1] * 10, *[0.01] * 5])


@pytest.mark.parametrize(
    ("setting", "warmup", "message"),
    [
        ("one_cycle", 1, "one_cycle has a warm-up of its own"),
        ("cosine", 4, "a warm-up of 4 epochs leaves nothing of a training of 4"),
        (None, 5.5, "a warm-up of 5.5 epochs leaves nothing of a training of 4"),
    ],
)
def test_a_warm_up_that_is_refused(setting: Any, warmup: float, message: str) -> None:
    fault = refused(lambda: warmed(setting, warmup))
    assert fault.message == message
    assert fault.argument == "warmup"


@pytest.mark.parametrize("setting", ["one_cycle", "cosine", "step", None])
def test_a_schedule_begins_once_the_head_has_been_trained_alone(setting: Any) -> None:
    def rates(freeze: int, epochs: int) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = optim.Schedule(
            setting, optimizer, epochs=epochs, steps_per_epoch=5, freeze=freeze
        )
        found = []
        for _ in range(epochs):
            for _ in range(5):
                found.append(schedule.lr)
                optimizer.step()
                schedule.after_step()
            schedule.after_epoch(1.0)
        return found

    alone, both = rates(0, 6), rates(2, 8)
    assert both[:10] == [0.1] * 10
    if setting != "step":  # whose steps are thirds of the epochs
        assert both[10:] == pytest.approx(alone)
    assert rates(6, 6) == pytest.approx(alone)  # the head alone to the end


def test_without_a_schedule_the_rate_stays() -> None:
    optimizer = sgd()
    schedule = optim.Schedule(None, optimizer, epochs=1, steps_per_epoch=1)
    schedule.after_step()
    schedule.after_epoch(1.0)
    assert schedule.lr == 0.1
    assert schedule.state_dict() == {}


@pytest.mark.parametrize(
    ("setting", "message", "help"),
    [
        ("one_cicle", "torch has no schedule called 'one_cicle'", "did you mean one_cycle?"),
        ("lambda", "torch has no schedule called 'lambda'", ""),
        ("exponential", "torch refuses the schedule exponential: missing 1 required posit", ""),
        ({"one_cycle": {"pct_start": 3}}, "torch refuses the schedule one_cycle: ", ""),
        (
            {"one_cycle": {"total_steps": 7}},
            "the schedule one_cycle ends after 7 steps, but training has 20",
            "leave total_steps out",
        ),
        ({"cyclic": {"base_lr": 0.1, "max_lr": 1, "step_size_up": 0}}, "torch refuses ", ""),
        ({"cosine_annealing": {"T_max": "long"}}, "torch refuses ", ""),
    ],
)
def test_schedules_that_are_refused(setting: Any, message: str, help: str) -> None:
    def drive() -> None:
        optimizer = sgd()
        schedule = optim.Schedule(setting, optimizer, epochs=EPOCHS, steps_per_epoch=STEPS)
        for _ in range(EPOCHS):
            for _ in range(STEPS):
                optimizer.step()
                schedule.after_step()
            schedule.after_epoch(1.0)

    fault = refused(drive)
    assert fault.message.startswith(message)
    assert fault.help.startswith(help)
    assert fault.argument == "schedule"


def test_a_schedule_that_torch_refuses_later_is_a_fault_too() -> None:
    optimizer = sgd()
    schedule = optim.Schedule({"step": {"step_size": 0}}, optimizer, epochs=2, steps_per_epoch=1)
    optimizer.step()
    assert "step" in refused(lambda: schedule.after_epoch(1.0)).message


@pytest.mark.parametrize("name", sorted(optim.INITS))
def test_initial_weights_are_torchs(name: str) -> None:
    ours, theirs = network(), network()
    torch.manual_seed(5)
    optim.initialize(ours, name)
    torch.manual_seed(5)
    for layer in (theirs[0], theirs[3]):
        getattr(nn.init, f"{name}_")(layer.weight)
        nn.init.zeros_(layer.bias)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    assert not torch.equal(ours[0].weight, network()[0].weight)


def test_initial_weights_take_torchs_arguments() -> None:
    ours, theirs = network(), network()
    torch.manual_seed(5)
    optim.initialize(ours, {"kaiming_normal": {"nonlinearity": "linear", "mode": "fan_out"}})
    torch.manual_seed(5)
    for layer in (theirs[0], theirs[3]):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", mode="fan_out")
    assert torch.equal(ours[3].weight, theirs[3].weight)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kaiming_normal": {"nonlinearity": "wobbly"}}, "torch refuses the init kaiming_normal: "),
        ({"normal": {"spread": 1}}, "torch refuses the init normal: "),
        ({"orthogonal": {"gain": "much"}}, "torch refuses the init orthogonal: "),
    ],
)
def test_arguments_of_initial_weights_that_are_refused(setting: Any, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fault = refused(lambda: optim.initialize(network(), setting))
    assert fault.message.startswith(message)
    assert fault.argument == "init"


def test_losses_are_torchs() -> None:
    output, labels = torch.randn(5, 3).log_softmax(1), torch.tensor([0, 1, 2, 1, 0])
    for name, expected in (
        ("cross_entropy", nn.functional.cross_entropy(output, labels)),
        ("nll", nn.functional.nll_loss(output, labels)),
        ("multi_margin", nn.functional.multi_margin_loss(output, labels)),
    ):
        assert torch.equal(optim.loss(name)(output, labels), expected)
    smooth = optim.loss({"cross_entropy": {"label_smoothing": 0.1}})(output, labels)
    assert smooth == nn.functional.cross_entropy(output, labels, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("mse", "torch has no loss called 'mse'"),
        ({"cross_entropy": {"weigth": [1]}}, "torch refuses the loss cross_entropy: got an"),
        ({"cross_entropy": {"reduction": "sum"}}, "training needs the mean of a batch's losses"),
    ],
)
def test_losses_that_are_refused(setting: Any, message: str) -> None:
    fault = refused(lambda: optim.loss(setting))
    assert fault.message.startswith(message)
    assert fault.argument == "loss"
