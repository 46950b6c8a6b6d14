"""The pages of the codes: one for each, with examples that are what they say."""

from __future__ import annotations

import json

import pytest

from shapecalc.analysis.explain import PAGES, Page, examined, page, pages, reports
from shapecalc.diagnostics import CODES, Fault
from shapecalc.report import explain as report

WITH_EXAMPLES = [page for page in pages() if page.bad]


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert [page.code for page in pages()] == list(CODES)
    assert {path.stem for path in PAGES.iterdir()} == {code for code in CODES if code[0] == "E"}


def test_what_a_spec_can_show_is_shown() -> None:
    shown = {page.code for page in WITH_EXAMPLES}
    without = {code for code in CODES if code[:2] in ("E3", "E4", "E5", "E6")}
    assert set(CODES) - shown == without | {"E100", "E109", "E206"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.code)
def test_text(page: Page) -> None:
    assert len(page.text.split("\n\n")) >= 2, "what, and why"
    assert all(len(line) <= 100 for line in page.text.splitlines())


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.code)
def test_examples(page: Page) -> None:
    found = examined(page.bad, "bad.yaml")
    if page.code.startswith("E"):
        found = [d for d in found if d.severity == "error"]
        assert [d.severity for d in examined(page.good, "good.yaml")].count("error") == 0
    assert {d.code for d in found} == {page.code}
    assert all(d.help for d in found)
    assert page.code not in {d.code for d in examined(page.good, "good.yaml")}


@pytest.mark.parametrize(("code", "close"), [("e203", ""), ("E2033", "E203"), ("X", "lists all")])
def test_an_unknown_code_names_the_nearest(code: str, close: str) -> None:
    if not close:
        assert page(code).code == "E203"
        return
    with pytest.raises(Fault) as caught:
        page(code)
    assert close in caught.value.help


def test_whole_page() -> None:
    shown = page("E208")
    assert report.as_text(shown, reports(shown), width=100) == (
        """\
E208: a tensor that was not saved before

A concat, add or multiply names a tensor that no `save` before it has kept.

Layers are computed from top to bottom, so that a tensor must be saved above where it is used.

For example

    input: [8, 32, 32]
    layers:
      - save: skip
      - relu
      - concat: skipp

gives

    error[E208]: no tensor was saved as 'skipp' before this layer
     --> bad.yaml:5:5 (layers.2)
      |
    5 |   - concat: skipp
      |     ^^^^^^^^^^^^^ input is [8, 32, 32]
      |
      = help: did you mean skip?

This is fine

    input: [8, 32, 32]
    layers:
      - save: skip
      - relu
      - concat: skip"""
    )


def test_a_page_without_an_example_and_in_colour() -> None:
    shown = page("E504")
    text = report.as_text(shown, [], color=True)
    assert text.startswith("\033[1mE504: the loss is no longer a number\033[0m\n\nThe loss")
    assert "For example" not in text


def test_list() -> None:
    lines = report.as_list(pages()).splitlines()
    assert len(lines) == len(CODES)
    assert "E203  a window larger than its input" in lines


def test_json() -> None:
    (shown,) = json.loads(report.as_json([(page("E202"), reports(page("E202")))]))
    assert set(shown) == {"code", "title", "text", "bad", "good", "reports"}
    assert shown["reports"][0]["help"] == (
        "write in_features: 3136, or leave it out: it is inferred"
    )
