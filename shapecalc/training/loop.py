"""The training loop: a spec and its data to a run folder, epoch by epoch."""

from __future__ import annotations

import contextlib
import difflib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shapecalc.builder import build
from shapecalc.diagnostics import Diagnostic, Fault, RunError, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.recipe import named
from shapecalc.language.spec import Spec, loads
from shapecalc.report import plots
from shapecalc.training import checkpoint, machine, optim, report, run
from shapecalc.training.augment import Augment, Normalize
from shapecalc.training.checkpoint import Preprocessing
from shapecalc.training.device import (
    Precision,
    choose_device,
    choose_precision,
    choose_workers,
    kept_memory,
)
from shapecalc.training.evaluate import Evaluation, evaluate, to_device
from shapecalc.training.loader import Loader
from shapecalc.training.prepare import Task, prepare
from shapecalc.training.reporter import Reporter
from shapecalc.training.seeds import mix
from shapecalc.training.start import start_weights


@dataclass
class State:
    """All that changes while training, and is saved to go on from."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: optim.Schedule
    scaler: torch.amp.GradScaler
    metrics: list[dict[str, float]] = field(default_factory=list)
    """One row for each finished epoch."""

    @property
    def epoch(self) -> int:
        """Epochs that are finished."""
        return len(self.metrics)

    @property
    def best(self) -> dict[str, float]:
        """The epoch with the best validation accuracy, the first of several."""
        return max(self.metrics, key=lambda row: row["valid_accuracy"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "metrics": self.metrics,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.metrics = state["metrics"]


def train(
    spec: Spec,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> run.Run:
    """Train a spec as its `train:` section says; gives the run with its best weights.

    `out` names the run's folder, else it is `runs/NAME-1`, `-2` and so on. Raises SpecError,
    DataError and RunError.
    """
    reporter = reporter or Reporter()
    where = _device(device)
    if out is not None:
        run.expect_empty(Path(out))  # before all pictures are looked at
    task = _prepare(spec, where, skip_bad, reporter)
    return _train(task, lambda: run.new_folder(out, spec.name), where, None, reporter)


def resume(
    folder: str | Path,
    *,
    epochs: int | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> run.Run:
    """Go on with a run that was stopped, to the same end as if it had not been.

    With `epochs` it goes on to another number of them, its schedule counted anew. Raises as
    `train` does.
    """
    reporter = reporter or Reporter()
    folder, where = Path(folder), _device(device)
    spec = run.stored_spec(folder)
    path = folder / run.STATE
    saved = checkpoint.load_state(path) if path.exists() else None
    if saved:
        if lacking := _STATE - set(saved):
            message = f"{path} lacks {', '.join(sorted(lacking))}: it is of another version"
            raise RunError([Diagnostic("E502", message, help="start a new run")])
        _expect_same(folder / run.SPEC, saved["spec"], spec)
    planned, done = spec.recipe().epochs, len(saved["metrics"]) if saved else 0
    if epochs is not None and epochs != planned:
        reporter.note(f"{epochs} epochs in place of {planned}: the schedule is counted anew")
        spec = spec.model_copy(update={"train": {**spec.train, "epochs": epochs}})
        planned = epochs
    if done >= planned:
        reporter.note(f"{folder} is finished: {done} epochs of {planned} are done")
        return run.load_run(folder)
    task = _prepare(spec, where, skip_bad, reporter)
    if saved and tuple(saved["classes"]) != task.data.classes:
        raise _other_classes(folder, saved["classes"], task)
    reporter.note(f"going on with {folder} after epoch {done} of {planned}")
    return _train(task, lambda: folder, where, saved, reporter)


def _train(
    task: Task,
    make_folder: Callable[[], Path],
    device: torch.device,
    saved: dict[str, Any] | None,
    reporter: Reporter,
) -> run.Run:
    """`make_folder` is called once all settings are accepted."""
    recipe = task.recipe
    precision = choose_precision(recipe.precision, device)
    workers = choose_workers(recipe.workers, device)
    reporter.note(f"training on {device.type} in {precision.name} ({precision.why})")
    pre = Preprocessing(**saved["preprocessing"]) if saved else task.preprocessing(workers)
    normalize = Normalize(pre.mean, pre.std)

    with contextlib.ExitStack() as stack:
        stack.enter_context(faults_in(task))
        stack.enter_context(kept_memory(device))
        loader, valid_loader = (
            stack.enter_context(
                Loader(
                    samples,
                    batch_size=recipe.batch_size,
                    seed=recipe.seed,
                    shuffle=shuffle,
                    workers=workers,
                    pin_memory=device.type == "cuda",
                )
            )
            for samples, shuffle in ((task.data.train, True), (task.data.valid, False))
        )
        loss_function = optim.loss(recipe.loss).to(device)
        augment = Augment(recipe.augment, task.trace.input_shape)
        state = _new_state(task, device, precision, reporter if saved is None else None)
        if saved:
            state.load_state_dict(_on_this_schedule(saved, state, recipe.epochs))
        folder = make_folder()
        reporter.started(folder, state.epoch, recipe.epochs)
        checkpoint.write_text(folder / run.SPEC, task.spec.to_yaml())
        machine.write(folder, device, precision)
        run.write_metrics(folder, state.metrics)  # without what a stopped run did not finish
        model = state.model
        if recipe.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        events = stack.enter_context(_events(folder))

        for epoch in range(state.epoch + 1, recipe.epochs + 1):
            if state.metrics and recipe.early_stop:
                best = int(state.best["epoch"])
                if state.epoch - best >= recipe.early_stop:
                    reporter.note(f"no epoch was better than {best}: stopped early")
                    break
            torch.manual_seed(mix(recipe.seed, "epoch", epoch))  # for dropout and its like
            reporter.begin(f"epoch {epoch}/{recipe.epochs}", len(loader))
            lr, started = state.schedule.lr, time.perf_counter()
            loss, accuracy = _train_epoch(
                task, state, model, loader, epoch, precision, loss_function, augment, normalize,
                reporter,
            )  # fmt: skip
            seconds = time.perf_counter() - started
            reporter.begin("validating", len(valid_loader))
            valid = evaluate(model, valid_loader, normalize, loss_function, precision, reporter)
            if not math.isfinite(valid.loss):  # the last step of the epoch broke the weights
                raise _not_finite(valid.loss, f"the validation of epoch {epoch}", state)
            state.schedule.after_epoch(valid.loss)
            state.metrics.append(
                {
                    "epoch": epoch,
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "valid_loss": valid.loss,
                    "valid_accuracy": valid.accuracy,
                    "lr": lr,
                    "seconds": round(seconds, 3),
                    "images_per_second": round(len(task.data.train) / seconds, 2),
                }
            )
            _save(folder, state, task, pre, valid)
            reporter.epoch(state.metrics[-1])
            events(state.metrics[-1])
    report.closing(folder, task.data, device, reporter)
    return run.load_run(folder)


def _train_epoch(
    task: Task,
    state: State,
    model: nn.Module,
    loader: Loader,
    epoch: int,
    precision: Precision,
    loss_function: nn.Module,
    augment: Augment,
    normalize: Normalize,
    reporter: Reporter,
) -> tuple[float, float]:
    """One pass over the training images; their mean loss and accuracy while it went on."""
    recipe = task.recipe
    samples, batches = _used(task, state.model)
    at_once = recipe.accumulate * recipe.batch_size
    device = next(state.model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    seen = 0
    model.train()
    for number, (pixels, labels, indices) in enumerate(loader.epoch(epoch), 1):
        if number > batches:
            break
        pixels, labels = to_device(pixels, device), labels.to(device, non_blocking=True)
        seeds = [mix(recipe.seed, "augment", epoch, index) for index in indices.tolist()]
        with torch.autocast(device.type, precision.dtype, enabled=precision.lowered):
            try:
                output = model(normalize(augment(pixels, seeds)))
            except ValueError as error:  # batch_norm, of one value for each channel
                message = f"torch refuses a batch of {len(labels)}: {error}"
                raise Fault("E501", message, argument="batch_size") from error
            loss = loss_function(output.float(), labels)
        if device.type == "cpu" and not loss.isfinite():  # asking costs nothing on a CPU
            raise _not_finite(loss.item(), f"epoch {epoch}, batch {number}", state)
        in_step = min(at_once, samples - (number - 1) // recipe.accumulate * at_once)
        state.scaler.scale(loss * (len(labels) / in_step)).backward()
        if number % recipe.accumulate == 0 or number == batches:
            if recipe.clip_grad_norm is not None:
                state.scaler.unscale_(state.optimizer)
                nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_grad_norm)
            state.scaler.step(state.optimizer)
            state.scaler.update()
            state.optimizer.zero_grad(set_to_none=True)
            state.schedule.after_step()
        total += loss.detach() * len(labels)
        correct += (output.detach().argmax(1) == labels).sum()
        seen += len(labels)
        if reporter.wants(number):  # a few times a second: reading the sums waits for the device
            figures = {"loss": float(total) / seen, "accuracy": int(correct) / seen}
            reporter.update(number, **figures, lr=state.schedule.lr, images=seen)
    if not total.isfinite():
        raise _not_finite(total.item(), f"epoch {epoch}", state)
    return float(total) / seen, int(correct) / seen


def _new_state(
    task: Task, device: torch.device, precision: Precision, reporter: Reporter | None
) -> State:
    """The state before training; without a reporter one that saved state will replace."""
    recipe = task.recipe
    torch.manual_seed(mix(recipe.seed, "weights"))
    model = build(task.trace)
    if reporter is not None:
        start_weights(model, recipe.init, reporter)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optim.optimizer(recipe.optimizer, model.parameters())
    steps = math.ceil(_used(task, model)[1] / recipe.accumulate)
    schedule = optim.Schedule(
        recipe.schedule, optimizer, epochs=recipe.epochs, steps_per_epoch=steps
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision.dtype == torch.float16)
    return State(model, optimizer, schedule, scaler)


def _on_this_schedule(saved: dict[str, Any], state: State, epochs: int) -> dict[str, Any]:
    """The saved state; where the number of epochs has changed, at its step of the new schedule."""
    if saved["epochs"] == epochs or not state.schedule.each_step:
        return saved
    state.schedule.advance(saved["schedule"]["last_epoch"])
    groups = zip(
        state.optimizer.state_dict()["param_groups"],
        saved["optimizer"]["param_groups"],
        strict=True,
    )
    optimizer = {
        **saved["optimizer"],
        "param_groups": [{**new, "params": old["params"]} for new, old in groups],
    }
    return {**saved, "optimizer": optimizer, "schedule": state.schedule.state_dict()}


def _save(folder: Path, state: State, task: Task, pre: Preprocessing, valid: Evaluation) -> None:
    """All files of a finished epoch; the state last, for with it the epoch counts as done."""
    name, classes = task.spec.name, task.data.classes
    weights = checkpoint.Weights(
        state.model.state_dict(), task.spec.to_yaml(), classes, pre, state.epoch
    )
    if state.best["epoch"] == state.epoch:
        checkpoint.save_weights(folder / run.BEST, weights)
        title = f"{name}: validation after epoch {state.epoch}"
        with checkpoint.writing(folder / run.CONFUSION):
            plots.confusion(valid.confusion, classes, folder / run.CONFUSION, title=title)
    checkpoint.save_weights(folder / run.LAST, weights)
    with checkpoint.writing(folder / run.CURVES):
        plots.curves(state.metrics, folder / run.CURVES, title=name)
    run.write_metrics(folder, state.metrics)
    checkpoint.save_state(
        folder / run.STATE,
        {
            **state.state_dict(),
            "spec": task.spec.to_yaml(),
            "epochs": task.recipe.epochs,
            "classes": list(classes),
            "preprocessing": pre._asdict(),
        },
    )


def _used(task: Task, model: nn.Module) -> tuple[int, int]:
    """Training pictures and batches of an epoch, without a last batch of one picture where there
    is batch_norm, which cannot tell the spread of one value."""
    samples, size = len(task.data.train), task.recipe.batch_size
    if samples > size > 1 and samples % size == 1 and _has_batch_norm(model):
        samples -= 1
    return samples, math.ceil(samples / size)


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _prepare(spec: Spec, device: torch.device, skip_bad: bool, reporter: Reporter) -> Task:
    workers = choose_workers(spec.recipe().workers, device)
    on_cpu = device.type == "cpu"
    return prepare(spec, skip_bad=skip_bad, workers=workers, reporter=reporter, on_cpu=on_cpu)


def _device(name: str) -> torch.device:
    try:
        return choose_device(name)
    except Fault as fault:
        raise RunError([fault.at(None)]) from None


@contextlib.contextmanager
def faults_in(task: Task) -> Iterator[None]:
    """A setting that torch refuses is shown at its line under `train:`."""
    try:
        yield
    except Fault as fault:
        augment = [named(item)[0] for item in task.recipe.augment]
        if fault.argument in augment:
            fault.argument = f"augment.{augment.index(fault.argument)}"
        raise SpecError([locate(fault, task.spec.source, ("train",))]) from None


@contextlib.contextmanager
def _events(folder: Path) -> Iterator[Any]:
    """Writes an epoch's metrics as TensorBoard events, where TensorBoard is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda metrics: None
        return
    with SummaryWriter(str(folder)) as writer:

        def write(metrics: dict[str, float]) -> None:
            for key, value in metrics.items():
                writer.add_scalar(key, value, int(metrics["epoch"]))

        yield write


def _not_finite(value: float, where: str, state: State) -> RunError:
    kept = f"the weights of epoch {state.epoch} are kept" if state.epoch else "nothing is saved"
    help = f"lower the learning rate (now {state.schedule.lr:.3g}), or write clip_grad_norm: 1.0"
    message = f"the loss is {value} in {where}; {kept}"
    return RunError([Diagnostic("E504", message, help=help)])


_STATE = {
    *("model", "optimizer", "schedule", "scaler", "metrics"),
    *("spec", "epochs", "classes", "preprocessing"),
}
"""What `_save` puts into the state."""

_MAY_CHANGE = ("data", "epochs", "workers")
"""Settings that leave what was learned as it is: data may have been moved."""


def _expect_same(path: Path, before: str, now: Spec) -> None:
    """A run goes on with the spec that it began with. Raises RunError."""

    def settled(spec: Spec) -> list[str]:
        train = {key: value for key, value in spec.train.items() if key not in _MAY_CHANGE}
        return spec.model_copy(update={"train": train}).to_yaml().splitlines()

    lines = list(difflib.unified_diff(settled(loads(before)), settled(now), n=0, lineterm=""))[2:]
    if not lines:
        return
    had, has = ("; ".join(ln[1:].strip() for ln in lines if ln[0] == sign) for sign in "-+")
    message = f"{path} was edited since the run began: it had {had or 'nothing'}"
    message += f" where it has {has or 'nothing'}"
    help = f"take the edit back, or start a new run with it: shapecalc train {path}"
    raise RunError([Diagnostic("E503", message, help=help)])


def _other_classes(folder: Path, before: list[str], task: Task) -> RunError:
    message = (
        f"{folder} was trained on the classes {', '.join(before)}, "
        f"but {task.data.root} has {', '.join(task.data.classes)}"
    )
    help = "give it the data it had, or start a new run"
    return RunError([Diagnostic("E503", message, help=help)])
