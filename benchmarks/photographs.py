"""A share of a folder of photographs, for benchmarks."""

from __future__ import annotations

from pathlib import Path
from random import Random


def share(data: Path, folder: Path, **counts: int) -> int:
    """Links under `folder` to so many pictures of each split of `data`, evenly from its classes;
    the number of classes. `valid` finds a split called `validation`, too."""
    chosen, classes = Random(0), []
    for split, count in counts.items():
        source = next(path for path in data.iterdir() if path.name.startswith(split))
        classes = sorted(path for path in source.iterdir() if path.is_dir())
        for number, kind in enumerate(classes):
            files = sorted(kind.iterdir())
            most = count // len(classes) + (number < count % len(classes))
            (folder / split / kind.name).mkdir(parents=True)
            for file in chosen.sample(files, min(most, len(files))):
                (folder / split / kind.name / file.name).symlink_to(file)
    return len(classes)
