"""The data sets of torchvision as samples."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchvision import datasets

from shapecalc.diagnostics import nearest
from shapecalc.language.recipe import TorchvisionData
from shapecalc.training.faults import data_error, reason
from shapecalc.training.images import Resize
from shapecalc.training.samples import Data, Shape, TorchvisionSamples
from shapecalc.training.seeds import set_aside


def find_torchvision(settings: TorchvisionData, shape: Shape, resize: Resize, seed: int) -> Data:
    """The data set of this name, downloaded if need be. Raises DataError."""
    name, root = settings.torchvision, Path(settings.root).expanduser()
    kind = _kind(name)
    source, test_source = _open(kind, root, train=True), _open(kind, root, train=False)
    labels = _labels(source, name)
    classes = _class_names(source, labels)

    def samples(source: Any, labels: Sequence[int], split: str) -> TorchvisionSamples:
        return TorchvisionSamples(
            root=root / name / split,
            classes=classes,
            files=tuple(f"{name}/{split}/{i}" for i in range(len(labels))),
            labels=tuple(labels),
            shape=shape,
            resize=resize,
            source=source,
            positions=tuple(range(len(labels))),
            folder=root,
        )

    by_class = defaultdict(list)
    for position, label in enumerate(labels):
        by_class[label].append(position)
    aside = set[int]().union(
        *(set_aside(positions, settings.valid, seed) for positions in by_class.values())
    )
    everything = samples(source, labels, "train")
    return Data(
        classes,
        everything.take([i for i in range(len(labels)) if i not in aside]),
        everything.take(sorted(aside)),
        None if test_source is None else samples(test_source, _labels(test_source, name), "test"),
        (f"set {len(aside)} of {len(labels)} pictures aside for validation",),
        root,
    )


def _kind(name: str) -> Any:
    known = [item for item in datasets.__all__ if inspect.isclass(getattr(datasets, item))]
    if name in known:
        return getattr(datasets, name)
    near = nearest(name, known)
    mend = f"did you mean {near}?" if near else "its data sets are in torchvision.datasets"
    raise data_error("E401", f"torchvision has no data set {name}", mend)


def _open(kind: Any, root: Path, *, train: bool) -> Any:
    """A data set's training or test part, downloaded if need be; None where it has no test part."""
    takes = inspect.signature(kind).parameters
    _expect_only_root_needed(kind, takes)
    given = {"root": str(root), "download": True}
    arguments = {key: value for key, value in given.items() if key in takes}
    parts: list[dict[str, Any]]
    if "train" in takes:
        parts = [{"train": train}]
    elif "split" in takes:
        parts = [
            {"split": split} for split in (("train", "trainval") if train else ("test", "val"))
        ]
    else:
        parts = [{}] if train else []
    refused = None
    for part in parts:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where a download may chatter
                return kind(**arguments, **part)
        except ValueError as error:
            refused = error  # a split of another name
        except Exception as error:  # no connection, a package, a sound archive, room on the disk
            folder = root / kind.__name__ / "raw" if hasattr(kind, "mirrors") else root
            files = ", ".join(name for name, _ in getattr(kind, "resources", ())) or "its files"
            raise data_error(
                "E401",
                f"torchvision's {kind.__name__} is not to be had: {reason(error)}",
                f"with a connection it is downloaded; without, put {files} "
                f"into {folder.absolute()}",
            ) from error
    if refused:
        raise data_error("E401", f"torchvision's {kind.__name__} cannot be opened: {refused}")
    return None


def _expect_only_root_needed(kind: Any, takes: Mapping[str, inspect.Parameter]) -> None:
    needs = [
        name
        for name, argument in takes.items()
        if name != "root"
        and argument.default is argument.empty
        and argument.kind is argument.POSITIONAL_OR_KEYWORD
    ]
    if needs:
        needed = ", ".join(needs)
        message = f"torchvision's {kind.__name__} needs {needed}, which a spec cannot give"
        raise data_error("E401", message)


def _labels(source: Any, name: str) -> list[int]:
    """The label of every picture, without reading the pictures where the data set has a list."""
    lists = (getattr(source, attribute, None) for attribute in ("targets", "labels", "_labels"))
    labels = next((found for found in lists if found is not None), None)
    if labels is None or len(labels) != len(source):
        labels = [source[i][1] for i in range(len(source))]
    try:
        return [int(label) for label in labels]
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"torchvision's {name} does not label each picture with one class"
        raise data_error("E403", message) from error


def _class_names(source: Any, labels: Sequence[int]) -> tuple[str, ...]:
    names = getattr(source, "classes", ())
    if len(names) <= max(labels):
        return tuple(map(str, range(max(labels) + 1)))
    return tuple(name if isinstance(name, str) else ", ".join(name) for name in names)
