"""Work on batches, done by worker processes that leave signals to their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        with warnings.catch_warnings(), _undisturbed():
            # Python 3.12 warns of threads in a process that forks. A worker uses none of
            # torch's, nor a lock that they might hold.
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            return super().__iter__()

    def close(self) -> None:
        """End the workers. They would not end with the loader, where an error keeps hold of it."""
        with _undisturbed():
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
def _undisturbed() -> Iterator[None]:
    """Signals wait until the end, for workers that are half started or half ended stay for ever.
    A worker that starts meanwhile hears none before it is ready."""
    blocked = None
    if sys.platform != "win32":  # for this thread alone, and for what it starts
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    came: list[signal.Signals] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # which hears those of all threads
        for number in _SIGNALS:
            before[number] = signal.signal(number, lambda n, _: came.append(signal.Signals(n)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number in came:
        handler = before[number]
        if callable(handler):
            handler(number, None)
        elif handler is signal.SIG_DFL:
            signal.raise_signal(number)


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
