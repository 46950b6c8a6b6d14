"""The input sizes of a spec, as text, JSON and a picture."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shapecalc.analysis.sizes import MOST, AxisSizes, Rule, Sizes, Step
from shapecalc.layers.base import times

_SHOWN = 8
"""Sizes that are written out one by one; of more, the first and that there are more."""

_AROUND = 3
"""Rows of the table below and above today's."""


def as_text(sizes: Sizes, width: int = 100) -> str:
    """A few lines for each axis, or for all of them where they are alike, then the in-features by
    size."""
    today = times([axis.today for axis in sizes.axes])
    name = "".join(c if c.isprintable() else " " for c in sizes.spec.name)
    lines = [f"{name}: smallest input {times(sizes.smallest)}, today {today}"]
    kept = f"the in-features stay {sizes.features}" if sizes.features else "the output is the same"
    alike: dict[tuple[str, ...], list[str]] = {}
    for axis in sizes.axes:
        lines_of = (
            f"works at {said(axis.works)}",
            f"  {kept} {_span(axis.same_features)}",
            f"  no pixel is dropped at {said(axis.without_loss)}{_near(axis)}",
        )
        alike.setdefault(lines_of, []).append(axis.axis)
    for (works, *others), names in alike.items():
        lines += [f"{' or '.join(names)}: {works}", *others]
    if sizes.square is not None:
        lines.append(f"all at once: works at {said(sizes.square)}")
    lines.append(f"looked at: {_tried(sizes)}")
    room = max(width, 30)
    text = [textwrap.fill(line, room, subsequent_indent="    ") for line in lines]
    return "\n".join([*text, *_table(sizes)])


def as_json(sizes: Sizes) -> str:
    data = {
        "name": sizes.spec.name,
        "smallest": sizes.smallest,
        "in_features": sizes.features,
        "axes": {
            axis.axis: {
                "today": axis.today,
                "smallest": axis.smallest,
                "works": _object(axis.works),
                "same_in_features": [axis.same_features[0], _last(axis.same_features)],
                "lossless": axis.lossless,
                "without_loss": _object(axis.without_loss),
            }
            for axis in sizes.axes
        },
        "square": sizes.square and _object(sizes.square),
        "by_size": [
            {
                "from": step.first,
                "to": step.last,
                "in_features": step.features,
                "output": step.output,
            }
            for step in sizes.steps
        ],
    }
    return json.dumps(data, indent=2)


def draw(sizes: Sizes, path: Path) -> None:
    """Write an SVG of the in-features by size; of the output's numbers without a linear layer."""
    from shapecalc.report.plots import stairs

    what = "in-features of the first linear layer" if sizes.features else "numbers in the output"
    stairs(
        [(step.first, step.last, _number(step)) for step in sizes.steps],
        path,
        title=f"{sizes.spec.name}: {what}",
        across=_across(sizes),
        today=sizes.axes[0].today,
    )


def said(rule: Rule) -> str:
    """A rule as a person would say it: `multiples of 16`, `every size from 63 on`."""
    words = list(map(_run, rule.runs))
    if rule.start is None:
        if len(words) > _SHOWN:
            words = [*words[:_SHOWN], f"{sum(map(len, rule.runs[_SHOWN:]))} more"]
        return _listed(words) or "no size"
    if rule.sizes:
        words.append(_repeating(rule))
    return _listed(words) or "no size"


def _repeating(rule: Rule) -> str:
    """The sizes of a rule from its start on."""
    first, period = rule.sizes[0], rule.period
    if len(rule.sizes) == period:
        return f"every size from {first} on" if first > 1 else "every size"
    if len(rule.sizes) == 1:
        if first % period == 0:
            word = "even sizes" if period == 2 else f"multiples of {period}"
            return word if first == period else f"{word} from {first} on"
        return f"odd sizes from {first} on" if period == 2 else f"{first} + {period}k"
    if len(rule.sizes) == period - 1:
        (gap,) = {n % period for n in range(period)} - {n % period for n in rule.sizes}
        rest = f"multiples of {period}" if gap == 0 else f"{gap} + {period}k"
        return f"every size from {first} on but {rest}"
    runs: list[range] = []
    for n in rule.sizes:
        if runs and n == runs[-1].stop:
            runs[-1] = range(runs[-1].start, n + 1)
        else:
            runs.append(range(n, n + 1))
    if len(runs) > 1 and runs[-1].stop - period == runs[0].start:  # one run, cut by the start
        runs = [range(runs[-1].start, runs[0].stop + period), *runs[1:-1]]
    words = [_run(run) for run in runs[:_SHOWN]]
    if len(runs) > _SHOWN:
        words.append(f"{sum(map(len, runs[_SHOWN:]))} more")
    return f"{_listed(words)}, and so on every {period}"


def _run(run: range) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _near(axis: AxisSizes) -> str:
    """The sizes next to today's that drop no pixel, where a rule does not show them."""
    rule, today = axis.without_loss, axis.today
    if rule.start is None or not rule.sizes or len(rule.sizes) == rule.period:
        return ""
    if today in axis.lossless:
        return f"; {today} is one"
    near = [max((n for n in axis.lossless if n < today), default=0)]
    near.append(min((n for n in axis.lossless if n > today), default=0))
    return f"; next to {today}: {_listed([str(n) for n in near if n])}" if any(near) else ""


def _tried(sizes: Sizes) -> str:
    tried = {axis.works.tried for axis in sizes.axes}
    least = min(tried, key=lambda runs: (runs[0].stop, runs))
    whole = all(axis.works.start is not None for axis in sizes.axes)
    return f"{_listed(['every size from ' + _run(run) for run in least])}" + (
        "" if whole else "; no rule was found"
    )


def _table(sizes: Sizes) -> list[str]:
    """The in-features by size around today's; nothing where they are always the same."""
    steps, today = sizes.steps, sizes.axes[0].today
    if len(steps) < 2:
        return []
    here = next(at for at, step in enumerate(steps) if step.first <= today <= step.last)
    chosen = {0, *range(max(0, here - _AROUND), here + _AROUND + 1)}
    rows = [(_across(sizes), "in-features" if sizes.features else "output")]
    before = -1
    for at in sorted(chosen & set(range(len(steps)))):
        step = steps[at]
        gap = step.first - steps[at - 1].last if at else 0
        if at > before + 1 or gap > max(1, sizes.axes[0].works.period):
            rows.append(("...", ""))
        before = at
        said = _run(range(step.first, step.last + 1))
        if at == len(steps) - 1 and at != here:
            said = f"{step.first} on"  # how far was not looked
        cell = str(step.features) if sizes.features else times(step.output)
        rows.append((said, f"{cell}{'  today' if at == here else ''}"))
    if before < len(steps) - 1:
        rows.append(("...", ""))
    room = max(len(row[0]) for row in rows)
    return ["", *(f"{first:<{room}}  {second}".rstrip() for first, second in rows)]


def _across(sizes: Sizes) -> str:
    together = len(sizes.axes) > 1 and len({axis.today for axis in sizes.axes}) == 1
    return " = ".join(axis.axis for axis in sizes.axes) if together else sizes.axes[0].axis


def _number(step: Step) -> int:
    if step.features is not None:
        return step.features
    number = 1
    for size in step.output:
        number *= size
    return number


def _object(rule: Rule) -> dict[str, Any]:
    return {
        "rule": said(rule),
        "sizes": [[run[0], run[-1]] for run in rule.runs],
        "from": rule.start,
        "period": rule.period or None,
        "of_each_period": rule.sizes,
        "tried": [[run[0], run[-1]] for run in rule.tried],
    }


def _span(span: range) -> str:
    if len(span) == 1:
        return f"only at {span[0]}"
    last = _last(span)
    return f"from {span[0]} on" if last is None else f"from {span[0]} to {last}"


def _last(span: range) -> int | None:
    """The last size; None where they go on as far as was looked."""
    return None if span[-1] == MOST else span[-1]
