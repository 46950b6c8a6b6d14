"""Pictures as SVG files: learning curves, the confusion matrix, and numbers by input size.

Text stays text, so that it can be searched and read aloud. The reader's fonts are unknown, so
room is set aside by `_width`, which errs on the wide side, and never by measuring a font of the
machine that draws. The same input gives the same bytes, whatever the user's matplotlibrc says.
"""

import io
import math
import os
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

__all__ = ["confusion", "curves", "stairs"]

_TRAIN, _VALID = "#D55E00", "#0072B2"  # Okabe and Ito: apart for every kind of colour vision
_INK, _GREY, _FAINT, _GRID = "#222222", "#5F5F5F", "#9A9A9A", "#E4E4E4"
_FONT = 14.0  # points; about 9 pixels where a phone shows the picture 360 pixels wide
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif"],
    "font.size": _FONT,
    "svg.fonttype": "none",
    "svg.hashsalt": "shapecalc",
    "text.color": _INK,
    "text.parse_math": False,
}

_PANEL = 190.0, 165.0  # points: width and height of the axes of one learning curve
_NUMBERED = 30  # the most classes for which counts are printed in the cells
_BOLD = 1.35  # a title, larger and bold, beside normal text of the same letters
_NAME = 13.0  # the widest class name, in em; longer ones lose their middle


def curves(epochs: Sequence[Mapping[str, float | None]], path: Path, *, title: str = "") -> None:
    """Write an SVG of a run: loss on the left, accuracy in % on the right.

    Each mapping has `epoch` (from 1), `train_loss`, `valid_loss`, `train_accuracy` and
    `valid_accuracy` (0 to 1); a value that is missing, None or not finite is skipped. The best
    epoch is the first with the highest validation accuracy or, where there is none, with the
    lowest validation loss; it is marked in both panels. The loss has a logarithmic axis where it
    spans more than a factor of 30. Raises ValueError if `epochs` is empty.
    """
    if not epochs:
        raise ValueError("no epochs to draw")
    best = _best(epochs)
    width, height = 590.0, 290.0 if title else 262.0
    with _drawing():
        figure = _figure(width, height)
        if title:
            figure.text(0.5, 1 - 10 / height, _fit(title, width / _FONT / _BOLD), ha="center",
                        va="top", size=_FONT * 1.1, weight="bold")  # fmt: skip
        panels = (("loss", "Loss", 1.0, "{:.3g}"), ("accuracy", "Accuracy, %", 100.0, "{:.2f} %"))
        for column, (key, name, scale, form) in enumerate(panels):
            corner = (50 + 300 * column) / width, 50 / height
            axes = figure.add_axes((*corner, _PANEL[0] / width, _PANEL[1] / height))
            axes.set_title(name, loc="left", size=_FONT, weight="bold", pad=25)
            _panel(axes, epochs, key, scale)
            if best is not None:
                lead = "best " if best[0] == key else ""
                _mark(axes, _points(epochs, f"valid_{key}", scale), best[1], lead + form)
        _save(figure, path, title or "Loss and accuracy by epoch")


def confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], path: Path, *, title: str = ""
) -> None:
    """Write an SVG of a confusion matrix of counts: rows are true, columns predicted classes.

    A cell is coloured by its share of the row, on a square root scale so that rare mistakes show,
    and bears its count where there are at most 30 classes. Beside each row stands the recall,
    below each column the precision, in %; a dash where it is undefined. Names longer than about
    20 letters lose their middle. Raises ValueError if the matrix is not square, does not match
    `classes`, is empty or has a negative count.
    """
    count = len(classes)
    if not count or len(matrix) != count or any(len(row) != count for row in matrix):
        raise ValueError(f"the matrix is not {count} by {count}, one row and column for a class")
    if any(value < 0 for row in matrix for value in row):
        raise ValueError("a count is negative")

    rows = [sum(row) for row in matrix]
    columns = [sum(column) for column in zip(*matrix, strict=True)]
    shares = [[value / (total or 1) for value in row]
              for row, total in zip(matrix, rows, strict=True)]  # fmt: skip
    recall = [_percent(matrix[i][i], rows[i]) for i in range(count)]
    precision = [_percent(matrix[i][i], columns[i]) for i in range(count)]
    names = [_fit(name, _NAME) for name in classes]

    # All lengths are points, measured from the top left corner of the picture.
    numbered = count <= _NUMBERED
    digits = max(_width(str(value)) for row in matrix for value in row)
    number = 13.0 if count <= 12 else 10.0
    cell = max(min(440 / count, 76.0), 18.0, digits * number + 6 if numbered else 0)
    size = min(_FONT, cell * 0.62)
    name_width = max(map(_width, [*names, "precision, %"])) * size
    slanted = max(map(_width, names)) * size > cell - 4
    upright = max(map(_width, precision)) * size > cell - 4
    heading_width = max(map(_width, [*names, "recall, %"])) * size
    rise = heading_width * 0.71 + size * 0.5 if slanted else size * 1.2
    left = 10 + _FONT * 1.6 + name_width + 6
    top = 10 + (_FONT * 1.8 if title else 0) + _FONT * 1.5 + rise + 6
    side = cell * count
    recall_width = _width("recall, %") * size
    overhang = max(recall_width * (0.71 if slanted else 1), _width("100.0") * size) + 18
    if slanted:
        overhang = max(overhang, heading_width * 0.71 - cell / 2)
    width = max(left + side + overhang, 240.0)
    key = top + side + 12 + size * (3 if upright else 1.4)
    height = key + (0 if numbered else 34)
    blues = colormaps["Blues"]

    with _drawing():
        figure = _figure(width, height)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        edges = [[start + cell * i for i in range(count + 1)] for start in (left, top)]
        axes.pcolormesh(*edges, [[math.sqrt(share) for share in row] for row in shares],
                        cmap=blues, vmin=0, vmax=1, edgecolors="white",
                        linewidth=min(cell / 25, 1.5))  # fmt: skip
        if title:
            axes.text(width / 2, 10, _fit(title, width / _FONT / _BOLD), ha="center", va="top",
                      size=_FONT * 1.1, weight="bold")  # fmt: skip
        axes.text(10 + _FONT / 2, top + side / 2, "true", ha="center", va="center", color=_GREY,
                  rotation=90, rotation_mode="anchor")  # fmt: skip
        axes.text(left + side / 2, top - rise - 8, "predicted", ha="center", color=_GREY)

        for i in range(count):
            x, y = left + cell * (i + 0.5), top + cell * (i + 0.5)
            axes.text(left - 6, y, names[i], ha="right", va="center_baseline", size=size)
            _heading(axes, x, top - 6, names[i], size, slanted, _INK)
            axes.text(left + side + 8, y, recall[i], va="center_baseline", size=size, color=_GREY)
            if upright:
                axes.text(x, top + side + 6, precision[i], ha="right", va="center_baseline",
                          size=size, color=_GREY, rotation=90, rotation_mode="anchor")  # fmt: skip
            else:
                axes.text(x, top + side + 6, precision[i], ha="center", va="top", size=size,
                          color=_GREY)  # fmt: skip
            for j in range(count if numbered else 0):
                ink = _ink_on(blues(math.sqrt(shares[i][j]))) if matrix[i][j] else _FAINT
                axes.text(left + cell * (j + 0.5), y, str(matrix[i][j]), ha="center",
                          va="center_baseline", size=number, color=ink)  # fmt: skip
        # The headings of the two margins.
        shift = 0.0 if slanted else recall_width / 2
        _heading(axes, left + side + 8 + shift + (size if slanted else 0), top - 6, "recall, %",
                 size, slanted, _GREY)  # fmt: skip
        axes.text(left - 6, top + side + 6, "precision, %", ha="right", va="top", size=size,
                  color=_GREY)  # fmt: skip
        if not numbered:
            _key(axes, left, key + 10)
        _save(figure, path, title or "Confusion matrix")


def stairs(
    runs: Sequence[tuple[int, int, int]], path: Path, *, title: str, across: str, today: int
) -> None:
    """Write an SVG of a number that is the same over runs of sizes: (first, last, number) of each.

    A run is a step, of which the one that holds `today` is marked and bears its number; between
    runs that do not touch there is a gap. Raises ValueError if `runs` is empty.
    """
    if not runs:
        raise ValueError("no sizes to draw")
    ticks = max(_width(f"{number:,}") for *_, number in runs) * _FONT * 0.93
    left, right, width, height = 24 + ticks, 24.0, 590.0, 340.0
    panel = width - left - right, height - 50 - 66
    first, last = runs[0][0], runs[-1][1]
    room = 0.02 * (last - first) or 0.5
    with _drawing():
        figure = _figure(width, height)
        figure.text(0.5, 1 - 10 / height, _fit(title, width / _FONT / _BOLD), ha="center",
                    va="top", size=_FONT * 1.1, weight="bold")  # fmt: skip
        axes = figure.add_axes((left / width, 50 / height, panel[0] / width, panel[1] / height))
        _frame(axes, across)
        axes.set_xlim(first - room, last + room)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_ylim(0, 1.06 * max(number for *_, number in runs))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        for start, end, number in runs:
            here = start <= today <= end
            style: dict[str, Any] = {"color": _VALID if here else _GREY}
            if end + 1 - start < 0.005 * (last - first):  # too short to be seen as a line
                axes.plot([(start + end) / 2], [number], "o", markersize=4, **style)
            else:
                axes.plot([start - 0.5, end + 0.5], [number] * 2, linewidth=3.5 if here else 2,
                          solid_capstyle="butt", **style)  # fmt: skip
            if here:
                _today(axes, today, number, panel[0])
        _save(figure, path, title)


def _today(axes: Axes, today: int, number: int, width: float) -> None:
    """Mark today's size, and write its number above the panel, where no step can cross it."""
    axes.axvline(today, color=_VALID, linewidth=1, linestyle=(0, (2, 2)), zorder=1.5)
    axes.plot([today], [number], "o", color=_VALID, markersize=8, markeredgecolor="white",
              markeredgewidth=1.5, clip_on=False, zorder=5)  # fmt: skip
    label = f"today, {today}: {number:,}"
    half = _width(label) * _FONT * 0.93 / width / 2
    low, high = axes.get_xlim()
    x = min(max((today - low) / (high - low), half), max(1 - half, half))
    axes.text(x, 1.03, label, transform=axes.transAxes, ha="center", color=_VALID,
              size=_FONT * 0.93)  # fmt: skip


def _frame(axes: Axes, across: str) -> None:
    """The grid and the two spines that every panel has, and what its horizontal axis is."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=5, labelsize=_FONT * 0.93, labelcolor=_GREY)
    axes.set_xlabel(across, color=_GREY, labelpad=2)


def _panel(
    axes: Axes, epochs: Sequence[Mapping[str, float | None]], key: str, scale: float
) -> None:
    """Draw the two lines of one quantity, each named at its right end."""
    _frame(axes, "epoch")

    lines = {name: _points(epochs, f"{name}_{key}", scale) for name in ("train", "valid")}
    colours = {"train": _TRAIN, "valid": _VALID}
    for name, points in lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], color=colours[name],
                  linewidth=2 if len(epochs) < 200 else 1.3, clip_on=False,
                  marker="o" if len(points) <= 20 else "", markersize=5)  # fmt: skip
    numbers = [number for row in epochs if (number := _number(row, "epoch")) is not None]
    first, last = min(numbers, default=1), max(numbers, default=1)
    room = 0.03 * (last - first) or 0.5
    axes.set_xlim(first - room, last + room)
    axes.xaxis.set_major_locator(
        MaxNLocator(4, integer=True, min_n_ticks=1, steps=[1, 2, 2.5, 5, 10])
    )
    _value_axis(axes, [value for points in lines.values() for _, value in points], key)

    ends = {name: float(axes.transAxes.inverted().transform(
                axes.transData.transform(points[-1]))[1])
            for name, points in lines.items() if points}  # fmt: skip
    for name, y in _apart(ends, gap=1.2 * _FONT / _PANEL[1]).items():
        axes.text(1.03, y, name, transform=axes.transAxes, va="center_baseline",
                  color=colours[name])  # fmt: skip


def _value_axis(axes: Axes, values: Sequence[float], key: str) -> None:
    """Scale the vertical axis to the values: 1-2-5 ticks, logarithmic for a loss of wide range."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    if key == "loss" and low > 0 and high / low > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 999 else (1.0, 3.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        margin = (high / low) ** 0.06
        axes.set_ylim(low / margin, high * margin)
    else:
        # At least a little room, lest noise of one epoch fill the panel; none beyond 0 and 100 %.
        least = 0.3 if key == "accuracy" else 0.05 * abs(high) or 0.5
        margin = max(0.08 * (high - low), least)
        floor = 0.0 if low >= 0 else -math.inf
        ceiling = 100.0 if key == "accuracy" and high <= 100 else math.inf
        axes.set_ylim(max(low - margin, floor), min(high + margin, ceiling))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(plain)


def _mark(axes: Axes, points: Sequence[tuple[float, float]], best: float, form: str) -> None:
    """Mark the best epoch and write its value above the panel, where no line can cross it."""
    value = dict(points).get(best)
    if value is None:
        return
    axes.axvline(best, color=_VALID, linewidth=1, linestyle=(0, (2, 2)), zorder=1.5)
    axes.plot([best], [value], "o", color=_VALID, markersize=8, markeredgecolor="white",
              markeredgewidth=1.5, clip_on=False, zorder=5)  # fmt: skip
    label = f"{form.format(value)}, epoch {best:g}"
    half = _width(label) * _FONT * 0.93 / _PANEL[0] / 2
    low, high = axes.get_xlim()
    x = min(max((best - low) / (high - low), half), max(1 - half, half))
    axes.text(x, 1.03, label, transform=axes.transAxes, ha="center", color=_VALID,
              size=_FONT * 0.93)  # fmt: skip


def _best(epochs: Sequence[Mapping[str, float | None]]) -> tuple[str, float] | None:
    """The deciding quantity and the epoch where it is best on validation; the first of equals."""
    for key, sign in (("accuracy", 1), ("loss", -1)):
        if points := _points(epochs, f"valid_{key}", sign):
            return key, max(points, key=lambda point: point[1])[0]
    return None


def _points(
    epochs: Sequence[Mapping[str, float | None]], key: str, scale: float
) -> list[tuple[float, float]]:
    """(epoch, scaled value) of the rows that have both."""
    pairs = ((_number(row, "epoch"), _number(row, key)) for row in epochs)
    return [(x, y * scale) for x, y in pairs if x is not None and y is not None]


def _number(row: Mapping[str, float | None], key: str) -> float | None:
    value = row.get(key)
    return value if value is not None and math.isfinite(value) else None


def _apart(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Move two heights of the unit interval until they are `gap` apart and within it."""
    if len(heights) < 2:
        return dict(heights)
    (below, low), (above, high) = sorted(heights.items(), key=lambda item: item[1])
    push = max(0.0, (gap - (high - low)) / 2)
    # Neither into the labels of the horizontal axis nor into the line above the panel.
    lift = max(0.0, push - low) - max(0.0, high + push - 1 + gap / 3)
    return {below: low - push + lift, above: high + push + lift}


def _heading(
    axes: Axes, x: float, y: float, text: str, size: float, slanted: bool, colour: str
) -> None:
    if slanted:
        axes.text(x + size * 0.2, y, text, size=size, color=colour, rotation=45,
                  rotation_mode="anchor")  # fmt: skip
    else:
        axes.text(x, y, text, size=size, color=colour, ha="center")


def _key(axes: Axes, x: float, y: float) -> None:
    """The meaning of the colours, for matrices without counts in the cells."""
    axes.text(x, y, "share of row, %", size=12, color=_GREY, va="center_baseline")
    x += _width("share of row, %") * 12 + 8
    for share in (0, 1, 5, 20, 50, 100):
        shade = colormaps["Blues"](math.sqrt(share / 100))
        axes.fill_between([x, x + 34], y - 10, y + 10, color=shade, linewidth=0)
        axes.text(x + 17, y, str(share), size=12, ha="center", va="center_baseline",
                  color=_ink_on(shade))  # fmt: skip
        x += 35


def _ink_on(shade: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has more contrast (WCAG 2 relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shade[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.19 else _INK


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "\N{EN DASH}"
    return "100" if part == whole else f"{min(100 * part / whole, 99.9):.1f}"


def _width(text: str) -> float:
    """An upper estimate of the width of a text in em, for the fonts of `_STYLE`."""
    return sum(map(_advance, text))


def _advance(char: str) -> float:
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF" or char in "MWmw@%\N{HORIZONTAL ELLIPSIS}":
        return 1.0
    return 0.75 if char.isupper() else 0.36 if char in "ijl.,:;|!' ft" else 0.64


def _fit(text: str, room: float) -> str:
    """The text on one line, without what XML forbids, its middle cut to fit `room` em."""
    text = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs", "Cn")
                   else c for c in " ".join(text.split()))  # fmt: skip
    if _width(text) <= room:
        return text
    keep = len(text) - 1
    while keep > 1 and _width(text[: (keep + 1) // 2] + "…" + text[-(keep // 2) :]) > room:
        keep -= 1
    return text[: (keep + 1) // 2].rstrip() + "…" + text[-(keep // 2) :].lstrip()


def _figure(width: float, height: float) -> Figure:
    """An empty white figure; lengths in points."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="white")
    FigureCanvasSVG(figure)
    return figure


@contextmanager
def _drawing() -> Iterator[None]:
    """matplotlib's defaults and our style, the caller's settings put back at the end."""
    defaults = {key: value for key, value in rcParamsDefault.items() if "backend" not in key}
    with rc_context({**defaults, **_STYLE}), warnings.catch_warnings():
        # The glyph is missing here; the reader's browser has more fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _save(figure: Figure, path: Path, title: str) -> None:
    """Write the SVG whole or not at all."""
    buffer = io.BytesIO()
    about = {"Date": None, "Creator": "shapecalc", "Title": _fit(title, math.inf)}
    figure.savefig(buffer, format="svg", metadata=about)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
