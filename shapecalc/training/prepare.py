"""A spec and its data, brought together before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapecalc.builder.network import check_sample
from shapecalc.diagnostics import DataError, Diagnostic, Fault, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.recipe import FolderData, Recipe
from shapecalc.language.spec import Spec
from shapecalc.tracer import Trace, trace
from shapecalc.training.augment import statistics
from shapecalc.training.checkpoint import Preprocessing
from shapecalc.training.data import find_data
from shapecalc.training.images import UnreadableImage
from shapecalc.training.reporter import Reporter
from shapecalc.training.samples import Data, check_images, refusal, without


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
    spec: Spec, *, skip_bad: bool, workers: int, reporter: Reporter, on_cpu: bool = True
) -> Task:
    """Find the data, look at every picture, and fit the spec to the classes.

    Raises SpecError and DataError.
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
    check_sample(traced, layers=on_cpu)
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
    data = _readable(data, recipe, skip_bad, workers, reporter)
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


def _readable(data: Data, recipe: Recipe, skip_bad: bool, workers: int, reporter: Reporter) -> Data:
    """The data without what cannot be read; all of that is named before training counts on it."""
    if not isinstance(recipe.data, FolderData):
        return data
    bad: list[UnreadableImage] = []
    for split in (data.train, data.valid):
        reporter.begin("checking images", len(split))
        bad += check_images(split, workers=workers, progress=lambda done, _: reporter.update(done))
    if bad and not skip_bad:
        raise refusal(bad, "replace it, or leave out all that cannot be read with --skip-bad")
    for error in bad:
        reporter.note(f"skipped {error}")
    if not bad:
        return data
    return Data(
        data.classes,
        without(data.train, bad),
        without(data.valid, bad),
        data.test,
        data.notes,
        data.root,
    )


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
