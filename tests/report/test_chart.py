"""Line charts: their scales, their marks, and what stands in their text."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from shapecalc.report import chart
from shapecalc.report.chart import Line, Scale, line_chart, sheet, thinned

SVG = "{http://www.w3.org/2000/svg}"
AWKWARD = "<b>&amp;\"'</b> </svg><script>alert(1)</script> \x07\N{SNOWMAN}"


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def path_of(svg: str, colour: str) -> list[tuple[float, float]]:
    """The corners of the line of a colour."""
    (found,) = (
        node.attrib["d"]
        for node in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if node.attrib["class"] == colour
    )
    pairs = (corner.split(" ") for corner in found.removeprefix("M").split("L"))
    return [(float(x), float(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (Scale(0, 10), ["0", "2", "4", "6", "8", "10"]),
        (Scale(0.9, 3.1, whole=True), ["1", "2", "3"]),
        (Scale(0.7, 850.3, whole=True), ["200", "400", "600", "800"]),
        (Scale(0.3, 0.62, percent=True), ["30", "40", "50", "60"]),
        (Scale(0, 0.002), ["0", "5e-4", "1e-3", "1.5e-3", "2e-3"]),
        (Scale(1e-4, 10, log=True), ["1e-4", "1e-3", "0.01", "0.1", "1", "10"]),
        (Scale(1e-12, 10, log=True), ["1e-12", "1e-10", "1e-8", "1e-6", "1e-4", "0.01", "1"]),
        (Scale(0.05, 3, log=True), ["0.1", "0.3", "1", "3"]),
        (Scale(0.5, 12, log=True), ["0.5", "1", "2", "5", "10"]),
        (Scale(-1, 1), ["-1", "-0.5", "0", "0.5", "1"]),
    ],
)
def test_ticks_are_round_numbers(scale: Scale, said: list[str]) -> None:
    ticks = scale.ticks(5)
    assert [text for _, text in ticks] == said
    assert all(scale.low <= value <= scale.high for value, _ in ticks)


@pytest.mark.parametrize(
    "values", [[], [0.0], [5.0], [1e-9], [3, 3, 3], [0.5, 1.0], [-2.0, 7.5], [1e6, 2e6]]
)
@pytest.mark.parametrize("kind", [{}, {"log": True}, {"percent": True}, {"whole": True}])
def test_a_scale_holds_its_values_and_has_ticks(values: list[float], kind: dict[str, bool]) -> None:
    scale = Scale.around(values, **kind)
    held = [value for value in values if value > 0 or not scale.log]
    assert scale.low < scale.high
    assert all(0 <= scale.share(value) <= 1 for value in held)
    assert scale.ticks(5) or scale.whole
    if scale.percent and max(values, default=0) <= 1:
        assert scale.high <= 1


def test_a_line_goes_through_its_points() -> None:
    points = [(1.0, 0.0), (2.0, 1.0), (4.0, 0.5)]
    svg = line_chart([Line("train", points, "train")], title="Loss", up=Scale(0, 1))
    (x1, y1), (x2, y2), (x4, y4) = path_of(svg, "train")
    assert (x4 - x1) == pytest.approx(3 * (x2 - x1), abs=0.3)
    assert y1 - y2 == pytest.approx(2 * (y4 - y2), abs=0.3)  # upwards, where SVG counts downwards
    assert {"Loss", "epoch", "train"} <= set(texts(svg))


def test_a_logarithmic_axis_makes_factors_distances() -> None:
    points = [(1e-3, 1.0), (1e-2, 2.0), (1.0, 3.0)]
    along = Scale.around((x for x, _ in points), log=True)
    svg = line_chart([Line("loss", points, "valid")], title="", along=along)
    (x1, _), (x2, _), (x3, _) = path_of(svg, "valid")
    assert x3 - x2 == pytest.approx(2 * (x2 - x1), abs=0.3)


def test_names_at_the_ends_have_lines_of_their_own() -> None:
    lines = [Line(f"line {i}", [(1, 0.5), (2, 0.5 + i / 1000)], f"s{i}") for i in range(8)]
    svg = line_chart(lines, title="Accuracy", up=Scale(0, 1))
    heights = sorted(
        float(node.attrib["y"])
        for node in ElementTree.fromstring(svg).iter(f"{SVG}text")
        if (node.text or "").startswith("line ")
    )
    assert len(heights) == 8
    assert all(below - above >= 13 for above, below in pairwise(heights))


def test_values_for_the_pointer_are_those_of_the_lines() -> None:
    lines = [Line("train", [(1, 0.25), (2, 0.5)], "train"), Line("", [(1, 9)], "grey", dots=True)]
    svg = line_chart(lines, title="Accuracy", up=Scale(0, 1, percent=True))
    data = json.loads(ElementTree.fromstring(svg).attrib["data-chart"])
    assert data["lines"] == [["train", [[1, 0.25], [2, 0.5]]]]
    assert data["percent"] is True


def test_of_very_many_points_some_are_drawn_and_the_last_one_always() -> None:
    points = [(float(x), math.sin(x)) for x in range(1, 8501)]
    assert len(thinned(points)) <= 1000
    assert thinned(points)[-1][0] == 8500
    assert thinned(points[:7]) == [(x, float(f"{y:.6g}")) for x, y in points[:7]]


def test_a_file_is_well_formed_whatever_it_says() -> None:
    drawn = line_chart(
        [Line(AWKWARD, [(1, 1), (2, 2)], "s0")], title=AWKWARD, mark=(1, AWKWARD), about=AWKWARD
    )
    svg = sheet([drawn, drawn], title=AWKWARD, legend=[(AWKWARD, Line("", [], "s1"))])
    root = ElementTree.fromstring(svg)
    tags = {node.tag.removeprefix(SVG) for node in root.iter()}
    assert not tags & {"script", "b"}
    assert any("<script>alert(1)</script>" in text for text in texts(svg))
    assert sum(node.tag == f"{SVG}svg" for node in root.iter()) == 3


def test_a_file_has_colours_for_light_and_for_dark_paper() -> None:
    svg = sheet([line_chart([Line("a", [(1, 1)], "s3")], title="")], title="t")
    light, dark = chart.PALETTE["s3"]
    assert f'class="s3" color="{light}"' in svg
    assert f".chart .s3{{color:{dark}}}" in svg
    assert "prefers-color-scheme:dark" in svg


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_colour_of_text_and_lines_can_be_told_from_the_paper() -> None:
    for side in (0, 1):
        paper = chart.PALETTE["paper"][side]
        for name, pair in chart.PALETTE.items():
            if name not in ("paper", "grid"):
                assert contrast(pair[side], paper) >= 4.5, (name, side)
