"""What a code means: its page, and the reports that its bad example gives today.

The page of an error is a file in `shapecalc/codes`, that of a lint is in the lint's own module.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from shapecalc.analysis.check import check
from shapecalc.analysis.lints import RULES, Rule
from shapecalc.diagnostics import CODES, Diagnostic, Fault, SpecError, nearest
from shapecalc.language.spec import loads

PAGES = Path(__file__).parents[1] / "codes"


class Page(NamedTuple):
    """What is to be said of a code."""

    code: str
    title: str
    text: str
    """What it means and why it is so, in paragraphs of Markdown."""
    bad: str = ""
    """A spec that has the fault; "" where no spec shows it."""
    good: str = ""
    """The same spec without it."""


def pages() -> list[Page]:
    """The pages of all codes, in their order."""
    rules = {rule.CODE: rule for rule in RULES}
    return [_lint(rules[code]) if code in rules else _error(code) for code in CODES]


def page(code: str) -> Page:
    """The page of a code in any case. Raises Fault with the nearest known one."""
    every = {page.code: page for page in pages()}
    found = every.get(code.upper())
    if found is None:
        close = nearest(code, every)
        help = f"did you mean {close}?" if close else "shapecalc explain lists all codes"
        raise Fault("E109", f"there is no code {code!r}", help=help)
    return found


def reports(page: Page) -> list[Diagnostic]:
    """What is told of a page's bad example."""
    return [found for found in examined(page.bad, "bad.yaml") if found.code == page.code]


def examined(text: str, file: str) -> list[Diagnostic]:
    """What `check` says of a spec in a text."""
    try:
        return check(loads(text, file=file))
    except SpecError as error:
        return list(error.diagnostics)


def _error(code: str) -> Page:
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    prose, *examples = text.split("\n## ")
    bad, good = (_fenced(example) for example in examples) if examples else ("", "")
    return Page(code, CODES[code], prose.strip(), bad, good)


def _lint(rule: Rule) -> Page:
    return Page(rule.CODE, CODES[rule.CODE], (rule.__doc__ or "").strip(), rule.BAD, rule.GOOD)


def _fenced(section: str) -> str:
    """The spec between the fences of a section."""
    return section.split("```yaml\n")[1].split("```")[0]
