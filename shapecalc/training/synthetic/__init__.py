"""Drawn pictures of fifteen kinds of apparel, for a first training run without a download.

Picture `index` of a category and split is a pure function of (seed, split, category, index):
asking for more pictures never changes the earlier ones.
"""

from __future__ import annotations

import difflib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from . import bottoms, footwear, saree, tops
from .cloth import Random
from .scene import Scene

__all__ = ["CATEGORIES", "draw", "write_folder"]

_Drawing = Callable[[Scene, Random], None]

_DRAWINGS: dict[str, _Drawing] = {
    "jersey": tops.jersey,
    "womens_shirt": tops.womens_shirt,
    "denim_jeans": bottoms.denim_jeans,
    "mens_shirt": tops.mens_shirt,
    "trainers": footwear.trainers,
    "mens_flip_flops": footwear.mens_flip_flops,
    "heels": footwear.heels,
    "polo_tshirt": tops.polo_tshirt,
    "shorts": bottoms.shorts,
    "formal_shoes": footwear.formal_shoes,
    "formal_trousers": bottoms.formal_trousers,
    "mens_kurta": tops.mens_kurta,
    "saree": saree.saree,
    "womens_kurta": tops.womens_kurta,
    "womens_flip_flops": footwear.womens_flip_flops,
}
_SPLITS = ("train", "valid", "test")

CATEGORIES: tuple[str, ...] = tuple(_DRAWINGS)
"""The folder names, in class order."""


def draw(category: str, seed: int, split: str, index: int, size: int = 512) -> Image.Image:
    """One RGB picture of a category.

    `size` is the nominal side in pixels: pictures are 7/8 to 9/8 of it wide and between square
    and 3:4 upright. `split` is "train", "valid" or "test". Raises `ValueError` for an unknown
    category or split, a negative seed or index, or a size below 32.
    """
    return _picture(category, seed, split, index, size)[0]


def _picture(
    category: str, seed: int, split: str, index: int, size: int
) -> tuple[Image.Image, int]:
    """The picture and the JPEG quality (75..95) it is to be saved with."""
    _known("category", category, CATEGORIES)
    _known("split", split, _SPLITS)
    if min(seed, index) < 0 or size < 32:
        raise ValueError(f"need seed >= 0, index >= 0 and size >= 32: {seed}, {index}, {size}")
    rng = np.random.default_rng([seed, _SPLITS.index(split), CATEGORIES.index(category), index])
    quality = int(rng.integers(75, 96))
    scene = Scene(rng, size)
    _DRAWINGS[category](scene, rng)
    return scene.finish(), quality


def _known(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown {what} {name!r}; did you mean {nearest!r}?")


# --- folders --------------------------------------------------------------------------------

_BATCH = 8  # pictures to a task: short, so that progress flows and an interrupt is soon obeyed
_Batch = tuple[str, str, range]


def write_folder(
    root: Path,
    *,
    seed: int = 0,
    train: int,
    valid: int,
    test: int = 0,
    size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes `root/<split>/<category>/0000.jpg`, ... and returns `root`.

    `train`, `valid` and `test` count the pictures of each category; a split of none has no
    folder. The tree is built beside `root` and renamed into place, so `root` is never half
    written, and of several processes writing it at once one wins and all succeed. A `root`
    that already holds these counts is left as it is. `progress` gets the pictures written and
    the total.

    Raises `FileExistsError` if `root` holds anything else, and `ValueError` as `draw` does.
    """
    counts = {"train": train, "valid": valid, "test": test}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise ValueError(f"need counts of at least 0 and not all 0: {counts}")
    root = Path(root)
    if _whole(root, counts):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
        # A folder inside, as the scratch folder itself is closed to other users.
        built = Path(scratch, "whole")
        _fill(built, counts, seed, size, progress)
        try:
            built.rename(root)
        except OSError:
            if not _whole(root, counts):
                raise
    return root


def _whole(root: Path, counts: dict[str, int]) -> bool:
    """Whether `root` holds the promised tree; an empty or missing one may still be filled."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    for split, count in counts.items():
        for category in CATEGORIES:
            if len(list(Path(root, split, category).glob("*.jpg"))) != count:
                raise FileExistsError(
                    f"{root} exists but {split}/{category} does not hold {count} pictures; "
                    "remove it or choose another folder"
                )
    return True


def _fill(
    root: Path,
    counts: dict[str, int],
    seed: int,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    batches: list[_Batch] = []
    for split, count in counts.items():
        for category in CATEGORIES if count else ():
            Path(root, split, category).mkdir(parents=True)
            for start in range(0, count, _BATCH):
                batches.append((split, category, range(start, min(start + _BATCH, count))))
    total = len(CATEGORIES) * sum(counts.values())
    done = 0
    with closing(_written(root, batches, seed, size)) as counts_written:
        for written in counts_written:
            done += written
            if progress is not None:
                progress(done, total)


def _written(root: Path, batches: list[_Batch], seed: int, size: int) -> Generator[int]:
    """Writes the batches, on all cores if there are several, yielding each one's count."""
    left = dict.fromkeys(batches)
    cores = min(_cores(), len(batches) // 4)
    if cores > 1:
        try:
            with _pool(cores) as pool:
                tasks = {pool.submit(_write, root, batch, seed, size): batch for batch in batches}
                for task in as_completed(tasks):
                    written = task.result()
                    del left[tasks[task]]
                    yield written
        except BrokenProcessPool:
            pass  # a main module that cannot be imported again, say: write the rest here
    for batch in left:
        yield _write(root, batch, seed, size)


def _write(root: Path, batch: _Batch, seed: int, size: int) -> int:
    split, category, indices = batch
    for index in indices:
        image, quality = _picture(category, seed, split, index, size)
        image.save(Path(root, split, category, f"{index:04d}.jpg"), quality=quality)
    return len(indices)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that leave with this one, whatever ends it."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enlist)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _enlist() -> None:
    """Leaves an interrupt to the parent, and the worker with it should it be killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
