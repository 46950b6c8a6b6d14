"""Diagnostics as text with the lines of the spec, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from shapecalc.diagnostics import Diagnostic, Place

_RED, _YELLOW, _BLUE, _BOLD, _OFF = "\033[1;31m", "\033[1;33m", "\033[1;34m", "\033[1m", "\033[0m"


def render(diagnostics: Iterable[Diagnostic], *, color: bool = False, width: int = 100) -> str:
    """The report that a user reads; one blank line between two diagnostics."""
    return "\n\n".join(_one(diagnostic, color, width) for diagnostic in diagnostics)


def as_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """One object for each diagnostic, for editors and other programs."""
    return [
        {
            "code": d.code,
            "severity": d.severity,
            "message": d.message,
            "help": d.help,
            "path": d.path,
            "file": d.place.file if d.place else None,
            "line": d.place.line if d.place else None,
            "column": d.place.column if d.place else None,
            "end_column": d.place.end if d.place else None,
            "in": [{"what": said, "line": at.line if at else None} for said, at in d.trail],
        }
        for d in diagnostics
    ]


def _one(diagnostic: Diagnostic, color: bool, width: int) -> str:
    def paint(text: str, code: str) -> str:
        return f"{code}{text}{_OFF}" if color else text

    message, marginal, mend = map(
        _printable, (diagnostic.message, diagnostic.note, diagnostic.help)
    )
    tint = _RED if diagnostic.severity == "error" else _YELLOW
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", tint)
    body = _wrap(message, width, len(diagnostic.severity) + 8, "")
    lines = [f"{head}: {paint(body, _BOLD)}"]
    place = diagnostic.place
    margin = " " * (len(str(place.line)) if place else 1)
    bar = paint("|", _BLUE)
    if place:
        path = f" ({diagnostic.path})" if diagnostic.path else ""
        where = f"{place.file}:{place.line}:{place.column}{path}"
        lines.append(f"{margin}{paint('-->', _BLUE)} {where}")
        text, column, end = _excerpt(place.text, place.column, place.end, width - len(margin) - 3)
        caret = paint("^" * max(1, end - column), tint)
        room = width - len(margin) - 3
        beside = max(column, end - 1) + 1 + len(marginal) <= room
        note = f" {paint(marginal, tint)}" if marginal and beside else ""
        lines += [
            f"{margin} {bar}",
            f"{paint(str(place.line), _BLUE)} {bar} {text}",
            f"{margin} {bar} {' ' * (column - 1)}{caret}{note}",
        ]
        if marginal and not beside:  # below the caret, as far to the left as it needs
            indent = " " * max(0, min(column - 1, room - len(marginal)))
            lines.append(f"{margin} {bar} {indent}{paint(marginal, tint)}")
    elif diagnostic.path:
        lines.append(f"{margin}{paint('-->', _BLUE)} {diagnostic.path}")
    below = [("in", _step(said, at)) for said, at in reversed(diagnostic.trail)]
    if mend:
        below.append(("help", mend))
    if below and place:
        lines.append(f"{margin} {bar}")
    for word, said in below:
        lead = f"{margin} = {word}: "
        wrapped = _wrap(said, width, len(lead), " " * len(lead))
        lines.append(f"{margin} {paint('=', _BLUE)} {paint(word, _BOLD)}: {wrapped}")
    return "\n".join(lines)


def _step(said: str, at: Place | None) -> str:
    """A block call or a turn of a repeat on the way in, and its place."""
    return f"{_printable(said)} at {at.file}:{at.line}:{at.column}" if at else _printable(said)


def _wrap(text: str, width: int, first: int, indent: str) -> str:
    """Text in lines of at most `width`, the first of which begins at column `first`."""
    return textwrap.fill(
        text,
        max(width, 40),
        initial_indent=" " * first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).lstrip(" ")


def _printable(text: str) -> str:
    """A text of as many characters, none of which moves a terminal's cursor or changes colours."""
    return "".join(" " if c.isspace() else c if c.isprintable() else "?" for c in text)


def _excerpt(text: str, column: int, end: int, room: int) -> tuple[str, int, int]:
    """A line without control characters, cut so that the place is seen in a narrow terminal."""
    room = max(room, 30)
    end = min(end, len(text) + 2)
    if len(text) <= room:
        return _printable(text), column, end
    start = max(0, min(column - 1 - room // 3, len(text) - room))
    cut = text[start : start + room]
    cut = (
        ("..." + cut[3:] if start else cut)[: room - 3] + "..."
        if start + room < len(text)
        else ("..." + cut[3:] if start else cut)
    )
    return _printable(cut), column - start, min(end - start, room + 1)
