"""Mistakes that people make, one a file: each is told at its line, with a mend that works.

A file begins with what the mistake is, then `code`, `mend: OLD => NEW` and maybe `help`, which the
report's help must say; without it, it must say NEW. The line at fault ends with `# here`, or its
number is in `line`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from shapecalc import Diagnostic, SpecError, loads, trace

FILES = sorted((Path(__file__).parent / "mistakes").glob("*.yaml"))


class Mistake(NamedTuple):
    """A wrong spec, and what is to be said of it."""

    text: str
    code: str
    line: int
    old: str
    new: str
    help: str

    @classmethod
    def read(cls, path: Path) -> Mistake:
        text = path.read_text()
        head = dict(re.findall(r"^# (code|mend|help|line): (.*)$", text, re.MULTILINE))
        old, new = re.split(" => ?", head["mend"].replace(r"\n", "\n").replace(r"\t", "\t"))
        lines = text.splitlines()
        marked = [number for number, said in enumerate(lines, 1) if said.endswith("# here")]
        (line,) = marked or [int(head["line"])]
        return cls(text, head["code"], line, old, new, head.get("help", new))

    def mended(self) -> str:
        """The spec after the edit."""
        assert self.spec.count(self.old) == 1, f"{self.old!r} is not there once"
        return self.text.removesuffix(self.spec) + self.spec.replace(self.old, self.new)

    @property
    def spec(self) -> str:
        """The text without the comments at its top."""
        return re.sub(r"\A(#.*\n)+", "", self.text)


def told(text: str) -> list[Diagnostic]:
    try:
        spec = loads(text, file="spec.yaml")
        spec.recipe()
        trace(spec)
    except SpecError as error:
        return list(error.diagnostics)
    return []


def test_there_are_enough() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_mistake(path: Path) -> None:
    mistake = Mistake.read(path)
    found = [d for d in told(mistake.text) if d.code == mistake.code]
    assert found
    assert {d.place.line for d in found if d.place} == {mistake.line}
    assert mistake.help in found[0].help
    # The mend is the program's: every number of it that the spec did not have is in the help.
    numbers = set(re.findall(r"\d+", mistake.new)) - set(re.findall(r"\d+", mistake.spec))
    assert numbers <= set(re.findall(r"\d+", found[0].help))
    assert told(mistake.mended()) == []
