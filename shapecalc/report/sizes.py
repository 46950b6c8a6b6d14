"""The input sizes of a spec, as text and JSON."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace

from shapecalc.analysis.sizes import MOST, AxisSizes, Sizes
from shapecalc.layers.base import times


def as_text(sizes: Sizes, width: int = 100) -> str:
    """A few lines for each axis, or for all of them where they are alike."""
    today = times([axis.today for axis in sizes.axes])
    name = "".join(c if c.isprintable() else " " for c in sizes.spec.name)
    lines = [f"{name}: smallest input {times(sizes.smallest)}, today {today}"]
    kept = f"the in-features stay {sizes.features}" if sizes.features else "the output is the same"
    alike: dict[AxisSizes, list[str]] = {}
    for axis in sizes.axes:
        alike.setdefault(replace(axis, axis=""), []).append(axis.axis)
    for axis, names in alike.items():
        span = _span(axis.same_features)
        lines.append(f"{' or '.join(names)}: works from {axis.smallest}; {kept} {span}")
        near = ", ".join(map(str, axis.lossless)) if axis.lossless else "none near today's"
        lines.append(f"  no pixel is dropped at: {near}")
    room = max(width, 30)
    return "\n".join(textwrap.fill(line, room, subsequent_indent="    ") for line in lines)


def as_json(sizes: Sizes) -> str:
    data = {
        "name": sizes.spec.name,
        "smallest": sizes.smallest,
        "in_features": sizes.features,
        "axes": {
            axis.axis: {
                "today": axis.today,
                "smallest": axis.smallest,
                "same_in_features": [axis.same_features[0], _last(axis.same_features)],
                "lossless": axis.lossless,
            }
            for axis in sizes.axes
        },
    }
    return json.dumps(data, indent=2)


def _span(span: range) -> str:
    if len(span) == 1:
        return f"only at {span[0]}"
    last = _last(span)
    return f"from {span[0]} on" if last is None else f"from {span[0]} to {last}"


def _last(span: range) -> int | None:
    """The last size; None where they go on as far as was looked."""
    return None if span[-1] == MOST else span[-1]
