"""Threads that decode pictures side by side: Pillow lets other threads run while it decodes and
resizes, and what they make is here already, where processes would have to hand it over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_AHEAD = 4
"""Items for each thread that may be done before they are asked for."""


def in_order(
    work: Callable[[Item], Made], items: Iterable[Item], threads: int, ahead: int = 0
) -> Generator[Made, None, None]:
    """What `work` makes of each item, in their order; with less than two threads in this one.

    So many are done `ahead`, or a few for each thread.
    """
    if threads < 2:
        yield from map(work, items)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, "decoder") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= max(ahead, _AHEAD * threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
