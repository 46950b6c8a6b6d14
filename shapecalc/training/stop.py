"""The wish that training may end: who has it, and when it is heard."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """What went on has ended because it was asked to."""

    def __init__(self, number: int, said: str = "") -> None:
        super().__init__(number, said)
        self.signal = number
        """What asked for it; a shell gives 128 and this as the exit code."""
        self.said = said
        """What is saved, and how to go on; "" where nothing was begun."""


class Stop:
    """A wish to end, which training looks at between its steps and then saves."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that stands for the wish."""
        self.held = False

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Ask for the end, from any thread."""
        if self.asked is None:
            self.asked = number

    def check(self) -> None:
        """Raises Stopped where the end was asked for."""
        if self.asked is not None:
            raise Stopped(self.asked)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Within it a signal interrupts nothing: `check` is called where that does no harm."""
        self.check()
        self.held = True
        try:
            yield
        finally:
            self.held = False


@contextmanager
def by_signals(told: Callable[[], object]) -> Iterator[Stop]:
    """A Stop that Ctrl-C and SIGTERM ask for, until the context ends; only in the main thread.

    Where the Stop is not held they raise Stopped at once. `told` is called, from another thread,
    for the first one that has to wait, and a second Ctrl-C ends the process whatever it does.
    """
    stop = Stop()
    # A handler in Python waits for the main thread, which may be busy in torch for a while. The
    # number of a signal comes through a socket at once, and a thread of its own reads it.
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def listen() -> None:
        while (number := ours.recv(1)[0]) != 0:
            if number == signal.SIGINT and stop.asked is not None:
                os._exit(128 + number)
            if number in _SIGNALS and stop.asked is None:
                stop.ask(number)
                if stop.held:
                    told()

    raised = False

    def interrupt(number: int, _: object) -> None:
        nonlocal raised
        if not stop.held and not raised:
            raised = True
            raise Stopped(number)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.send(b"\0")
        listener.join()
        ours.close()
        theirs.close()


if hasattr(os, "register_at_fork"):  # what a worker hears is not for its parent
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
