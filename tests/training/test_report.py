"""report.html: what is on it, and how it does in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import CHROMIUM, Browser
from torch import nn
from training_fixtures import HEAD, PLAIN, Ear, Leave, Shell, metrics, photographs, spec

import shapecalc
from shapecalc.training.report import report
from shapecalc.training.saliency import grad_cam
from shapecalc.training.stop import Stopped

AWKWARD = "<b>red &amp; 'co'"


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that gets much wrong, one of whose classes has a name that is no good HTML."""
    root = tmp_path_factory.mktemp("report")
    data = photographs(root / "data")
    for split in ("train", "valid"):
        (data / split / "red").rename(data / split / AWKWARD)
    given = spec(data, optimizer={"adamw": {"lr": 1e-5}}, layers=(*PLAIN, HEAD))
    shapecalc.train(given, out=root / "run")
    return root / "run"


class Page(HTMLParser):
    """The tables, pictures and words of a page, by section."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.section = ""
        self.tags: dict[str, list[tuple[str, dict[str, str | None]]]] = {}
        self.words: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self._cell = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("section", "footer", "header"):
            self.section = given.get("id") or tag
        self.tags.setdefault(self.section, []).append((tag, given))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.words.setdefault(self.section, []).append(data)
        if self._cell:
            self.tables[-1][-1][-1] += data

    def text(self, section: str) -> str:
        return " ".join("".join(self.words[section]).split())

    def count(self, section: str, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags[section])


@pytest.fixture(scope="module")
def page(poor: Path) -> Page:
    return Page(poor / "report.html")


def test_training_leaves_a_page_with_all_sections(page: Page) -> None:
    names = ["curves", "classes", "mistakes", "looks", "filters", "network", "settings"]
    assert [name for name in page.tags if name in names] == names


def test_curves_are_those_of_the_metrics(poor: Path, page: Page) -> None:
    charts = [json.loads(given["data-chart"] or "") for tag, given in page.tags["curves"]
              if tag == "svg"]  # fmt: skip
    rows = metrics(poor)
    lines = {(n, name): [y for _, y in points] for n, chart in enumerate(charts)
             for name, points in chart["lines"]}  # fmt: skip
    assert lines[0, "train"] == pytest.approx([row["train_loss"] for row in rows], rel=1e-5)
    assert lines[1, "valid"] == pytest.approx([row["valid_accuracy"] for row in rows], rel=1e-5)
    assert lines[2, ""] == pytest.approx([row["lr"] for row in rows])
    assert len(lines[3, ""]) == len(rows)


def test_classes_and_confusion_are_those_of_eval(poor: Path, page: Page) -> None:
    result, _ = shapecalc.load_run(poor).evaluate(split="valid")
    classes = next(table for table in page.tables if table[0][:2] == ["class", "precision"])
    for row, (precision, recall, f1, images) in zip(classes[1:], result.per_class, strict=True):
        shares = [float(cell.rstrip("%").strip()) for cell in row[1:4]]
        assert shares == pytest.approx([100 * precision, 100 * recall, 100 * f1], abs=0.06)
        assert row[4] == str(images)
    assert {row[0] for row in classes[1:]} == {"blue", "green", AWKWARD}
    confusion = next(table for table in page.tables if table[0][0] == "" and AWKWARD in table[0])
    counts = [[0 if cell == "·" else int(cell) for cell in row[1:]] for row in confusion[1:]]
    assert counts == result.confusion
    assert f"{100 * result.accuracy:.1f} %" in page.text("header")


def test_the_most_wrong_pictures_are_wrong(poor: Path, page: Page) -> None:
    result, _ = shapecalc.load_run(poor).evaluate(split="valid")
    wrong = result.count - sum(row[i] for i, row in enumerate(result.confusion))
    assert page.count("mistakes", "img") == wrong > 0
    files = re.findall(r"\d\d\.jpg", page.text("mistakes"))
    assert len(files) == wrong
    shares = [float(share) for share in re.findall(r"is \S.*? (\d+\.\d)", page.text("mistakes"))]
    assert shares == sorted(shares)


def test_filters_saliency_layers_settings_and_versions(page: Page) -> None:
    assert page.count("filters", "img") == 4
    assert "4 filters of 3 x 3 pixels" in page.text("filters")
    assert "Grad-CAM on the output of the convolution layers.0" in page.text("looks")
    assert page.count("looks", "img") >= 3
    network = page.text("network")
    assert "conv(3, 4, kernel_size=3)" in network
    assert "in-features of the first linear layer" in network
    settings = page.text("settings")
    for said in ("batch_size8", "seed0 (default)", f"torch{torch.__version__}", "Begun20"):
        assert said in settings
    assert "2 epochs" in page.text("header")


def test_nothing_is_loaded_and_names_are_no_html(poor: Path) -> None:
    text = (poor / "report.html").read_text(encoding="utf-8")
    assert AWKWARD not in text
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", text)
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_in_a_browser(poor: Path, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        for width in (1280, 360):
            browser.open(poor / "report.html", width=width)
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run("[...document.images].every(i => i.naturalWidth > 0)")
            for chart in range(4):
                place = "const {left, top, width, height} = svg.getBoundingClientRect();"
                middle = browser.run(
                    f"{{const svg = document.querySelectorAll('svg.chart')[{chart}];"
                    f"svg.scrollIntoView({{behavior: 'instant', block: 'center'}}); {place}"
                    "[left + width * 0.2, top + height / 2]}"
                )
                at_rest = _under(browser, chart)
                browser.move(*middle)
                assert _under(browser, chart).startswith("epoch 1: ")
                assert at_rest.startswith("epoch 2: ")
            for kind in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                assert browser.events(kind) == []
            asked = [e["request"]["url"] for e in browser.events("Network.requestWillBeSent")]
            assert all(url.startswith(("file:", "data:")) for url in asked)


def _under(browser: Browser, chart: int) -> Any:
    return browser.run(f"document.querySelectorAll('output')[{chart}].textContent")


def test_the_command(shell: Shell, poor: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    found = shell("report", poor / "last.safetensors", "--split", "train", "--out", out)
    assert (found.code, found.out) == (0, f"the report is in {out}\n")
    assert "of 24 pictures right" in Page(out).text("header")
    single = Path(shutil.copy(poor / "best.safetensors", tmp_path / "network.safetensors"))
    found = shell("report", single)
    assert found.code == 0
    alone = Page(tmp_path / "report.html")
    assert "curves" not in alone.tags  # they are in the run's folder
    assert "mistakes" in alone.tags


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing",), "error[E502]: "),
        (("RUN", "--data", "missing"), "error[E401]: there is no folder"),
        (("RUN", "--out", "missing/page.html"), "error[E503]: missing/page.html"),
        (("RUN", "--device", "gpu"), "error[E501]: there is no device"),
    ],
)
def test_faults(
    shell: Shell,
    poor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = shell("report", *(poor if word == "RUN" else word for word in words))
    assert found.code == 1
    assert said in found.err


class Lose(Ear):
    """Takes the validation pictures away once the last epoch is saved."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def epoch(self, metrics: Any) -> None:
        super().epoch(metrics)
        if len(self.epochs) == 2:
            shutil.rmtree(self.folder)


def test_a_run_is_done_whatever_becomes_of_its_page(tmp_path: Path) -> None:
    data = photographs(tmp_path / "data")
    ear = Lose(data / "valid")
    run = shapecalc.train(spec(data, cache="none"), out=tmp_path / "run", reporter=ear)
    assert run.path.is_file()
    assert not (tmp_path / "run" / "report.html").exists()
    assert ear.notes[-1].startswith("report.html was not made: ")
    assert ear.notes[-1].endswith(f"; try: shapecalc report {tmp_path / 'run'}")


class LeaveWhileReporting(Leave):
    """Asks to stop once the page is begun."""

    def begin(self, task: str, total: int) -> None:
        super().begin(task, total)
        if task == "evaluating":
            self.stop.ask()


def test_a_stop_at_the_page_leaves_it_to_resume(tmp_path: Path) -> None:
    given, out = spec(photographs(tmp_path / "data")), tmp_path / "run"
    ear = LeaveWhileReporting(99)
    with pytest.raises(Stopped) as caught:
        shapecalc.train(given, out=out, reporter=ear, stop=ear.stop)
    assert caught.value.said.startswith("stopped after epoch 2, and all is saved; go on with ")
    assert not (out / "report.html").exists()
    from shapecalc.training.loop import resume

    resume(out)
    assert (out / "report.html").is_file()


def test_grad_cam_is_where_what_speaks_for_a_class_is() -> None:
    """One channel that shows the picture itself, and classes that count it, up and down."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(20, 2))
    nn.init.ones_(model[0].weight)
    with torch.no_grad():
        model[2].weight.copy_(torch.stack([torch.ones(20), -torch.ones(20)]))
    picture = torch.zeros(1, 1, 4, 5)
    picture[0, 0, 1, 3], picture[0, 0, 2, 0] = 2.0, 1.0
    up, down = (grad_cam(model.eval(), model[0], picture, [label])[0] for label in (0, 1))
    assert torch.equal(up, picture[0, 0] / 2)
    assert not down.any()


def test_the_page_of_a_network_without_convolutions(tmp_path: Path) -> None:
    given = spec(photographs(tmp_path / "data"), layers=("flatten", HEAD), epochs=1)
    shapecalc.train(given, out=tmp_path / "run")
    found = Page(report(tmp_path / "run"))
    assert "looks" not in found.tags
    assert "filters" not in found.tags
