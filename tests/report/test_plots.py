import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from shapecalc.report.plots import confusion, curves

Epoch = dict[str, float | None]
AWKWARD = ["$x_1$", "a_b^c", "<b>&amp;\"'", "\\frac{1}{2}", "日本語", "--><!--", "100 % {x}"]


def run(count: int) -> list[Epoch]:
    """A run whose validation accuracy peaks two thirds of the way."""
    peak = max(1, 2 * count // 3)
    return [
        {"epoch": e, "train_loss": 2 / e, "valid_loss": 2 / e + 0.1, "train_accuracy": 1 - 0.5 / e,
         "valid_accuracy": 0.875 - 0.5 * abs(e - peak) / count, "lr": 0.1}
        for e in range(1, count + 1)
    ]  # fmt: skip


def diagonal(count: int, value: int = 7) -> list[list[int]]:
    return [[value if i == j else 0 for j in range(count)] for i in range(count)]


def texts(path: Path) -> list[str]:
    """Every text of a picture that is a well-formed XML document."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def svg(tmp_path: Path) -> Path:
    return tmp_path / "picture.svg"


@pytest.mark.parametrize("count", [1, 2, 4, 30, 850])
def test_curves_name_the_lines_and_the_best_epoch(svg: Path, count: int) -> None:
    curves(run(count), svg, title="apparel_v2 $1$")
    found = texts(svg)
    assert {"apparel_v2 $1$", "Loss", "Accuracy, %", "epoch"} <= set(found)
    assert found.count("train") == found.count("valid") == 2
    assert f"best 87.50 %, epoch {max(1, 2 * count // 3)}" in found


def test_the_best_epoch_bears_its_loss_too(svg: Path) -> None:
    curves(run(3), svg)
    assert "1.1, epoch 2" in texts(svg)


def test_the_first_of_equal_epochs_is_best(svg: Path) -> None:
    curves([{"epoch": e, "valid_accuracy": 0.5} for e in (1, 2, 3)], svg)
    assert "best 50.00 %, epoch 1" in texts(svg)


@pytest.mark.parametrize("hole", [None, math.nan, math.inf])
def test_values_that_are_no_numbers_are_skipped(svg: Path, hole: float | None) -> None:
    epochs = run(6)
    epochs[3]["valid_accuracy"] = hole  # the peak, epoch 4
    epochs[0]["train_loss"] = hole
    curves(epochs, svg)
    assert "best 79.17 %, epoch 3" in texts(svg)
    assert "nan" not in svg.read_text("utf-8")


def test_without_accuracy_the_lowest_loss_is_best(svg: Path) -> None:
    curves([{"epoch": 1, "valid_loss": 2.0}, {"epoch": 2, "valid_loss": 3.0}], svg)
    assert "best 2, epoch 1" in texts(svg)


def test_without_validation_nothing_is_marked(svg: Path) -> None:
    curves([{"epoch": e, "train_loss": 1.0, "valid_loss": None} for e in (1, 2)], svg)
    found = texts(svg)
    assert found.count("train") == 1
    assert "valid" not in found
    assert not any("best" in text for text in found)


def test_a_wide_range_of_loss_has_plain_numbers(svg: Path) -> None:
    curves([{"epoch": e, "train_loss": 10.0**-e} for e in range(1, 7)], svg)
    assert {"0.1", "0.001"} <= set(texts(svg))


def test_no_epochs_are_refused(svg: Path) -> None:
    with pytest.raises(ValueError, match="no epochs"):
        curves([], svg)
    assert not svg.exists()


def test_confusion_has_names_counts_recall_and_precision(svg: Path) -> None:
    confusion([[45, 5], [15, 85]], ["cat", "dog"], svg, title="Cats and dogs")
    found = texts(svg)
    assert "Cats and dogs" in found
    assert found.count("cat") == found.count("dog") == 2
    assert {"45", "5", "15", "85"} <= set(found)
    assert {"90.0", "85.0"} <= set(found)  # recall: 45 of 50, 85 of 100
    assert {"75.0", "94.4"} <= set(found)  # precision: 45 of 60, 85 of 90


def test_undefined_recall_and_precision_are_dashes(svg: Path) -> None:
    confusion([[3, 0], [0, 0]], ["a", "b"], svg)
    found = texts(svg)
    assert found.count("\N{EN DASH}") == 2
    assert found.count("100") == 2


def test_almost_all_is_not_rounded_to_all(svg: Path) -> None:
    confusion([[99999, 1], [0, 1]], ["a", "b"], svg)
    found = texts(svg)
    assert "99.9" in found
    assert "100.0" not in found


def test_awkward_names_stay_literal(svg: Path) -> None:
    confusion(diagonal(len(AWKWARD)), AWKWARD, svg, title=r"$\alpha_1$ <i>")
    found = texts(svg)
    assert r"$\alpha_1$ <i>" in found
    assert all(found.count(name) == 2 for name in AWKWARD)


def test_what_xml_forbids_is_replaced(svg: Path) -> None:
    confusion(diagonal(3), ["a\x00b", "line\nbreak", "\ud800"], svg)
    assert {"a\ufffdb", "line break", "\ufffd"} <= set(texts(svg))


def test_long_names_keep_both_ends(svg: Path) -> None:
    confusion(diagonal(2), ["start" + "-" * 200 + "end", ""], svg)
    assert any(text.startswith("start") and text.endswith("end") and "…" in text and len(text) < 30
               for text in texts(svg))  # fmt: skip


@pytest.mark.parametrize(("count", "numbered"), [(1, True), (30, True), (31, False), (50, False)])
def test_many_classes_drop_the_counts_and_gain_a_key(svg: Path, count: int, numbered: bool) -> None:
    confusion(diagonal(count, 777), [f"class {i}" for i in range(count)], svg)
    found = texts(svg)
    assert found.count("777") == (count if numbered else 0)
    assert ("share of row, %" in found) is not numbered
    assert f"class {count - 1}" in found


@pytest.mark.parametrize(
    ("matrix", "classes", "message"),
    [
        ([], [], "not 0 by 0"),
        ([[1, 2]], ["a", "b"], "not 2 by 2"),
        ([[1, 2], [3]], ["a", "b"], "not 2 by 2"),
        ([[1]], ["a", "b"], "not 2 by 2"),
        ([[-1]], ["a"], "negative"),
    ],
)
def test_other_matrices_are_refused(
    svg: Path, matrix: list[list[int]], classes: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion(matrix, classes, svg)
    assert not svg.exists()


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: curves(run(5), path, title="t"),
        lambda path: confusion(diagonal(4), list("abcd"), path),
    ],
    ids=["curves", "confusion"],
)
def test_the_bytes_depend_on_the_input_alone(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(first)
    settings: dict[Any, Any] = {"font.size": 30, "axes.grid": True, "savefig.dpi": 300,
                                "svg.fonttype": "path", "savefig.transparent": True}  # fmt: skip
    with matplotlib.rc_context(settings):
        draw(second)
        assert all(matplotlib.rcParams[key] == value for key, value in settings.items())
    assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in first.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.svg", "second.svg"]


def test_a_failed_write_leaves_the_old_picture(svg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    svg.write_text("old")

    def fail(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        curves(run(2), svg)
    assert svg.read_text() == "old"
    assert list(svg.parent.iterdir()) == [svg]
