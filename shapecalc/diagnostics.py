"""What is wrong, as data: where it is, what it says and what mends it. Printing is `report`'s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning"]

CODES: dict[str, str] = {
    # Reading a spec
    "E100": "the file cannot be read",
    "E101": "the text is not YAML",
    "E102": "a key is given twice",
    "E103": "a limit of the language is passed",
    "E104": "an unknown key",
    "E105": "an unknown kind of layer",
    "E106": "a value of the wrong type or out of range",
    "E107": "something required is missing",
    "E108": "an expression cannot be evaluated",
    "E109": "an override that fits nothing",
    "E110": "a block that calls itself",
    # Shapes
    "E201": "a layer that does not take inputs of this rank",
    "E202": "a size that was given and is not the real one",
    "E203": "a window larger than its input",
    "E204": "arguments that torch refuses together",
    "E205": "an output without elements",
    "E206": "a limit that was set is passed",
    "E207": "tensors that do not fit together",
    "E208": "a tensor that was not saved before",
    # Building
    "E301": "the built model differs from the calculator",
    "E302": "a model too large for the memory at hand",
    # Data
    "E401": "the data cannot be found",
    "E402": "a folder that is not laid out as class folders",
    "E403": "classes that do not match",
    "E404": "images that cannot be read",
    # Training and runs
    "E501": "a training setting that does not fit",
    "E502": "a run that cannot be read",
    "E503": "a run that cannot go on",
    "E504": "the loss is no longer a number",
    "E505": "no learning rate can be suggested",
    # Export
    "E601": "a network that cannot be written for others",
    # Lints: warnings, each of which `allow` silences
    "W101": "two linear maps in a row with nothing between",
    "W102": "a softmax or the like before the loss that takes it itself",
    "W103": "a bias that a normalisation takes away",
    "W104": "pixels at the border that a stride drops",
    "W105": "pixels between windows that a stride skips",
    "W106": "padding that some windows see nothing but",
    "W107": "a linear layer on a tensor that is not flat",
    "W108": "one layer that holds most of the params",
    "W109": "outputs that see only a part of the input",
    "W110": "outputs that are not as many as the classes",
    "W111": "a batch_norm that meets a single value",
    "W112": "channels that tensor cores take badly",
    "W113": "a dropout right before a batch_norm",
    "W114": "a layer without effect",
    "W115": "an activation that overwrites a tensor still needed",
}
"""Every code with what it means; a code keeps its meaning for ever."""


MOST_FAULTS = 100
"""Faults after which no more of the same sort are looked for."""


class Place(NamedTuple):
    """A stretch of one line of a text. Lines and columns count from 1; `end` is exclusive."""

    file: str
    line: int
    column: int
    end: int
    text: str
    """The whole line, for showing."""


Trail = tuple[tuple[str, Place | None], ...]
"""The way in, outermost first: each block call and turn of a repeat, and where it stands."""


class Diagnostic(NamedTuple):
    """One fault or lint: a stable code, a place, a message with its numbers, and a mend."""

    code: str
    message: str
    place: Place | None = None
    path: str = ""
    """The layer's path in the Trace, such as `layers.4`."""
    note: str = ""
    """What stands beside the caret."""
    help: str = ""
    """The mend, with the numbers that make it work."""
    severity: Severity = "error"
    trail: Trail = ()


class Fault(Exception):
    """Raised where a rule is broken and the place is not known; the caller adds the place.

    `argument` names the argument of the layer or the key that is at fault. `mended` are arguments
    with which the layer is sound and gives the shape that was meant, so that what follows can be
    looked at as well; `wanted` is the shape that a merge needs of its input,
    and `value` a value that was refused.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        argument: str = "",
        note: str = "",
        help: str = "",
        mended: Mapping[str, Any] | None = None,
        wanted: tuple[int, ...] = (),
        value: Any = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.argument, self.note, self.help = argument, note, help
        self.mended, self.wanted, self.value = mended or {}, wanted, value

    def at(self, place: Place | None, path: str = "", trail: Trail = ()) -> Diagnostic:
        """The Diagnostic of this fault at a place."""
        return Diagnostic(self.code, self.message, place, path, self.note, self.help, trail=trail)


class ShapecalcError(Exception):
    """Every error that a user is to see; `diagnostics` holds all that was found at once."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(map(_line, self.diagnostics)))


class SpecError(ShapecalcError):
    """The spec has a fault."""


class DataError(ShapecalcError):
    """The images or their folders have a fault."""


class RunError(ShapecalcError):
    """A run cannot be read, made or gone on with."""


def _line(diagnostic: Diagnostic) -> str:
    """One line for a traceback; the full report is made by `report.diagnostics`."""
    place = diagnostic.place
    where = f"{place.file}:{place.line}:{place.column}: " if place else ""
    mend = f" ({diagnostic.help})" if diagnostic.help else ""
    return f"{where}{diagnostic.code}: {diagnostic.message}{mend}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word closest in spelling to `word`, or "" where none is close."""
    import difflib  # only a misspelling needs it

    by_lower = {name.lower(): name for name in islice(known, 300)}
    matches = difflib.get_close_matches(word.lower(), by_lower, 1, 0.6)
    return by_lower[matches[0]] if matches else ""
