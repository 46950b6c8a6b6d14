"""The training loop: a spec and its data to a run folder, epoch by epoch.

A run can be stopped at any moment, by a kill, too, and gone on with to the very same end: what is
by chance is a function of the seed, the epoch, the step and the picture, and all else is `State`.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from shapecalc.analysis.rewrites import Names
from shapecalc.diagnostics import Fault, RunError, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.recipe import Recipe, named
from shapecalc.language.spec import Spec
from shapecalc.training import checkpoint, distributed, machine, optim, report, run, saved
from shapecalc.training.augment import Augment, Normalize
from shapecalc.training.checkpoint import Preprocessing
from shapecalc.training.device import (
    choose_decoders,
    choose_device,
    choose_precision,
    choose_workers,
    kept_memory,
)
from shapecalc.training.distributed import Lost
from shapecalc.training.evaluate import evaluate
from shapecalc.training.events import events
from shapecalc.training.faults import not_finite, several
from shapecalc.training.graphs import graphs_for
from shapecalc.training.launch import LAUNCH, begun_by, launch
from shapecalc.training.loader import Loader
from shapecalc.training.lock import expect_free, lock
from shapecalc.training.microbatch import MicroBatch, is_out_of_memory
from shapecalc.training.mixing import Mixing
from shapecalc.training.network import Way
from shapecalc.training.prepare import Task, prepare
from shapecalc.training.record import Record, Unwritten, bring_in_line
from shapecalc.training.reporter import Reporter
from shapecalc.training.saved import Saved
from shapecalc.training.sharded import expect_shardable, is_to_be_sharded, losing_others
from shapecalc.training.state import State, best_epoch, new_state, saved_ranks
from shapecalc.training.step import Step
from shapecalc.training.stop import Stop, Stopped
from shapecalc.training.transfer import completed, hold
from shapecalc.training.watch import NotFinite, Watch

_LOOK_EVERY = 20
"""Steps on a GPU between two looks at whether losses and gradients are numbers."""


def train(
    spec: Spec,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> run.Run:
    """Train a spec as its `train:` section says; gives the run with its best weights.

    `out` names the run's folder, else it is `runs/NAME-1`, `-2` and so on. Where `stop` asks for
    the end, the state is saved at the next step and Stopped raised. In processes that torchrun
    has started all train together; where it has restarted them they go on with what they had
    begun. Raises SpecError, DataError and RunError.
    """
    reporter, stop, where = reporter or Reporter(), stop or Stop(), _device(device)
    with distributed.group(where):
        reporter = distributed.told_by_first(reporter)
        begun = distributed.share(lambda: begun_by(launch(), out))
        if begun and (begun / run.SPEC).exists():
            return _resume(begun, None, where, skip_bad, reporter, stop)
        return _begin(spec, begun or out, where, skip_bad, reporter, stop)


def _begin(
    spec: Spec,
    out: str | Path | None,
    device: torch.device,
    skip_bad: bool,
    reporter: Reporter,
    stop: Stop,
) -> run.Run:
    with distributed.in_turn():
        if out is not None and not distributed.rank():
            expect_free(Path(out))  # before all pictures are looked at
            run.expect_empty(Path(out))
        spec = completed(spec, reporter)
        task = _prepare(spec, device, skip_bad, reporter)

    @contextlib.contextmanager
    def folder() -> Iterator[Path]:
        made = run.new_folder(out, spec.name)
        with lock(made):
            run.expect_empty(made)  # another run may have come first
            checkpoint.remove_partial(made)
            if launch().id:
                checkpoint.write_text(made / LAUNCH, launch().id)
            yield made

    return _train(task, folder, device, None, reporter, stop)


def resume(
    folder: str | Path,
    *,
    epochs: int | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> run.Run:
    """Go on with a run that was stopped, to the same end as if it had not been.

    With `epochs` it goes on to another number of them, its schedule counted anew. Raises as
    `train` does.
    """
    reporter, stop, where = reporter or Reporter(), stop or Stop(), _device(device)
    with distributed.group(where):
        reporter = distributed.told_by_first(reporter)
        return _resume(Path(folder), epochs, where, skip_bad, reporter, stop)


def _resume(
    folder: Path,
    epochs: int | None,
    device: torch.device,
    skip_bad: bool,
    reporter: Reporter,
    stop: Stop,
) -> run.Run:
    with distributed.in_turn():
        spec = run.stored_spec(folder)
    with _on_stop(folder), distributed.of_first(lock(folder)):
        state = distributed.share(lambda: _left(folder, spec, reporter))
        if epochs is not None:
            spec = spec.model_copy(update={"train": {**spec.train, "epochs": epochs}})
        planned = spec.recipe().epochs
        before = state["epochs"] if state else planned
        if planned != before:
            reporter.note(f"{planned} epochs in place of {before}: the schedule is counted anew")
        if state and len(state["metrics"]) >= planned:
            done = len(state["metrics"])
            reporter.note(f"{folder} is finished: {done} epochs of {planned} are done")
            if not distributed.rank() and not (folder / report.REPORT).exists():
                report.closing(folder, None, device, reporter, stop)  # stopped while it was made
            return run.load_run(folder)
        with distributed.in_turn():
            task = _prepare(spec, device, skip_bad, reporter)
            if state:
                saved.expect_same_data(folder, state, task.data)
        place = saved.place(state) if state else ""
        after = f"after {place} of {planned}" if place else "from the start"
        reporter.note(f"going on with {folder} {after}")
        if state and (ranks := saved_ranks(state)) != distributed.world():
            now = distributed.world()
            reporter.note(
                f"{now} {'process' if now == 1 else 'processes'} in place of {ranks}: a step "
                f"still has {task.recipe.batch_size * task.recipe.accumulate} images, "
                "but sums are rounded in another way, and dropout is another"
            )
        return _train(task, lambda: contextlib.nullcontext(folder), device, state, reporter, stop)


def _left(folder: Path, spec: Spec, reporter: Reporter) -> Saved | None:
    """What a run has left to go on from, with its files as it says. Raises RunError."""
    checkpoint.remove_partial(folder)
    state = saved.newest(folder, reporter)
    if state:
        saved.expect_same_spec(folder / run.SPEC, state, spec)
        bring_in_line(folder, state)
    return state


def _train(
    task: Task,
    own_folder: Callable[[], AbstractContextManager[Path]],
    device: torch.device,
    before: Saved | None,
    reporter: Reporter,
    stop: Stop,
) -> run.Run:
    """`own_folder` is called once all settings are accepted, by the first process alone."""
    recipe, world = task.recipe, distributed.world()
    precision = choose_precision(recipe.precision, device)
    workers = choose_workers(recipe.workers, device)
    reporter.note(f"training on {device.type} in {precision.name} ({precision.why})")
    if world > 1:
        reporter.note(_shared_out(task, device))
    micro = MicroBatch(task.trace, recipe, precision, device, reporter)

    with contextlib.ExitStack() as stack:
        stack.enter_context(faults_in(task, micro))
        stack.enter_context(kept_memory(device))
        turn = stack.enter_context(contextlib.ExitStack())
        turn.enter_context(distributed.in_turn())
        expect_shardable(recipe, precision)
        pre = Preprocessing(**before["preprocessing"]) if before else task.preprocessing(workers)
        loader, valid_loader = (
            stack.enter_context(
                Loader(
                    samples,
                    batch_size=recipe.batch_size,
                    seed=recipe.seed,
                    shuffle=shuffle,
                    workers=workers,
                    pin_memory=device.type == "cuda",
                    rank=distributed.rank(),
                    ranks=world,
                )
            )
            for samples, shuffle in ((task.data.train, True), (task.data.valid, False))
        )
        augment = Augment(recipe.augment, task.trace.input_shape)
        mixing = Mixing(recipe.augment)
        loss = optim.loss(recipe.loss).to(device)
        weighted = optim.loss(recipe.loss, task.class_weights()).to(device)
        state = new_state(task, device, precision, micro, reporter if before is None else None)
        if before:
            state.load_state_dict(before, recipe.epochs)
        together = distributed.Together(stop) if state.sharded else stop
        synced = any(isinstance(m, nn.SyncBatchNorm) for m in state.model.modules())
        micro.whole = synced or state.sharded
        names: Names = () if state.sharded else recipe.rewrites  # its layers gather themselves
        way = Way(Normalize(pre.mean, pre.std), precision, names, recipe.compile)
        model, said = way.of(state.model, task.trace, training=True, batch=micro.size)
        judged, _ = way.of(state.judged, task.trace, training=False, batch=micro.size)
        if said:
            reporter.note(f"computes the same with less: {said}")
        every = _LOOK_EVERY if device.type == "cuda" else 1
        watch = Watch(state.optimizer, state.scaler, recipe.accumulate, device, every)
        graphs = graphs_for(recipe, state.model, device, reporter)
        step = Step(recipe, state, model, weighted, augment, mixing, watch, together, graphs)

        turn.close()
        folder = distributed.share(lambda: stack.enter_context(own_folder()))
        distributed.make_same(state.model)
        record: Record = Unwritten(state, watch)
        if not distributed.rank():
            record = Record(folder, task, pre, state, watch)
            machine.write(folder, device, precision)
        write_events = stack.enter_context(distributed.of_first(events(folder, state.epoch)))
        reporter.started(folder, _done(state, task), recipe.epochs)
        stack.enter_context(_numbers_in(task, loader, state, record))
        stack.enter_context(_saved_when_stopped(stop, state, record, folder))
        stack.enter_context(losing_others() if state.sharded else contextlib.nullcontext())

        while state.epoch < recipe.epochs and not _is_over_early(state, recipe, reporter):
            _train_epoch(task, loader, state, step, record, reporter)
            reporter.begin("validating", len(valid_loader))
            valid = evaluate(judged, valid_loader, loss, micro, reporter, together)
            if not math.isfinite(valid.loss):  # the last step of the epoch broke the weights
                where = f"the loss is {valid.loss} in the validation of epoch {state.epoch + 1}"
                raise not_finite(where, record.kept, state.schedule.lr)
            metrics = state.end_epoch(valid)
            record.save_epoch()
            reporter.epoch(metrics)
            if write_events:
                write_events(metrics)
        record.draw()
        if not distributed.rank():
            report.closing(folder, task.data, device, reporter, stop, micro)
        distributed.wait()  # until all is written
    return run.load_run(folder)


def _shared_out(task: Task, device: torch.device) -> str:
    """What several processes make of a recipe."""
    world, batch = distributed.world(), task.recipe.batch_size
    normed = any(row.kind == "batch_norm" for row in task.trace.rows)
    statistics = ""
    if normed:
        statistics = "; batch_norm takes its statistics from the whole batch"
        if device.type == "cpu":
            statistics = (
                "; batch_norm takes its statistics from the share of each, for torch shares them "
                "between GPUs alone"
            )
    weights = " and the weights" if is_to_be_sharded(task.recipe) else ""
    return f"{world} processes share each batch of {batch}{weights}{statistics}"


def _train_epoch(
    task: Task, loader: Loader, state: State, step: Step, record: Record, reporter: Reporter
) -> None:
    """Train on all pictures, or on those that a stopped run has left of them."""
    accumulate, part = task.recipe.accumulate, state.begin_epoch()
    reporter.begin(f"epoch {state.epoch + 1}/{task.recipe.epochs}", task.batches)
    step.model.train()
    hold(state.model, task.trace, state.epoch < (task.recipe.freeze or 0))
    done = min(part.steps * accumulate, task.batches)
    batches = islice(loader.epoch(state.epoch + 1, start=done), task.batches - done)
    while of_step := list(islice(batches, accumulate)):
        numbers = range(done, done + len(of_step))
        step(of_step, sum(map(loader.size, numbers)))
        part.tick()
        record.save_step(reporter)
        done = numbers.stop
        if reporter.wants(done):  # a few times a second: reading the sums waits for the device
            figures = part.figures()
            reporter.update(done, **figures, lr=state.schedule.lr, images=part.seen)
    step.watch.check()
    part.tick()


def _done(state: State, task: Task) -> float:
    """Epochs that are done, a share of one included."""
    steps = state.part.steps if state.part else 0
    return state.epoch + min(1.0, steps * task.recipe.accumulate / task.batches)


def _is_over_early(state: State, recipe: Recipe, reporter: Reporter) -> bool:
    """Whether `early_stop` ends the training here."""
    if not state.metrics or not recipe.early_stop:
        return False
    best = best_epoch(state.metrics)
    if state.epoch - best < recipe.early_stop:
        return False
    reporter.note(f"no epoch was better than {best}: stopped early")
    return True


@contextlib.contextmanager
def _saved_when_stopped(stop: Stop, state: State, record: Record, folder: Path) -> Iterator[None]:
    """What is done when the end is asked for is saved, or when another process has ended. Raises
    Stopped or Lost, which say how to go on."""
    with stop.hold():
        try:
            yield
        except (Stopped, Lost) as ended:
            done = _kept(ended, state, record)
            said = f"stopped {done}; {_go_on(folder)}"
            if stop.asked is not None:  # also of the one that was lost, and ended first
                raise Stopped(stop.asked, said) from None
            if isinstance(ended, Stopped):
                raise Stopped(ended.signal, said) from None
            (lost,) = ended.diagnostics
            raise Lost([lost._replace(message=f"{lost.message}; {said}")]) from None


def _kept(ended: Stopped | Lost, state: State, record: Record) -> str:
    """Save what is done. In words, how far that is."""
    if isinstance(ended, Lost) and state.sharded:  # what the others had is gone
        place = f"after {state.place}" if state.place else "before any step"
        kept = f"what was saved after {record.kept} is kept" if record.kept else "nothing is saved"
        return f"{place}; {kept}"
    record.save()
    record.draw()
    return f"after {state.place}, and all is saved" if state.place else "before any step"


@contextlib.contextmanager
def _on_stop(folder: Path) -> Iterator[None]:
    """Where a run that is there is stopped before it goes on, this is told, too."""
    try:
        yield
    except Stopped as stopped:
        stopped.said = stopped.said or f"stopped; {_go_on(folder)}"
        raise


def _go_on(folder: Path) -> str:
    return f"go on with shapecalc train --resume {shlex.quote(str(folder))}"


@contextlib.contextmanager
def _numbers_in(task: Task, loader: Loader, state: State, record: Record) -> Iterator[None]:
    """A loss or gradient that is no number is told with its batch and files."""
    try:
        yield
    except NotFinite as found:
        accumulate, epoch = task.recipe.accumulate, state.epoch + 1
        first = (found.step - 1) * accumulate
        numbers = range(first, min(first + accumulate, task.batches))
        if found.batch is not None:
            numbers = numbers[found.batch : found.batch + 1]
        what = f"the {'gradient' if found.batch is None else 'loss'} is {found.value}"
        batch = f"batch {numbers[0] + 1}"
        if len(numbers) > 1:
            batch = f"batches {numbers[0] + 1} to {numbers[-1] + 1}"
        root, names = task.data.root, task.data.train.files
        files = [names[i] for n in numbers for i in loader.positions(epoch, n)]
        inside = several([file.removeprefix(f"{root}{os.sep}") for file in files], 64)
        raise not_finite(
            f"{what} in epoch {epoch}, {batch}",
            record.kept,
            state.schedule.lr,
            f"its files in {root} are {inside}",
        ) from None


def _prepare(spec: Spec, device: torch.device, skip_bad: bool, reporter: Reporter) -> Task:
    threads = choose_decoders(spec.recipe().workers)
    return prepare(spec, skip_bad=skip_bad, threads=threads, reporter=reporter, device=device)


def _device(name: str) -> torch.device:
    try:
        return choose_device(name)
    except Fault as fault:
        raise RunError([fault.at(None)]) from None


@contextlib.contextmanager
def faults_in(task: Task, micro: MicroBatch) -> Iterator[None]:
    """A setting that torch refuses is shown at its line under `train:`, and a lack of memory."""
    try:
        yield
        return
    except Fault as found:
        fault = found
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fault = micro.exhausted()
    augment = [named(item)[0] for item in task.recipe.augment]
    if fault.argument in augment:
        fault.argument = f"augment.{augment.index(fault.argument)}"
    raise SpecError([locate(fault, task.spec.source, ("train",))])
