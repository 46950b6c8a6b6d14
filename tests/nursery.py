"""Commands in processes of their own without the seconds that importing torch takes: a process
that has imported it forks for each, before it has started any thread.

Run as a script it is that process. What a child does is what `python -m shapecalc` does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass
class Child:
    """A command that runs, in a process group of its own."""

    nursery: Nursery
    pid: int
    log: Path
    code: int | None = None
    """The exit code; the negative number of the signal that ended it."""

    def send(self, number: int, *, group: bool = False) -> None:
        """A signal, to it alone or to its workers, too."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def is_over(self) -> bool:
        if self.code is None:
            self.code = self.nursery.ask({"poll": self.pid})
        return self.code is not None

    def wait(self, seconds: float = 60) -> int:
        """Its exit code. Raises TimeoutError, and then it is killed."""
        end = time.monotonic() + seconds
        while not self.is_over():
            if time.monotonic() > end:
                self.send(signal.SIGKILL, group=True)
                raise TimeoutError(self.said)
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text()


class Nursery:
    """Starts commands. Close it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *words: object, cwd: Path) -> Child:
        """`shapecalc WORDS` in a folder; what it prints goes to a file there."""
        log = cwd / f".log.{time.monotonic_ns()}.txt"
        pid = self.ask({"words": list(map(str, words)), "cwd": str(cwd), "log": str(log)})
        return Child(self, pid, log)

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _requests() -> Iterator[dict[str, Any]]:
    while line := sys.stdin.readline():
        yield json.loads(line)


def _serve() -> bool:
    """Fork for each request; True in a child, which is then to run its command."""
    answers = sys.stdout
    for request in _requests():
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                _become(request)
                return True
        print(json.dumps(answer), file=answers, flush=True)
    return False


def _become(request: dict[str, Any]) -> None:
    """What a shell does for a command."""
    os.setsid()
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["shapecalc", *request["words"]]


if __name__ == "__main__":
    for module in ("cli", "report.progress", "training.loop", "__main__"):
        import_module(f"shapecalc.{module}")
    from shapecalc.__main__ import main

    if _serve():
        main()
