"""The input sizes of a spec as text and JSON."""

from __future__ import annotations

import json

import pytest

from shapecalc import Spec, loads
from shapecalc.analysis.sizes import MOST, AxisSizes, Sizes
from shapecalc.report.sizes import as_json, as_text

SPEC = loads('name: "small\\e[31m"\ninput: [3, 32, 32]\nlayers: [relu]')
HEIGHT = AxisSizes("height", 32, 16, range(32, 36), (28, 32, 36))
WIDTH = AxisSizes("width", 32, 16, range(32, 36), (28, 32, 36))


def found(*axes: AxisSizes, features: int | None = 400, spec: Spec = SPEC) -> Sizes:
    return Sizes(spec, (16,) * len(axes), axes, features)


def test_axes_that_are_alike_are_told_once() -> None:
    assert as_text(found(HEIGHT, WIDTH)) == (
        "small [31m: smallest input 16x16, today 32x32\n"
        "height or width: works from 16; the in-features stay 400 from 32 to 35\n"
        "  no pixel is dropped at: 28, 32, 36"
    )


def test_axes_that_are_not_alike() -> None:
    width = AxisSizes("width", 40, 20, range(40, 41), ())
    assert as_text(found(HEIGHT, width, features=None)).splitlines()[1:] == [
        "height: works from 16; the output is the same from 32 to 35",
        "  no pixel is dropped at: 28, 32, 36",
        "width: works from 20; the output is the same only at 40",
        "  no pixel is dropped at: none near today's",
    ]


def test_a_range_without_an_end() -> None:
    axis = AxisSizes("length", 32, 16, range(20, MOST + 1), (32,))
    assert "; the in-features stay 400 from 20 on\n" in as_text(found(axis))
    data = json.loads(as_json(found(axis)))
    assert data["axes"] == {
        "length": {"today": 32, "smallest": 16, "same_in_features": [20, None], "lossless": [32]}
    }


@pytest.mark.parametrize("width", [10, 40, 60])
def test_lines_fit_the_width(width: int) -> None:
    axis = AxisSizes("length", 320, 16, range(320, 360), tuple(range(200, 300, 2)))
    lines = as_text(found(axis), width).splitlines()
    assert max(map(len, lines)) <= max(width, 30)
    assert sum(line.count(", ") + line.endswith(",") for line in lines[1:]) >= 49


def test_json() -> None:
    assert json.loads(as_json(found(HEIGHT))) == {
        "name": "small\033[31m",
        "smallest": [16],
        "in_features": 400,
        "axes": {
            "height": {
                "today": 32,
                "smallest": 16,
                "same_in_features": [32, 35],
                "lossless": [28, 32, 36],
            }
        },
    }
