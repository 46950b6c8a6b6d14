"""What all commands share: reading a spec with its overrides, printing, errors, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from typing import TextIO

from shapecalc.diagnostics import Diagnostic, Fault, ShapecalcError
from shapecalc.language.spec import Spec, load, parse_input

FAULT, USAGE = 1, 2
"""Exit codes: a fault in spec or data, a command used wrongly."""


class UsageError(Exception):
    """A command is used wrongly."""


def load_spec(path: str, overrides: Iterable[str] = (), input: str | None = None) -> Spec:
    """A spec with `--set` and `--input` applied. Raises SpecError, Fault and UsageError."""
    given = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set takes KEY=VALUE, such as train.epochs=3, not {text!r}")
        given[key.strip()] = value
    spec = load(path, given)
    return spec if input is None else spec.with_input(parse_input(input))


def show(spec: Spec, format: str, explain: bool) -> None:
    """Print a spec's rows."""
    from shapecalc.report import table
    from shapecalc.tracer import trace

    traced = trace(spec)
    match format:
        case "json":
            print(table.as_json(traced))
        case "csv":
            print(table.as_csv(traced))
        case "markdown":
            print(table.as_markdown(traced, explain=explain))
        case "latex":
            print(table.as_latex(traced, explain=explain))
        case _:
            print(
                table.as_table(traced, explain=explain, width=width(), color=has_color(sys.stdout))
            )


def complain(diagnostics: Iterable[Diagnostic]) -> None:
    """Print a report on stderr."""
    from shapecalc.report.diagnostics import render

    text = render(diagnostics, color=has_color(sys.stderr), width=width(sys.stderr))
    print(text, file=sys.stderr)


def guarded(command: Callable[[], object]) -> None:
    """Run a command; its errors become reports on stderr, never tracebacks."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for letters the terminal cannot show
    try:
        command()
        sys.stdout.flush()
        return
    except ShapecalcError as error:
        complain(error.diagnostics)
    except Fault as fault:
        complain([fault.at(None)])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except BrokenPipeError:  # the reader has gone, as with `show | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAULT)


def width(stream: TextIO | None = None) -> int:
    """Columns of the terminal that a stream, else stdout, goes to; wide where there is none."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given[:9]):
        return int(given[:9])
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 120
    except (OSError, ValueError):
        return 120


def has_color(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours and whose user wants them."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
