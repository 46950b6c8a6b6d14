"""Line charts as SVG, in a page or in a file of their own.

Every colour has a name, which is the class of what bears it: the file says the light ones, and a
style sheet of `dark_style` the dark ones for readers who ask for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Point = tuple[float, float]

COLOURS = {
    "paper": ("#ffffff", "#14181f"),
    "ink": ("#1c2128", "#e8ebf0"),
    "grey": ("#59626e", "#a3adba"),
    "grid": ("#e3e7ec", "#2b323c"),
    "train": ("#b84e00", "#ff9d57"),
    "valid": ("#0067a8", "#5cb8ff"),
}
"""Names with the colour on light and on dark paper, each with a contrast of 4.5 as text."""

SERIES = (
    *(("#0067a8", "#5cb8ff"), ("#b84e00", "#ff9d57"), ("#087a55", "#3fd29b")),
    *(("#a3368a", "#f28bd9"), ("#7a5c00", "#e0c04a"), ("#5a4fcf", "#a9a2ff")),
    *(("#b3261e", "#ff8f87"), ("#40606b", "#9cc3d0")),
)
"""Colours of many lines; of more than there are colours, the further ones are dashed."""

PALETTE = {**COLOURS, **{f"s{number}": pair for number, pair in enumerate(SERIES)}}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_WIDTH, _HEIGHT = 460, 264
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 410, 30, 224
"""The plot within a chart; the title stands above it, and lines are named to its right."""
_SIZE = 13
_MOST = 1000
"""Points of a line that are drawn; of more, every so many."""


@dataclass(frozen=True)
class Line:
    """A line of a chart in one of the colours of PALETTE. Without a name none stands at its end."""

    name: str
    points: Sequence[Point]
    colour: str
    dashes: str = ""
    dots: bool = False
    """Whether the points stand alone, as a backdrop without values of its own."""


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`."""

    low: float
    high: float
    log: bool = False
    percent: bool = False
    whole: bool = False

    @classmethod
    def around(
        cls,
        values: Iterable[float],
        *,
        log: bool = False,
        percent: bool = False,
        whole: bool = False,
        room: float = 0.06,
    ) -> Scale:
        """A scale that holds the values, with some room; shares stay between 0 and 1."""
        found = [value for value in values if not log or value > 0]
        if not found:
            return cls(0.1, 1.0, log, percent, whole) if log else cls(0.0, 1.0, log, percent, whole)
        low, high = min(found), max(found)
        if log:
            factor = (high / low) ** room if high > low else 2.0
            return cls(low / factor, high * factor, log, percent, whole)
        margin = room * (high - low) or (0.5 if whole else 0.5 * abs(high) or 0.5)
        floor = 0.0 if low >= 0 and not whole else -math.inf
        ceiling = 1.0 if percent and high <= 1 else math.inf
        return cls(max(low - margin, floor), min(high + margin, ceiling), log, percent, whole)

    def share(self, value: float) -> float:
        """Where a value stands, from 0 at the low end to 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Round values within the scale, with how they are written."""
        values = self._decades() if self.log else self._round(most)
        return [(value, _number(value * 100 if self.percent else value)) for value in values]

    def _decades(self) -> list[float]:
        decades = math.log10(self.high / self.low)
        leads = (1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 5)
        every = max(1, math.ceil(decades / 9))
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        exact = [float(f"{lead}e{power}") for power in powers if not power % every
                 for lead in leads]  # fmt: skip
        return [value for value in exact if self.low <= value <= self.high]

    def _round(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(lead * size for lead in (1, 2, 2.5, 5, 10) if lead * size >= rough * 0.999)
        if self.whole:
            step = max(1.0, float(math.ceil(step)))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    across: str = "epoch",
    along: Scale | None = None,
    up: Scale | None = None,
    mark: tuple[float, str] | None = None,
    about: str = "",
    named: bool = True,
) -> str:
    """An `<svg>` of some lines over one axis, each `named` at its right end.

    `mark` is a place on that axis with a word on it; `about` is read aloud in place of the
    picture. What a page needs to show values under the pointer is in `data-chart`.
    """
    points = [point for line in lines for point in line.points]
    along = along or Scale.around((x for x, _ in points), whole=True, room=0.03)
    up = up or Scale.around(y for _, y in points)

    def x_of(value: float) -> float:
        return round(_LEFT + along.share(value) * (_RIGHT - _LEFT), 1)

    def y_of(value: float) -> float:
        return round(_BOTTOM - up.share(value) * (_BOTTOM - _TOP), 1)

    parts = [_text(0, 14, title, "ink", weight=600)]
    for value, said in up.ticks(5):
        y = y_of(value)
        parts.append(_rule(_LEFT, y, _RIGHT, y, "grid"))
        parts.append(_text(_LEFT - 8, y + 4.5, said, "grey", anchor="end"))
    for value, said in along.ticks(6):
        parts.append(_text(x_of(value), _BOTTOM + 20, said, "grey", anchor="middle"))
    parts.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 37, across, "grey", anchor="middle"))
    if mark is not None:
        x = x_of(mark[0])
        parts.append(_rule(x, _TOP, x, _BOTTOM, "grey", dashes="3 3"))
        parts.append(_text(_RIGHT, 14, mark[1], "grey", anchor="end"))
    parts += [_drawn(line, x_of, y_of) for line in lines if line.points]
    ends = {line.name: y_of(line.points[-1][1]) for line in lines if line.points and line.name}
    ends = ends if named else {}
    colours = {line.name: line.colour for line in lines}
    for name, y in _apart(ends).items():
        parts.append(_text(_RIGHT + 8, y + 4.5, name, colours[name]))
    data = {
        "plot": [_LEFT, _RIGHT, _TOP, _BOTTOM],
        "across": across,
        "from": along.low,
        "to": along.high,
        "log": along.log,
        "percent": up.percent,
        "lines": [[ln.name, thinned(ln.points)] for ln in lines if ln.points and not ln.dots],
    }
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="{FONT}" font-size="{_SIZE}" role="img" '
        f'aria-label="{escape(plain(about or title))}" data-chart="{escape(json.dumps(data))}">'
        f"{''.join(parts)}</svg>"
    )


def sheet(charts: Sequence[str], *, title: str, legend: Sequence[tuple[str, Line]] = ()) -> str:
    """A file with charts side by side, a title above and a key below them."""
    gap, top = 24, 52
    width = gap + len(charts) * (_WIDTH + gap)
    below = top + _HEIGHT + 24
    height = below + 22 * len(legend) + 2
    placed = (
        chart.replace("<svg ", f'<svg x="{gap + number * (_WIDTH + gap)}" y="{top}" '
                      f'width="{_WIDTH}" height="{_HEIGHT}" ', 1)
        for number, chart in enumerate(charts)
    )  # fmt: skip
    key = []
    for number, (text, line) in enumerate(legend):
        y = below + 22 * number
        key.append(_rule(gap, y, gap + 28, y, line.colour, width=2.5, dashes=line.dashes))
        key.append(_text(gap + 38, y + 4.5, _cut(text, (width - 2 * gap - 38) / 7.2), "ink"))
    heading = _text(gap, 32, _cut(title, (width - 2 * gap) / 9.5), "ink", weight=600, size=17)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="{FONT}" font-size="{_SIZE}">'
        f"<title>{escape(plain(title))}</title><style>{dark_style()}</style>"
        f'<rect width="100%" height="100%" class="paper" color="{PALETTE["paper"][0]}" '
        f'fill="currentColor"/>{heading}'
        f"{''.join(placed)}{''.join(key)}</svg>\n"
    )


def dark_style() -> str:
    """The style sheet that turns charts dark for readers who ask for it."""
    rules = "".join(f".chart .{name}{{color:{dark}}}" for name, (_, dark) in PALETTE.items())
    return f"@media (prefers-color-scheme:dark){{{rules}}}"


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most _MOST points, evenly spread, the last one always among them."""
    every = math.ceil(len(points) / _MOST)
    return [
        (x, float(f"{y:.6g}"))
        for number, (x, y) in enumerate(points, 1)
        if number % every == len(points) % every
    ]


def series(number: int) -> tuple[str, str]:
    """The colour and the dashes of the line of this number among many."""
    return f"s{number % len(SERIES)}", ("", "7 3", "2 3")[number // len(SERIES) % 3]


def plain(text: str) -> str:
    """A text on one line, without what XML forbids."""
    return "".join(c if c.isprintable() else " " for c in text)


def _cut(text: str, room: float) -> str:
    """At most so many letters; fonts are unknown, so that they are reckoned wide."""
    return text if len(text) <= room else f"{text[: int(room) - 1]}\N{HORIZONTAL ELLIPSIS}"


def _number(value: float) -> str:
    """A round number: 0.05, and 5e-4 where it is small."""
    if 0 < abs(value) < 0.01:
        lead, _, power = f"{value:e}".partition("e")
        return f"{float(lead):g}e{int(power)}"
    return f"{value:g}"


def _drawn(line: Line, x_of: Any, y_of: Any) -> str:
    points = thinned(line.points)
    colour = PALETTE[line.colour][0]
    dots = "".join(
        f'<circle cx="{x_of(x)}" cy="{y_of(y)}" r="{1.6 if line.dots else 3}"/>'
        for x, y in (points if line.dots or len(points) <= 20 else points[-1:])
    )
    dots = f'<g class="{line.colour}" color="{colour}" fill="currentColor">{dots}</g>'
    if line.dots:
        return dots
    path = "L".join(f"{x_of(x)} {y_of(y)}" for x, y in points)
    width = 2 if len(points) < 200 else 1.5
    dashed = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
    return (
        f'<path d="M{path}" class="{line.colour}" color="{colour}" stroke="currentColor" '
        f'fill="none" stroke-width="{width}" stroke-linejoin="round"{dashed}/>{dots}'
    )


def _text(
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    anchor: str = "start",
    weight: int = 400,
    size: float = _SIZE,
) -> str:
    extra = "" if anchor == "start" else f' text-anchor="{anchor}"'
    extra += "" if weight == 400 else f' font-weight="{weight}"'
    extra += "" if size == _SIZE else f' font-size="{size:g}"'
    return (
        f'<text x="{x:g}" y="{y:g}" class="{colour}" color="{PALETTE[colour][0]}" '
        f'fill="currentColor"{extra}>{escape(plain(text))}</text>'
    )


def _rule(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dashes: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{colour}" '
        f'color="{PALETTE[colour][0]}" stroke="currentColor" stroke-width="{width:g}"{dashed}/>'
    )


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Names moved until each has a line of its own, within the plot."""
    gap = _SIZE + 2.0
    moved: dict[str, float] = {}
    y = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        y = max(height, y + gap)
        moved[name] = y
    for name, limit in zip(reversed(moved), _steps(_BOTTOM, -gap), strict=False):
        moved[name] = min(moved[name], limit)
    return moved


def _steps(start: float, by: float) -> Iterator[float]:
    while True:
        yield start
        start += by
