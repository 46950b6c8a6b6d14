"""Two networks side by side, as text and JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from shapecalc.analysis.diff import Difference, Mark
from shapecalc.layers.base import times
from shapecalc.report.table import call
from shapecalc.tracer import Row, Trace

_HEADINGS = ("", "path", "layer", "output", "params", "MACs")
_DISPENSABLE = ("path", "MACs", "params")
"""Columns that a narrow terminal does without, the first ones first."""
_LEAST = 24
"""Characters of a layer for which those columns are left out."""

_COLOURS: dict[str, str] = {"-": "\033[31m", "+": "\033[32m", "<": "\033[33m", ">": "\033[33m"}
_OFF = "\033[0m"


def as_text(
    found: Difference, *, width: int = 100, color: bool = False, every: bool = False
) -> str:
    """A line for each layer that only one network has, two for each that is not the same in both,
    then the totals. Layers alike are counted; with `every` they are written out."""
    lines = [f"- {_name(found.first)}", f"+ {_name(found.second)}", ""]
    rows = list(_rows(found, every))
    if rows:
        lines += [*_aligned(rows, width, color), ""]
    lines += [textwrap.fill(_parting(found), max(width, 30), subsequent_indent="  "), ""]
    return "\n".join([*lines, *_totals(found)])


def as_json(found: Difference) -> str:
    parting = found.parting
    data = {
        "first": _whole(found.first),
        "second": _whole(found.second),
        "difference": {
            "params": found.second.params - found.first.params,
            "macs": found.second.macs - found.first.macs,
        },
        "parting": parting
        and {
            "first": parting.first and parting.first.path,
            "second": parting.second and parting.second.path,
        },
        "layers": [
            {
                "mark": pair.mark,
                "differs": pair.differs,
                "first": pair.first and _layer(pair.first),
                "second": pair.second and _layer(pair.second),
            }
            for pair in found.pairs
        ],
    }
    return json.dumps(data, indent=2)


def _rows(found: Difference, every: bool) -> Iterator[tuple[str, ...]]:
    """The cells of each line of the table; of a line that only says something, one."""
    marks: dict[Mark, tuple[str, str]] = {
        "same": ("", ""),
        "changed": ("<", ">"),
        "removed": ("-", ""),
        "added": ("", "+"),
    }
    alike = 0
    for pair in (*found.pairs, None):
        if pair is not None and pair.mark == "same" and not every:
            alike += 1
            continue
        if alike:
            yield "", "", f"({alike} {'layer' if alike == 1 else 'layers'} alike)", "", "", ""
            alike = 0
        if pair is None:
            break
        mark = marks[pair.mark]
        if pair.first is not None:
            yield _cells(mark[0], pair.first)
        if pair.second is not None and pair.mark != "same":
            yield _cells(mark[1], pair.second)


def _cells(mark: str, row: Row) -> tuple[str, ...]:
    counts = (f"{number:,}" if number else "" for number in (row.params, row.macs))
    return mark, row.path, call(row), times(row.output_shape), *counts


def _aligned(rows: Sequence[tuple[str, ...]], width: int, color: bool) -> list[str]:
    columns = {
        heading: [heading, *cells]
        for heading, cells in zip(_HEADINGS, zip(*rows, strict=True), strict=True)
    }
    room = {heading: max(map(len, cells)) for heading, cells in columns.items()}
    for heading in _DISPENSABLE:
        others = sum(room[h] + 2 for h in columns if h != "layer")
        if others + min(room["layer"], _LEAST) <= width:
            break
        del columns[heading]
    others = sum(room[h] + 2 for h in columns if h != "layer")
    room["layer"] = max(12, min(room["layer"], width - others))
    lines = []
    for cells in zip(*columns.values(), strict=True):
        padded = (
            _fitted(cell, room[h]) if h in ("", "path", "layer", "output") else cell.rjust(room[h])
            for h, cell in zip(columns, cells, strict=True)
        )
        line = "  ".join(padded).rstrip()
        paint = _COLOURS.get(cells[0]) if color else None
        lines.append(f"{paint}{line}{_OFF}" if paint else line)
    return lines


def _fitted(text: str, room: int) -> str:
    return f"{text[: room - 3]}..." if len(text) > room else text.ljust(room)


def _parting(found: Difference) -> str:
    parting = found.parting
    if parting is None:
        return "all layers are the same"
    sides = [
        f"{call(row)} at {row.path}{_line(row)} of the {which}"
        for row, which in ((parting.first, "first"), (parting.second, "second"))
        if row is not None
    ]
    only = ", which the other does not have" if len(sides) == 1 else ""
    return f"they part at {' and '.join(sides)}{only}"


def _line(row: Row) -> str:
    place = row.place
    return f" ({place.file}:{place.line})" if place else ""


def _totals(found: Difference) -> list[str]:
    first, second = found.first, found.second
    rows: list[tuple[str, ...]] = [("", "first", "second", "difference")]
    counts = (
        ("layers", len(list(first.leaves)), len(list(second.leaves))),
        ("params", first.params, second.params),
        ("MACs", first.macs, second.macs),
        ("in-features", _features(first), _features(second)),
    )
    for name, ours, theirs in counts:
        if ours is None and theirs is None:
            continue
        change = "" if ours is None or theirs is None else _change(ours, theirs)
        cells = ("none" if n is None else f"{n:,}" for n in (ours, theirs))
        rows.append((name, *cells, change))
    shapes = (
        ("input", first.input_shape, second.input_shape),
        ("output", first.output_shape, second.output_shape),
    )
    rows += [(name, times(ours), times(theirs), "") for name, ours, theirs in shapes]
    room = [max(len(row[at]) for row in rows) for at in range(4)]
    return [
        "  ".join([row[0].ljust(room[0]), *map(str.rjust, row[1:], room[1:])]).rstrip()
        for row in rows
    ]


def _change(ours: int, theirs: int) -> str:
    if ours == theirs:
        return "0"
    share = f" ({(theirs - ours) / ours:+.1%})" if ours else ""
    if ours and theirs >= 10 * ours:
        share = f" (x{theirs / ours:,.0f})"
    return f"{theirs - ours:+,}{share}"


def _features(trace: Trace) -> int | None:
    linear = trace.first_linear
    return linear[0].input_shape[-1] if linear else None


def _name(trace: Trace) -> str:
    name = "".join(c if c.isprintable() else " " for c in trace.name)
    source = trace.spec.source
    return f"{name} ({source.file})" if source else name


def _whole(trace: Trace) -> dict[str, Any]:
    return {
        "name": trace.name,
        "input": trace.input_shape,
        "output": trace.output_shape,
        "params": trace.params,
        "macs": trace.macs,
        "first_linear_in_features": _features(trace),
    }


def _layer(row: Row) -> dict[str, Any]:
    return {
        "path": row.path,
        "name": row.name,
        "kind": row.kind,
        "args": row.arguments,
        "input_shape": row.input_shape,
        "output_shape": row.output_shape,
        "params": row.params,
        "macs": row.macs,
        "line": row.line,
    }
