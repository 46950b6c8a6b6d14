"""A Trace as a table, JSON, CSV, Markdown or LaTeX. Reads rows, computes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shapecalc.layers.base import times
from shapecalc.tracer import Row, Trace

HEADINGS = ("path", "layer", "output", "params", "MACs", "RF")
_LEFT = ("path", "layer", "formula")
_DISPENSABLE = (("RF", 64), ("path", 64), ("MACs", 32), ("params", 24))
"""Columns that a narrow terminal does without, the first ones first, and for each the characters of
a layer that it must leave room for."""
_LEAST = 12
"""Characters of a layer that stay in any case."""


def as_table(trace: Trace, *, explain: bool = False, width: int = 100, color: bool = False) -> str:
    """The table that `show` prints, its totals and the first linear layer's in-features.

    In a terminal narrower than the table, layers' arguments are cut and the least needed columns
    are left out one by one; formulas are left whole.
    """
    headings = list(HEADINGS) + (["formula"] if explain else [])
    columns = {h: [h, *(_CELLS[h](row) for row in trace.rows)] for h in headings}
    columns["layer"][1:] = _tree(trace, columns["layer"][1:])
    first = {"path": "input", "output": times(trace.input_shape)}
    for heading, cells in columns.items():
        cells.insert(1, first.get(heading, ""))
    dropped = []
    for name, least in _DISPENSABLE:
        longest = {heading: max(map(len, cells)) for heading, cells in columns.items()}
        if not explain:
            longest["layer"] = min(longest["layer"], least)
        if sum(longest.values()) + 2 * len(longest) - 2 <= width:
            break
        if explain and name == "params":
            break
        columns.pop(name)
        dropped.append(name)
        if name == "path":
            columns["layer"][2:] = map(_named, trace.rows, columns["layer"][2:])
    if "path" in dropped:
        columns["layer"][1] = "input"
    if not explain:
        others = (cells for heading, cells in columns.items() if heading != "layer")
        room = max(_LEAST, width - sum(max(map(len, cells)) + 2 for cells in others))
        columns["layer"] = [_cut(cell, room) for cell in columns["layer"]]
    lines = _aligned(columns)
    rule = "-" * min(width, max(map(len, lines)))
    bold, dim, off = ("\033[1m", "\033[2m", "\033[0m") if color else ("", "", "")
    lines = [f"{bold}{lines[0]}{off}", f"{dim}{rule}{off}", *lines[1:], f"{dim}{rule}{off}"]
    below = [f"(too narrow for: {', '.join(reversed(dropped))})"] if dropped else []
    return "\n".join([*lines, *_wrapped([*below, *summary(trace)], width)])


def cells(trace: Trace) -> list[list[str]]:
    """A row of text for the input and for each layer, below HEADINGS; layers are indented below
    what holds them."""
    layers = _tree(trace, [call(row) for row in trace.rows])
    rows = [
        [layer if heading == "layer" else _CELLS[heading](row) for heading in HEADINGS]
        for row, layer in zip(trace.rows, layers, strict=True)
    ]
    first = {"path": "input", "output": times(trace.input_shape)}
    return [[first.get(heading, "") for heading in HEADINGS], *rows]


def _tree(trace: Trace, cells: Sequence[str]) -> Iterator[str]:
    """Layers indented below what holds them; the first of a branch or a shortcut says so."""
    within: dict[str, tuple[int, str]] = {}
    for row, cell in zip(trace.rows, cells, strict=True):
        depth, said = within.get(row.path, (0, ""))
        yield f"{'  ' * depth}{said}{cell}"
        arms = set()
        for path in row.children:
            arm = path[len(row.path) + 1 :].rpartition(".")[0]
            begins = arm not in arms and arm != "layers"
            said = (
                "" if not begins or not arm else f"branch {arm}: " if arm.isdigit() else f"{arm}: "
            )
            arms.add(arm)
            within[path] = depth + 1, said


def _named(row: Row, cell: str) -> str:
    """A cell of the tree with the layer's name, which its path would have told."""
    bare = cell.lstrip(" ")
    indent = " " * (len(cell) - len(bare))
    return f"{indent}{row.name}: {bare}" if row.name else cell


def summary(trace: Trace) -> list[str]:
    """The totals, and in its own line the in-features of the first linear layer."""
    total = (
        f"{_line(trace.name)}: {trace.params:,} params, {trace.macs:,} MACs for one sample "
        f"({quantity(trace.macs)}), output {times(trace.output_shape)}"
    )
    lines = [total]
    if trace.buffers:
        lines[0] += f", {trace.buffers:,} buffers"
    found = trace.first_linear
    if found:
        row, factors = found
        product = " x ".join(map(str, factors))
        features = row.input_shape[-1]
        equals = f"{product} = {features}" if len(factors) > 1 else str(features)
        lines.append(f"in-features of the first linear layer ({row.path}): {equals}")
    if trace.spec.variants:
        lines.append(f"variants, chosen by @ after the file: {', '.join(trace.spec.variants)}")
    return lines


def as_json(trace: Trace) -> str:
    """The interface for other programs; it only grows."""
    import json

    data = {
        "name": trace.name,
        "input": trace.input_shape,
        "output": trace.output_shape,
        "layers": [_object(row) for row in trace.rows],
        "totals": {"params": trace.params, "buffers": trace.buffers, "macs": trace.macs},
        "first_linear_in_features": trace.first_linear and trace.first_linear[0].input_shape[-1],
    }
    return json.dumps(data, indent=2)


def as_csv(trace: Trace) -> str:
    """A line for each row, with a heading."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = (
        *("path", "name", "kind", "input_shape", "output_shape", "params", "buffers", "macs"),
        *("receptive_field", "jump", "formula", "line"),
    )
    writer.writerow(keys)
    for row in trace.rows:
        data = _object(row)
        cells = (times(data[k]) if k.endswith("_shape") else data[k] for k in keys)
        writer.writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue().rstrip("\n")


def as_markdown(trace: Trace, *, explain: bool = False) -> str:
    headings = list(HEADINGS) + (["formula"] if explain else [])

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = ["---" if h in (*_LEFT, "output") else "---:" for h in headings]
    rows = [[_plain(_CELLS[h](row)) for h in headings] for row in trace.rows]
    totals = [_plain(text) for text in summary(trace)]
    return "\n".join([*map(line, (headings, rule, *rows)), "", "  \n".join(totals)])


def as_latex(trace: Trace, *, explain: bool = False) -> str:
    headings = list(HEADINGS) + (["formula"] if explain else [])
    columns = "".join("l" if h in (*_LEFT, "output") else "r" for h in headings)

    def line(cells: Sequence[str]) -> str:
        return f"  {' & '.join(map(_escaped, cells))} \\\\"

    rows = [line([_CELLS[h](row) for h in headings]) for row in trace.rows]
    return "\n".join(
        [
            *(f"% {text}" for text in summary(trace)),
            f"\\begin{{tabular}}{{{columns}}}",
            "  \\hline",
            line(headings),
            "  \\hline",
            *rows,
            "  \\hline",
            "\\end{tabular}",
        ]
    )


def quantity(number: int) -> str:
    """A count in short: 2.30 G."""
    value = float(number)
    for prefix in ("", " k", " M", " G", " T", " P"):
        if value < 1000 or prefix == " P":
            return f"{number}" if not prefix else f"{value:.2f}{prefix}"
        value /= 1000
    raise AssertionError


def call(row: Row) -> str:
    """A layer with its arguments, as torch would write it: conv(3, 8, kernel_size=3)."""
    if row.kind == "sequential":
        return f"sequential of {len(row.children)}"
    words = []
    arguments = row.given  # what a block computes for itself is left out
    for name, value in arguments.items():
        field = type(row.layer).model_fields.get(name)  # None for the parameters of a block
        is_default = field is not None and not field.is_required() and value == field.default
        if name == "stride" and row.kind.endswith("_pool"):
            is_default = value == arguments["kernel_size"]
        text = _value(name, value)
        if name in _SIZES or (name == row.layer.main and not is_default):
            words.append(text)
        elif not is_default:
            words.append(f"{name}={text}")
    return f"{row.kind}({', '.join(words)})" if words else row.kind


def _value(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return times(value) if name in _BY_AXIS else f"[{', '.join(map(str, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_BY_AXIS = (
    *("kernel_size", "stride", "padding", "output_padding", "dilation"),
    *("output_size", "size", "normalized_shape"),
)
"""Arguments of one number for each axis, written as sizes are."""

_SIZES = ("in_channels", "in_features", "num_features", "num_channels", "normalized_shape")


def _object(row: Row) -> dict[str, Any]:
    data = {
        "path": row.path,
        "name": row.name,
        "kind": row.kind,
        "args": row.arguments,
        "input_shape": row.input_shape,
        "output_shape": row.output_shape,
        "params": row.params,
        "buffers": row.buffers,
        "macs": row.macs,
        "receptive_field": row.receptive_field,
        "receptive_fields": row.receptive_fields,
        "jump": None if row.jump is None else _number(row.jump),
        "activation_bytes": row.activation_bytes,
        "formula": row.formula,
        "line": row.line,
        "in": [said for said, _ in row.at.way],
    }
    return {**data, "children": row.children} if row.is_container else data


def _number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


_CELLS: dict[str, Callable[[Row], str]] = {
    "path": lambda row: row.path,
    "layer": lambda row: call(row),
    "output": lambda row: times(row.output_shape),
    "params": lambda row: _count(row.params),
    "MACs": lambda row: _count(row.macs),
    "RF": lambda row: (
        times(row.receptive_fields)
        if len(set(row.receptive_fields)) > 1
        else str(row.receptive_field or "")
    ),
    "formula": lambda row: row.formula,
}


def _aligned(columns: dict[str, list[str]]) -> list[str]:
    """The cells in columns two spaces apart."""
    padded = []
    for heading, cells in columns.items():
        room = max(map(len, cells))
        left = heading in (*_LEFT, "output")
        padded.append([cell.ljust(room) if left else cell.rjust(room) for cell in cells])
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 3]}..."


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    """The lines, broken where they are too long, but not within a product."""
    import textwrap

    return [
        part.replace("\0", " ")
        for line in lines
        for part in textwrap.wrap(
            re.sub(r" (x|=) ", "\0\\1\0", line), max(width, 30), subsequent_indent="  "
        )
    ]


def _line(text: str) -> str:
    """A text of the user's as one line that no terminal takes for a command."""
    return "".join(c if c.isprintable() else " " for c in text)


def _plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"[\\`*|<\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _escaped(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": "\\textasciitilde{}", "^": "\\^{}"}
    return "".join(special.get(c, c) for c in text.replace("\\", "/"))
