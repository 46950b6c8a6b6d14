"""What is promised of the time that something takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails where more CPU time is taken. As in a command, garbage is not collected meanwhile: that
    of thousands of tests before would count."""
    gc.disable()
    started = time.process_time()
    try:
        yield
        taken = time.process_time() - started
    finally:
        gc.enable()
    assert taken < seconds
