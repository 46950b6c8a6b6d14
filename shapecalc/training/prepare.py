"""A spec and its data, brought together before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shapecalc.builder.network import check_sample
from shapecalc.diagnostics import DataError, Diagnostic, Fault, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.recipe import FolderData, Recipe
from shapecalc.language.spec import Spec
from shapecalc.tracer import Trace, trace
from shapecalc.training.augment import statistics
from shapecalc.training.cache import Cache, Held, choose_cache
from shapecalc.training.checkpoint import Preprocessing
from shapecalc.training.data import find_data
from shapecalc.training.images import UnreadableImage
from shapecalc.training.losses import class_weights
from shapecalc.training.reporter import Reporter
from shapecalc.training.samples import (
    Data,
    FileSamples,
    Samples,
    check_images,
    refusal,
    without,
)

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Task:
    """A network and the data that it is to learn; they fit each other."""

    spec: Spec
    """Resolved: with the number of classes that the data has."""
    recipe: Recipe
    trace: Trace
    data: Data

    @property
    def samples(self) -> int:
        """Training pictures of an epoch: all, but for a last batch of one picture where there is
        batch_norm, which cannot tell the spread of one value."""
        samples, size = len(self.data.train), self.recipe.batch_size
        normed = any(row.kind == "batch_norm" for row in self.trace.rows)
        return samples - (normed and samples > size > 1 and samples % size == 1)

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return -(-self.samples // self.recipe.batch_size)

    def class_weights(self) -> tuple[float, ...] | None:
        """The weight of each class in the training loss. Raises Fault."""
        train = self.data.train
        return class_weights(self.recipe.class_weights, train.classes, train.labels)

    def preprocessing(self, workers: int) -> Preprocessing:
        """How pictures become inputs, with the statistics that `normalize:` asks for."""
        try:
            found = statistics(
                self.recipe.normalize, self.data.train, self.recipe.seed, workers=workers
            )
        except Fault as fault:
            raise SpecError([locate(fault, self.spec.source, ("train",))]) from None
        mean, std = found or (None, None)
        return Preprocessing(self.recipe.resize, mean, std)


def prepare(
    spec: Spec,
    *,
    skip_bad: bool,
    threads: int,
    reporter: Reporter,
    device: torch.device = _CPU,
) -> Task:
    """Find the data, decode every picture, and fit the spec to the classes.

    `device` is where the network will be trained. Raises SpecError and DataError.
    """
    recipe = spec.recipe()
    if recipe.data is None:
        fault = Fault(
            "E107",
            "there is nothing to train on: train has no data",
            help="give --data DIR, or write data: synthetic_apparel under train:",
        )
        raise SpecError([locate(fault, spec.source, ("train",))])
    traced = trace(spec)  # a fault in the network comes before any in the data
    check_sample(traced, layers=device.type == "cpu")
    if isinstance(recipe.data, FolderData):
        spec = _with_absolute_folder(spec, recipe.data)
    drawing = _Drawing(reporter)
    data = find_data(
        recipe.data,
        input_shape=spec.input_shape(),
        resize=recipe.resize,
        seed=recipe.seed,
        progress=drawing,
    )
    for note in data.notes:
        reporter.note(note)
    try:
        cache = choose_cache(recipe.cache, (data.train, data.valid), device)
        reporter.note(cache.said)
        data = _readable(data, cache, skip_bad, threads, reporter)
    except Fault as fault:
        raise SpecError([locate(fault, spec.source, ("train",))]) from None
    spec = _with_classes(spec, len(data.classes), reporter)
    traced = trace(spec)
    _expect_classes(traced, data)
    return Task(spec, recipe, traced, data)


class _Drawing:
    """Reports the drawing of synthetic images, which begins only if it is needed."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter, self.begun = reporter, False

    def __call__(self, done: int, total: int) -> None:
        if not self.begun:
            self.reporter.begin("drawing apparel", total)
            self.begun = True
        self.reporter.update(done)


def _readable(data: Data, cache: Cache, skip_bad: bool, threads: int, reporter: Reporter) -> Data:
    """The data without what cannot be read, held where the cache says; all that cannot be read is
    named before training counts on it."""
    splits: list[tuple[Samples, Held | None, list[UnreadableImage]]] = []
    for samples in (data.train, data.valid):
        held, bad = None, list[UnreadableImage]()
        if cache.place != "none":
            held, bad = cache.hold(samples, threads=threads, reporter=reporter)
        elif isinstance(samples, FileSamples):
            reporter.begin("checking images", len(samples))
            bad = check_images(samples, threads=threads, progress=lambda n, _: reporter.update(n))
        splits.append((samples, held, bad))
    every = [error for *_, bad in splits for error in bad]
    if every and not skip_bad:
        raise refusal(every, "replace it, or leave out all that cannot be read with --skip-bad")
    for error in every:
        reporter.note(f"skipped {error}")
    left = [(without(samples, bad), held) for samples, held, bad in splits]
    train, valid = (held.of(samples) if held else samples for samples, held in left)
    return replace(data, train=train, valid=valid)


def _with_absolute_folder(spec: Spec, data: FolderData) -> Spec:
    """So that the run finds its data from anywhere."""
    folder = str(Path(data.folder).expanduser().absolute())
    settings: dict[str, Any] = {**data.model_dump(exclude_unset=True), "folder": folder}
    return spec.model_copy(update={"train": {**spec.train, "data": settings}})


def _with_classes(spec: Spec, classes: int, reporter: Reporter) -> Spec:
    """A parameter `classes` that nobody has set is the number of class folders."""
    given = spec.params.get("classes")
    if given is None or given == classes or spec.is_overridden("params.classes"):
        return spec
    reporter.note(f"the data has {classes} classes: classes is {classes} in place of {given}")
    return spec.with_params(classes=classes)


def _expect_classes(traced: Trace, data: Data) -> None:
    """The network has one output for each class. Raises DataError at the last layer's line."""
    classes, shape = len(data.classes), traced.output_shape
    if shape == (classes,):
        return
    last = next((row for row in reversed(traced.rows) if row.kind == "linear"), traced.rows[-1])
    if len(shape) == 1 and last.kind == "linear":
        message = f"{last.path} gives {shape[0]} outputs, but {data.root} has {classes} classes"
        help = f"write {last.kind}: {classes}"
        if traced.spec.is_overridden("params.classes"):
            help = f"leave --set params.classes out, or give {classes}"
    else:
        message = f"the network gives {list(shape)}, but {classes} classes need [{classes}]"
        help = f"end with flatten and linear: {classes}"
    names = ", ".join(data.classes[:12]) + (", ..." if classes > 12 else "")
    note = f"the classes are {names}"
    raise DataError([Diagnostic("E403", message, last.place, last.path, "", f"{help}; {note}")])
