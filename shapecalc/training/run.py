"""The folder of a run: its files, and what can be done with a trained network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from shapecalc.analysis.runs import METRICS as METRICS
from shapecalc.analysis.runs import SPEC as SPEC
from shapecalc.builder import build
from shapecalc.diagnostics import Diagnostic, RunError
from shapecalc.language.spec import Spec, load, loads
from shapecalc.tracer import trace
from shapecalc.training import checkpoint, optim
from shapecalc.training.augment import Normalize
from shapecalc.training.cache import find_held
from shapecalc.training.checkpoint import Preprocessing, Weights
from shapecalc.training.data import evaluation_samples, find_data
from shapecalc.training.decoders import in_order
from shapecalc.training.device import choose_decoders, choose_precision, choose_workers
from shapecalc.training.evaluate import Evaluation, evaluate, to_device
from shapecalc.training.faults import data_error
from shapecalc.training.folders import Search
from shapecalc.training.images import UnreadableImage
from shapecalc.training.launch import LAUNCH
from shapecalc.training.loader import Loader
from shapecalc.training.lock import LOCK
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.network import Way
from shapecalc.training.reporter import Reporter
from shapecalc.training.samples import Data, FileSamples, Samples, refusal, stacked
from shapecalc.training.stop import Stop
from shapecalc.training.views import Flips

BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.pt"
CURVES, CONFUSION = "curves.svg", "confusion.svg"


def new_folder(out: str | Path | None, name: str) -> Path:
    """A new folder, `out` or `runs/NAME-1`, `-2` and so on; no two runs get the same one.

    Raises RunError.
    """
    if out is None:
        number = 1
        while True:
            folder = Path("runs") / f"{file_name(name)}-{number}"
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1
            except OSError as error:
                raise _cannot_make(folder, error) from None
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(folder, error) from None
    return folder


def file_name(name: str) -> str:
    """The name of a spec as a file can bear it."""
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).strip(".")
    return clean or "network"


def expect_empty(folder: Path) -> None:
    """There is no folder yet, or nothing in it but what a run leaves that was killed before it
    began. Raises RunError."""
    try:
        if not folder.exists() or _is_bare(folder):
            return
    except OSError as error:
        raise _cannot_make(folder, error) from None
    help = f"give another --out, or go on with the run there: --resume {folder}"
    raise RunError([Diagnostic("E503", f"{folder} is not empty", help=help)])


def stored_spec(folder: Path) -> Spec:
    """The resolved spec of a run. Raises RunError where there is no run."""
    if (folder / SPEC).is_file():
        return load(folder / SPEC)
    what, help = "does not exist", _runs_beside(folder)
    if folder.is_dir():
        what = "is no run: it has no spec.yaml"
        if (folder / LOCK).exists() and _is_bare(folder):
            what = "has nothing to go on with: its run was stopped before it began"
            help = f"start it again: shapecalc train SPEC --out {folder}"
    raise RunError([Diagnostic("E502", f"{folder} {what}", help=help)])


def _is_bare(folder: Path) -> bool:
    return all(p.name in (LOCK, LAUNCH) or checkpoint.is_partial(p) for p in folder.iterdir())


def metrics_text(metrics: Sequence[Mapping[str, float]]) -> str:
    """One JSON object a line, one line an epoch."""
    return "".join(json.dumps(row) + "\n" for row in metrics)


def write_metrics(folder: Path, metrics: Sequence[Mapping[str, float]]) -> None:
    """Write `metrics.jsonl`. Raises RunError."""
    checkpoint.write_text(folder / METRICS, metrics_text(metrics))


def has_metrics(folder: Path, metrics: Sequence[Mapping[str, float]]) -> bool:
    """Whether `metrics.jsonl` holds these."""
    try:
        return (folder / METRICS).read_text(encoding="utf-8") == metrics_text(metrics)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Prediction:
    """What a network says of one picture: classes with probabilities, the likeliest first."""

    path: Path
    classes: tuple[tuple[str, float], ...]


class Run:
    """A trained network with its classes and preprocessing."""

    def __init__(self, path: Path, weights: Weights) -> None:
        self.path = path
        self.spec = loads(weights.spec, file=str(path))
        self.classes = weights.classes
        self.preprocessing: Preprocessing = weights.preprocessing
        self.epoch = weights.epoch
        self.model: nn.Module = build(self.spec)
        """In evaluation mode, on the CPU; takes normalised float32 [N, C, H, W]."""
        try:
            self.model.load_state_dict(weights.tensors)
        except RuntimeError as error:
            message = f"{path} holds other tensors than its spec describes"
            raise RunError([Diagnostic("E502", message)]) from error
        self.model.eval()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.spec.input_shape()
        return channels, height, width

    def evaluate(
        self,
        data: str | Path | Data | None = None,
        *,
        split: str | None = None,
        device: torch.device | str = "cpu",
        reporter: Reporter | None = None,
        stop: Stop | None = None,
        micro: MicroBatch | None = None,
        on_batch: Callable[[Tensor, Tensor], None] | None = None,
    ) -> tuple[Evaluation, Samples]:
        """Loss, accuracy and confusion on a folder, or on the data the run was trained on.

        `split` is train, valid or test; without it, the test split where there is one, else the
        validation split, or all of a folder without splits. `micro` knows how
        many pictures there is room for, from a training before. `on_batch` is given the outputs
        and the labels of each batch, in order. Raises DataError, and Stopped where `stop` asks for
        the end.

        With `tta: flips` it is the mean of a picture and its mirror image that counts, as in
        `predict`.
        """
        recipe, device = self.spec.recipe(), torch.device(device)
        samples = evaluation_samples(
            data if data is not None else self._data(),
            classes=self.classes,
            input_shape=self.input_shape,
            resize=self.preprocessing.resize,
            split=split,
        )
        reporter = reporter or Reporter()
        workers = choose_workers(recipe.workers, device)
        loader = Loader(
            find_held(samples), batch_size=recipe.batch_size, seed=0, shuffle=False, workers=workers
        )
        with loader:
            reporter.begin("evaluating", len(loader))
            precision = choose_precision(recipe.precision, device)
            loss = optim.loss(recipe.loss).to(device)
            micro = micro or MicroBatch(trace(self.spec), recipe, precision, device, reporter)
            computed = self._computed(device, micro.size)
            result = evaluate(computed, loader, loss, micro, reporter, stop or Stop(), on_batch)
        return result, samples

    def predict(
        self,
        images: Sequence[str | Path],
        *,
        top: int = 5,
        device: torch.device | str = "cpu",
        reporter: Reporter | None = None,
    ) -> list[Prediction]:
        """The `top` classes of each picture, with probabilities; of a folder, those of all in it
        and below. They are decoded side by side while the network computes. Raises DataError."""
        device, reporter = torch.device(device), reporter or Reporter()
        recipe, files = self.spec.recipe(), tuple(_pictures(images))
        shape, resize, labels = self.input_shape, self.preprocessing.resize, (0,) * len(files)
        samples = FileSamples(Path(), self.classes, files, labels, shape, resize)
        threads = choose_decoders(recipe.workers) if len(files) > 1 else 0
        size = recipe.batch_size
        pictures = in_order(samples.attempt, range(len(files)), threads, ahead=2 * size)
        computed = self._computed(device, size)
        found: list[Prediction] = []
        reporter.begin("predicting", len(files))
        with closing(pictures), torch.inference_mode():
            while batch := list(islice(pictures, size)):
                shares = computed(to_device(_pixels(batch), device)).softmax(1)
                best = shares.topk(min(top, len(self.classes)))
                for row, numbers in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                    classes = (
                        (self.classes[i], share) for i, share in zip(numbers, row, strict=True)
                    )
                    found.append(Prediction(Path(files[len(found)]), tuple(classes)))
                reporter.update(len(found))
        return found

    def _computed(self, device: torch.device, batch: int) -> nn.Module:
        """The network for evaluation, from pixels, with the views that `tta:` asks for."""
        recipe, mean, std = self.spec.recipe(), self.preprocessing.mean, self.preprocessing.std
        model: nn.Module = self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        precision = choose_precision(recipe.precision, device)
        way = Way(Normalize(mean, std), precision, recipe.rewrites)
        computed, _ = way.of(model, trace(self.spec), training=False, batch=batch)
        return (Flips(computed) if recipe.tta else computed).eval()

    def _data(self) -> Data:
        recipe = self.spec.recipe()
        assert recipe.data is not None
        return find_data(
            recipe.data,
            input_shape=self.input_shape,
            resize=self.preprocessing.resize,
            seed=recipe.seed,
        )


def load_run(path: str | Path) -> Run:
    """A run's folder, or one of its weights files, ready to predict. Raises RunError."""
    path = Path(path)
    if path.is_dir():
        if not (path / BEST).is_file():
            what = "has no weights yet" if (path / SPEC).is_file() else "is no run"
            raise RunError([Diagnostic("E502", f"{path} {what}", help=_runs_beside(path))])
        path = path / BEST
    elif not path.exists():
        help = _runs_beside(path)
        raise RunError([Diagnostic("E502", f"{path} does not exist", help=help)])
    return Run(path, checkpoint.load_weights(path))


def _pictures(images: Sequence[str | Path]) -> Iterator[str]:
    for path in map(Path, images):
        if not path.is_dir():
            yield str(path)
        elif inside := Search(path).images(path):
            yield from inside
        else:
            raise data_error("E402", f"there are no pictures in {path}")


def _pixels(pictures: Sequence[Tensor | UnreadableImage]) -> Tensor:
    """A batch of what was decoded. Raises DataError with all of it that cannot be read."""
    if bad := [picture for picture in pictures if isinstance(picture, UnreadableImage)]:
        raise refusal(bad, "give a picture, such as a JPEG or PNG file")
    return stacked([picture for picture in pictures if isinstance(picture, Tensor)])


def _runs_beside(path: Path) -> str:
    runs = sorted({str(spec.parent) for spec in path.parent.glob(f"*/{SPEC}")})
    return f"runs there: {', '.join(runs[:8])}" if runs else ""


def _cannot_make(folder: Path, error: OSError) -> RunError:
    reason = (error.strerror or "").lower()
    return RunError([Diagnostic("E503", f"{folder} cannot be made: {reason}")])
