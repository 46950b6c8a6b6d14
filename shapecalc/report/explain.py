"""Pages of codes as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import TYPE_CHECKING

from shapecalc.report.diagnostics import as_json as diagnostics_json
from shapecalc.report.diagnostics import render

if TYPE_CHECKING:
    from shapecalc.analysis.explain import Page
    from shapecalc.diagnostics import Diagnostic

_BOLD, _OFF = "\033[1m", "\033[0m"


def as_text(
    page: Page, found: Sequence[Diagnostic], *, color: bool = False, width: int = 100
) -> str:
    """A page: what the code means, a spec that has it with its report, and one that has not."""
    parts = [_bold(f"{page.code}: {page.title}", color), page.text]
    if page.bad:
        parts += [
            _bold("For example", color),
            indent(page.bad.rstrip(), "    "),
            _bold("gives", color),
            indent(render(found, color=color, width=max(40, width - 4)), "    "),
            _bold("This is fine", color),
            indent(page.good.rstrip(), "    "),
        ]
    return "\n\n".join(parts)


def as_list(pages: Iterable[Page]) -> str:
    """All codes, each on a line of its own."""
    return "\n".join(f"{page.code}  {page.title}" for page in pages)


def as_json(pages: Iterable[tuple[Page, Sequence[Diagnostic]]]) -> str:
    """Pages with the reports of their bad examples."""
    found = [{**page._asdict(), "reports": diagnostics_json(told)} for page, told in pages]
    return json.dumps(found, indent=2, ensure_ascii=False)


def _bold(text: str, color: bool) -> str:
    return f"{_BOLD}{text}{_OFF}" if color else text
