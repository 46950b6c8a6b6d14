"""Work on batches, done by worker processes that leave signals to their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class BatchLoader(DataLoader[Any]):
    """`work(batch)` for each batch of positions, in order; without workers in this process.

    The workers live from the first iteration until `close`.
    """

    def __init__(
        self,
        work: Callable[[list[int]], Any],
        batches: Iterable[list[int]],
        *,
        workers: int,
        pin_memory: bool = False,
    ) -> None:
        # A fork takes milliseconds where another process takes seconds; only Linux has safe ones.
        fork = workers > 0 and sys.platform == "linux"
        super().__init__(
            _Work(work),
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if fork else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # so that the global one is not drawn from
        )

    def __iter__(self) -> Any:
        with warnings.catch_warnings(), _signals_blocked():
            # Python 3.12 warns of threads in a process that forks. A worker uses none of
            # torch's, nor a lock that they might hold.
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            return super().__iter__()

    def close(self) -> None:
        """End the workers. They would not end with the loader, where an error keeps hold of it."""
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


class _Work(Dataset[Any]):
    def __init__(self, work: Callable[[list[int]], Any]) -> None:
        self._work = work

    def __getitems__(self, batch: list[int]) -> Any:
        return self._work(batch)


def _as_it_is(batch: Any) -> Any:
    return batch


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Workers that start meanwhile inherit this, so no signal meets one half started."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _forgive_once)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _forgive_once(*_: object) -> None:
    """The first SIGTERM may have gone to the whole process group, while the parent still needs
    batches to come to a place where it can save; the second is the parent's own, at its end."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
