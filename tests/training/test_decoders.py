"""Work that threads do side by side comes in order, some ahead, and ends with who asks for it."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from shapecalc.training.decoders import in_order

THREADS = pytest.mark.parametrize("threads", [0, 1, 2, 5])


def decoding() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("decoder")]


@THREADS
def test_all_comes_in_order(threads: int) -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.002 if item % 3 == 0 else 0)
        return item * item

    assert list(in_order(slow_at_first, range(50), threads)) == [n * n for n in range(50)]
    assert list(in_order(slow_at_first, [], threads)) == []
    assert decoding() == []


def test_so_many_are_made_ahead_and_no_more() -> None:
    made: list[int] = []
    items = in_order(made.append, range(100), 2, ahead=20)
    with closing(items):
        next(items)
        end = time.monotonic() + 10
        while len(made) < 20 and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(made) == 20


@THREADS
def test_an_error_comes_at_its_place(threads: int) -> None:
    items = in_order(lambda n: 1 // (n - 3), range(50), threads)
    assert [next(items) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert decoding() == []


def test_who_leaves_early_waits_for_none_but_those_that_are_begun() -> None:
    done: list[int] = []
    with closing(in_order(lambda n: (time.sleep(0.01), done.append(n)), range(1000), 2)) as items:
        next(items)
    assert decoding() == []
    assert len(done) < 20
