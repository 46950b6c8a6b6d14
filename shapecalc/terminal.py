"""What all commands share: reading a spec with its overrides, printing, errors, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from itertools import pairwise
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


def parse_shape(option: str, text: str | None) -> tuple[int, ...] | None:
    """`128x7x7` as a shape. Raises UsageError."""
    try:
        return None if text is None else parse_input(text)
    except Fault:
        raise UsageError(f"{option} takes a shape such as 128x7x7, not {text!r}") from None


def parse_count(option: str, text: str | None) -> int | None:
    """`5M` as a number; k, M, G and T are powers of 1000. Raises UsageError."""
    if text is None:
        return None
    bare = text.replace(",", "").replace("_", "")
    scale = {"k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}.get(bare[-1:].lower(), 1)
    digits = bare[:-1] if scale > 1 else bare
    if not digits.isascii() or not digits.replace(".", "", 1).isdigit() or len(digits) > 18:
        raise UsageError(f"{option} takes a number such as 500k, 5M or 1.5G, not {text!r}")
    return int(float(digits) * scale) if "." in digits else int(digits) * scale


def parse_memory(text: str | None) -> int | None:
    """`8GiB` as bytes. Raises Fault."""
    if text is None:
        return None
    from shapecalc.analysis.memory import parse_bytes

    return parse_bytes(text)


def with_numbers(words: list[str]) -> list[str]:
    """The words of a command line, with the 1 that `solve --write` stands for without a number."""
    if words[:1] != ["solve"]:
        return words
    numbered: list[str] = []
    for index, word in enumerate(words):
        numbered.append(word)
        following = words[index + 1 : index + 2]
        if word == "--write" and not (following and following[0].isdecimal()):
            numbered.append("1")
    return numbered


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
    """Run a command; its errors become reports on stderr, never tracebacks: as text, or as JSON
    where the command line asks for that."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for letters the terminal cannot show
    try:
        command()
        sys.stdout.flush()
        return
    except ShapecalcError as error:
        _report(error.diagnostics)
    except Fault as fault:
        _report([fault.at(None)])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except BrokenPipeError:  # the reader has gone, as with `show | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAULT)


def _report(diagnostics: Iterable[Diagnostic]) -> None:
    words = sys.argv[1:]
    given = [after for word, after in pairwise([*words, ""]) if word == "--format"]
    given += [word.partition("=")[2] for word in words if word.startswith("--format=")]
    if given[-1:] != ["json"]:
        return complain(diagnostics)
    import json

    from shapecalc.report.diagnostics import as_json

    return print(json.dumps(as_json(diagnostics), indent=2), file=sys.stderr)


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
