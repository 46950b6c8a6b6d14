"""What can be seen in a trained network: what it gets wrong, where it looks, its first filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from shapecalc.report import pictures
from shapecalc.tracer import Row, trace
from shapecalc.training.augment import Normalize
from shapecalc.training.evaluate import Evaluation, to_device
from shapecalc.training.images import UnreadableImage
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.reporter import Reporter
from shapecalc.training.run import Run
from shapecalc.training.saliency import grad_cam, last_convolution
from shapecalc.training.samples import Data, Samples, refusal
from shapecalc.training.stop import Stop

_MOST_WRONG, _MOST_RIGHT, _MOST_LOOKED_AT, _MOST_FILTERS = 24, 8, 4, 64
"""Wrong pictures that are shown; right and wrong ones with what the network looks at; filters."""


@dataclass(frozen=True)
class Judged:
    """A picture with what the network said of it; shares are probabilities."""

    name: str
    """Its path below the data's folder."""
    picture: str
    """As a `data:` address, and so are the others."""
    truth: str
    said: str
    of_truth: float
    of_said: float
    looked: tuple[tuple[str, str], ...] = ()
    """Classes, each with the picture of what speaks for it."""


@dataclass(frozen=True)
class Filters:
    """The weights of a first convolution, as pictures of what each filter answers to."""

    path: str
    count: int
    size: tuple[int, int]
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """All that a page shows of a network beside its numbers."""

    classes: tuple[str, ...]
    evaluation: Evaluation
    source: str
    """The pictures that it was looked at with."""
    wrong: tuple[Judged, ...]
    """The most wrong first: those of least probability for their own class."""
    right: tuple[Judged, ...]
    """For each of the first classes the picture that is right with the most probability."""
    looked_at: Row | None
    """The convolution behind `looked`."""
    filters: Filters | None


@dataclass
class _Answers:
    """Collects what the network says, batch by batch."""

    said: list[Tensor] = field(default_factory=list)
    of_said: list[Tensor] = field(default_factory=list)
    of_truth: list[Tensor] = field(default_factory=list)

    def __call__(self, output: Tensor, labels: Tensor) -> None:
        shares = output.softmax(1)
        best = shares.max(1)
        self.said.append(best.indices)
        self.of_said.append(best.values)
        self.of_truth.append(shares.gather(1, labels[:, None])[:, 0])


def look(
    run: Run,
    data: str | Path | Data | None = None,
    *,
    split: str | None = "valid",
    device: torch.device | str = "cpu",
    reporter: Reporter | None = None,
    stop: Stop | None = None,
    micro: MicroBatch | None = None,
) -> Findings:
    """Look at a trained network with the pictures of a folder, or of what it was trained on.

    `data`, `split` and `micro` are as in `Run.evaluate`. Raises DataError.
    """
    answers = _Answers()
    evaluation, samples = run.evaluate(
        data,
        split=split,
        device=device,
        reporter=reporter,
        stop=stop,
        micro=micro,
        on_batch=answers,
    )
    said = torch.cat(answers.said).tolist()
    of_said = torch.cat(answers.of_said).tolist()
    of_truth = torch.cat(answers.of_truth).tolist()
    wrong = [i for i, label in enumerate(samples.labels) if said[i] != label]
    wrong.sort(key=lambda i: of_truth[i])
    surest = {
        samples.labels[i]: i  # the last one stays
        for i in sorted(range(len(samples)), key=of_said.__getitem__)
        if said[i] == samples.labels[i]
    }
    right = [surest[label] for label in sorted(surest)[:_MOST_RIGHT]]
    convolution = last_convolution(trace(run.spec))
    where = convolution.path if convolution else ""

    def judged(i: int, *, looked: bool) -> Judged:
        label, answer = samples.labels[i], said[i]
        pixels = _read(samples, i)
        asked = dict.fromkeys((answer, label)) if looked and where else {}
        return Judged(
            _name(samples, i),
            pictures.thumbnail(_image(pixels)),
            run.classes[label],
            run.classes[answer],
            of_truth[i],
            of_said[i],
            tuple(_looked(run, where, pixels, asked, device)),
        )

    return Findings(
        run.classes,
        evaluation,
        f"{len(samples):,} pictures of {'/'.join(samples.root.parts[-2:])}",
        tuple(judged(i, looked=n < _MOST_LOOKED_AT) for n, i in enumerate(wrong[:_MOST_WRONG])),
        tuple(judged(i, looked=True) for i in right),
        convolution,
        first_filters(run),
    )


def first_filters(run: Run) -> Filters | None:
    """The filters of a first layer that is a convolution of the picture itself."""
    first = next(iter(trace(run.spec).leaves), None)
    if first is None or first.kind != "conv":
        return None
    weight = run.model.get_submodule(first.path).get_parameter("weight").detach().float().cpu()
    count, channels, *size = weight.shape
    if channels not in (1, 3):
        return None
    shown = weight[:_MOST_FILTERS]
    strongest = shown.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    pixels = (127.5 + 127.5 * shown / strongest).round().to(torch.uint8)
    return Filters(
        first.path, count, (size[0], size[1]), tuple(pictures.exact(_image(p)) for p in pixels)
    )


def _looked(
    run: Run, path: str, pixels: Tensor, classes: Iterable[int], device: torch.device | str
) -> Iterator[tuple[str, str]]:
    """What speaks for each of some classes in one picture."""
    normalize = Normalize(run.preprocessing.mean, run.preprocessing.std)
    for label in classes:  # one by one: that a batch of one fits into memory is known
        inputs = normalize(to_device(pixels[None], torch.device(device)))
        (heat,) = grad_cam(run.model, run.model.get_submodule(path), inputs, [label])
        yield run.classes[label], pictures.heated(_image(pixels), heat.float().cpu().numpy())


def _read(samples: Samples, index: int) -> Tensor:
    try:
        return samples[index][0].cpu()  # from where it is held
    except UnreadableImage as error:
        raise refusal([error]) from None


def _image(pixels: Tensor) -> pictures.Pixels:
    """uint8 [C, H, W] as Pillow takes it."""
    found: pictures.Pixels = (pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy()
    return found


def _name(samples: Samples, index: int) -> str:
    file = Path(samples.files[index])
    return str(file.relative_to(samples.root)) if file.is_relative_to(samples.root) else str(file)
