"""The input sizes of a spec as text, JSON and a picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from shapecalc import Spec, loads
from shapecalc.analysis.sizes import MOST, AxisSizes, Rule, Sizes, Step
from shapecalc.report.sizes import as_json, as_text, draw, said

SPEC = loads('name: "small\\e[31m"\ninput: [3, 32, 32]\nlayers: [relu]')
TRIED = (range(1, 257),)
FROM_16 = Rule(TRIED, (), 16, 1, (16,))
BY_4 = Rule(TRIED, (), 13, 4, (16,))
HEIGHT = AxisSizes("height", 32, 16, FROM_16, range(32, 36), (28, 32, 36), BY_4)
WIDTH = AxisSizes("width", 32, 16, FROM_16, range(32, 36), (28, 32, 36), BY_4)
STEPS = tuple(Step(16 + 4 * n, 19 + 4 * n, 16 * (n + 1) ** 2, (10,)) for n in range(10))


def found(
    *axes: AxisSizes,
    features: int | None = 400,
    spec: Spec = SPEC,
    square: Rule | None = None,
    steps: tuple[Step, ...] = STEPS,
) -> Sizes:
    return Sizes(spec, (16,) * len(axes), axes, features, square, steps)


def test_axes_that_are_alike_are_told_once() -> None:
    assert as_text(found(HEIGHT, WIDTH)) == (
        "small [31m: smallest input 16x16, today 32x32\n"
        "height or width: works at every size from 16 on\n"
        "  the in-features stay 400 from 32 to 35\n"
        "  no pixel is dropped at multiples of 4 from 16 on; 32 is one\n"
        "looked at: every size from 1 to 256\n"
        "\n"
        "height = width  in-features\n"
        "16 to 19        16\n"
        "20 to 23        64\n"
        "24 to 27        144\n"
        "28 to 31        256\n"
        "32 to 35        400  today\n"
        "36 to 39        576\n"
        "40 to 43        784\n"
        "44 to 47        1024\n"
        "..."
    )


def test_axes_that_are_not_alike() -> None:
    works = Rule(TRIED, (range(20, 41),))
    width = AxisSizes("width", 40, 20, works, range(40, 41), (), Rule(TRIED, ()))
    square = Rule(TRIED, (range(24, 25), range(30, 33)))
    steps = (Step(16, 31, None, (2, 4, 5)), Step(32, 35, None, (2, 5, 5)))
    text = as_text(found(HEIGHT, width, features=None, square=square, steps=steps))
    assert text.splitlines()[1:] == [
        "height: works at every size from 16 on",
        "  the output is the same from 32 to 35",
        "  no pixel is dropped at multiples of 4 from 16 on; 32 is one",
        "width: works at 20 to 40",
        "  the output is the same only at 40",
        "  no pixel is dropped at no size",
        "all at once: works at 24 and 30 to 32",
        "looked at: every size from 1 to 256; no rule was found",
        "",
        "height    output",
        "16 to 31  2x4x5",
        "32 to 35  2x5x5  today",
    ]


def test_a_range_without_an_end() -> None:
    axis = AxisSizes("length", 33, 16, FROM_16, range(20, MOST + 1), (32, 36), BY_4)
    text = as_text(found(axis, steps=STEPS[:1]))
    assert "  the in-features stay 400 from 20 on\n" in text
    assert "; next to 33: 32 and 36\n" in text
    assert text.endswith("to 256")
    data = json.loads(as_json(found(axis)))
    assert data["axes"]["length"]["same_in_features"] == [20, None]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule(TRIED, (), 1, 1, (1,)), "every size"),
        (Rule(TRIED, (range(5, 6), range(7, 8)), 9, 1, (9,)), "5, 7 and every size from 9 on"),
        (Rule(TRIED, (), 1, 1, ()), "no size"),
        (Rule(TRIED, (range(40, 45),), 45, 1, ()), "40 to 44"),
        (Rule(TRIED, (), 1, 16, (16,)), "multiples of 16"),
        (Rule(TRIED, (), 30, 16, (32,)), "multiples of 16 from 32 on"),
        (Rule(TRIED, (), 1, 2, (2,)), "even sizes"),
        (Rule(TRIED, (), 6, 2, (7,)), "odd sizes from 7 on"),
        (Rule(TRIED, (), 40, 32, (48,)), "48 + 32k"),
        (Rule(TRIED, (), 5, 3, (5, 7)), "every size from 5 on but multiples of 3"),
        (Rule(TRIED, (), 5, 3, (6, 7)), "every size from 6 on but 2 + 3k"),
        (Rule(TRIED, (), 1, 8, (3, 4, 7)), "3 to 4 and 7, and so on every 8"),
        (Rule(TRIED, (), 4, 8, (4, 5, 11)), "11 to 13, and so on every 8"),
        (Rule(TRIED, tuple(range(n, n + 1) for n in (1, 4, 5, 9, 12, 20, 31, 33, 34, 50))),
         "1, 4, 5, 9, 12, 20, 31, 33 and 2 more"),
    ],
)  # fmt: skip
def test_rules_in_words(rule: Rule, text: str) -> None:
    assert said(rule) == text


@pytest.mark.parametrize("width", [10, 40, 60])
def test_lines_fit_the_width(width: int) -> None:
    rule = Rule(TRIED, tuple(range(n, n + 2) for n in range(1, 90, 3)))
    axis = AxisSizes("length", 32, 16, rule, range(32, 36), (), rule)
    lines = as_text(found(axis), width).splitlines()
    assert max(map(len, lines)) <= max(width, 30)


def test_json() -> None:
    data = json.loads(as_json(found(HEIGHT, steps=STEPS[:1])))
    rule = {"sizes": [], "tried": [[1, 256]]}
    assert data == {
        "name": "small\033[31m",
        "smallest": [16],
        "in_features": 400,
        "axes": {
            "height": {
                "today": 32,
                "smallest": 16,
                "works": {"rule": "every size from 16 on", "from": 16, "period": 1,
                          "of_each_period": [16], **rule},
                "same_in_features": [32, 35],
                "lossless": [28, 32, 36],
                "without_loss": {"rule": "multiples of 4 from 16 on", "from": 13, "period": 4,
                                 "of_each_period": [16], **rule},
            }
        },
        "square": None,
        "by_size": [{"from": 16, "to": 19, "in_features": 16, "output": [10]}],
    }  # fmt: skip


@pytest.mark.parametrize("features", [400, None])
def test_the_picture_names_its_axis_and_todays_size(tmp_path: Path, features: int | None) -> None:
    path = tmp_path / "sizes.svg"
    draw(found(HEIGHT, WIDTH, features=features), path)
    root = ElementTree.parse(path).getroot()
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    what = "in-features of the first linear layer" if features else "numbers in the output"
    assert f"small\N{REPLACEMENT CHARACTER}[31m: {what}" in texts
    assert {"height = width", "today, 32: 400"} <= set(texts)
