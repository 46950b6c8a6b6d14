"""YAML text to plain data, with the place of every key and value.

Scalars follow YAML 1.2: `no`, `010` and `1:30` are the words they look like and `1e-3` is a
float. Tags are refused, so nothing is ever constructed but numbers, words, lists and mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from shapecalc.diagnostics import MOST_FAULTS, Diagnostic, Place, SpecError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 60
MAX_NODES = 200_000
MAX_DIGITS = 40

_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)  # the libyaml parser where it was compiled in

_NUMERIC = frozenset("0123456789+-.eE")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

Part = Literal["value", "key", "entry"]
Key = str | int
Origin = tuple[Key, ...]
"""Where a value is in the document: keys and list indices from the top."""
Way = tuple[tuple[str, Origin], ...]
"""The block calls and turns of repeats that a layer is in: what to say of each, and its place."""


class Mark:
    """The place of a value, and the marks of what it holds."""

    __slots__ = ("children", "column", "end", "key", "line", "source", "weight")

    def __init__(self, source: Source, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        self.source = source
        self.line, self.column = start.line, start.column
        self.end = end.column if end.line == start.line else None
        self.key: Mark | None = None
        """The mark of the key, where the value is one of a mapping."""
        self.children: dict[str, Mark] | list[Mark] | None = None
        self.weight = 1
        """The number of values in it, aliases written out."""

    def close(self, event: Any) -> None:
        """Take the end of a list or mapping from its last event, where it is on the same line."""
        end = event.end_mark
        flow = end.column > 0 and end.line == self.line
        self.end = end.column if flow else None

    def place(self, start: int | None = None) -> Place:
        """Where it stands; from column `start` on, where that is given."""
        text = self.source.line(self.line)
        end = self.end if self.end is not None else len(text.split(" #")[0].rstrip())
        column = self.column if start is None else start
        return Place(self.source.file, self.line + 1, column + 1, max(end, column + 1) + 1, text)

    def entry(self) -> Place:
        """Where it stands with its key, as far as that is one line."""
        if self.key is None:
            return self.place()
        if self.key.line != self.line:
            return self.key.place()
        return self.place(self.key.column)

    def copy(self, children: dict[str, Mark] | list[Mark] | None) -> Mark:
        mark = Mark.__new__(Mark)
        for slot in Mark.__slots__:
            setattr(mark, slot, getattr(self, slot))
        mark.children = children
        return mark

    def put(self, key: Key, mark: Mark) -> None:
        if isinstance(self.children, dict):
            self.children[str(key)] = mark
        elif isinstance(self.children, list) and isinstance(key, int):
            self.children[key] = mark

    def child(self, key: Key) -> Mark | None:
        if isinstance(self.children, dict):
            return self.children.get(str(key))
        if isinstance(self.children, list) and isinstance(key, int):
            return self.children[key] if -1 < key < len(self.children) else None
        return None


class Source:
    """A text with its name, the data read from it, and where each value stands."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self._lines: list[str] | None = None
        if len(text) > MAX_BYTES:
            raise self._error(f"the spec has {len(text):,} characters, of at most {MAX_BYTES:,}")
        if re.search("[\ud800-\udfff]", text):  # half a character, as of an argument's odd bytes
            raise self._error("the text has a character that cannot be written", code="E101")
        self.data, self.mark = _Composer(self).document()

    @classmethod
    def read(cls, path: Path | str) -> Source:
        """The source in a file. Raises SpecError where it cannot be read."""
        path = Path(path)
        try:
            if path.is_dir():
                raise _unreadable(path, "is a directory, not a spec")
            if path.stat().st_size > MAX_BYTES:
                raise _unreadable(path, f"has more than {MAX_BYTES:,} bytes")
            return cls(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            raise _unreadable(path, "does not exist", _similar(path)) from None
        except OSError as error:
            raise _unreadable(path, f"cannot be read: {(error.strerror or '').lower()}") from None
        except UnicodeDecodeError as error:
            raise _unreadable(path, f"is not UTF-8 text (byte {error.start})") from None
        except ValueError:
            raise _unreadable(path, "is not the name of a file") from None

    def line(self, number: int) -> str:
        """A line by its number from 0."""
        if self._lines is None:
            self._lines = self.text.splitlines()
        return self._lines[number] if 0 <= number < len(self._lines) else ""

    def place(self, path: Sequence[Key], part: Part = "value") -> Place:
        """The place of the value at `path`, of its key or of both; of the nearest that exists."""
        mark = self.mark
        for step in path:
            child = mark.child(step)
            if child is None and isinstance(mark.children, list) and isinstance(step, str):
                continue  # the main argument, given without its name
            if child is None:
                return mark.entry()
            mark = child
        if part == "value" or mark.key is None:
            return mark.place()
        return mark.key.place() if part == "key" else mark.entry()

    def override(self, path: Sequence[Key], value: Any, value_mark: Mark) -> None:
        """Put a value read from another source at `path`, in place of what is there."""
        data, mark = self.data, self.mark
        for step in path[:-1]:
            held = data.get(step) if isinstance(data, dict) else data[step]
            if not isinstance(held, dict | list):
                data[step] = {}
                mark.put(step, value_mark.copy({}))
            below = mark.child(step)
            assert below is not None
            data, mark = data[step], below
        data[path[-1]] = value
        mark.put(path[-1], value_mark)

    def _error(
        self, message: str, mark: Any = None, code: str = "E103", mend: str = ""
    ) -> SpecError:
        place = None
        if mark is not None:
            text = self.line(mark.line)
            place = Place(self.file, mark.line + 1, mark.column + 1, mark.column + 2, text)
        return SpecError([Diagnostic(code, message, place, help=mend)])


class _Composer:
    """Reads the events of one document into data and marks, within the limits."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.anchors: dict[str, tuple[Any, Mark | None]] = {}
        self.nodes = 0
        self.duplicates: list[Diagnostic] = []

    def document(self) -> tuple[Any, Mark]:
        loader = _Loader(self.source.text)
        events = self._events(loader)
        try:
            next(events)  # the start of the stream
            event = next(events)
            if isinstance(event, yaml.StreamEndEvent):
                raise self.source._error("the spec is empty", code="E107")
            result = self._value(next(events), events, 0)
            next(events)  # the end of the document
            event = next(events)
            if not isinstance(event, yaml.StreamEndEvent):
                raise self.source._error(
                    "a spec is one YAML document, but a second one starts here",
                    event.start_mark,
                    "E101",
                )
        finally:
            loader.dispose()
        if self.duplicates:
            raise SpecError(self.duplicates)
        return result

    def _events(self, loader: Any) -> Iterator[Any]:
        try:
            while True:
                yield loader.get_event()
        except yaml.MarkedYAMLError as error:
            from shapecalc.language import mends  # a sound spec needs none

            mark, began = error.problem_mark or error.context_mark, error.context_mark
            if mark and began and began.line < mark.line and "indicator" not in str(error.problem):
                mark = began  # what was opened there is missed here
            problem = error.problem or error.context or "this is not YAML"
            if "nesting depth" in problem:  # libyaml's own limit, which it meets reading ahead
                raise self._too_deep(mark) from None
            line = self.source.line(mark.line) if mark else ""
            message, mend = mends.yaml(problem, line, mark.column if mark else 0)
            raise self.source._error(message, mark, "E101", mend) from None
        except yaml.YAMLError as error:  # a character that YAML does not know
            reason = str(error).splitlines()[0]
            raise self.source._error(f"this is not YAML: {reason}", code="E101") from None

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> tuple[Any, Mark]:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        tag = event.tag
        if tag is not None and tag not in _TAGS and not (tag == "!" and event.implicit):
            raise self.source._error(f"tags are not part of the language: {tag}", event.start_mark)
        mark = Mark(self.source, event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (None, None)  # still open: an alias to it is a cycle
        self._count(1, event)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif depth == MAX_DEPTH:
            raise self._too_deep(event.start_mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(mark, events, depth)
        else:
            value = self._mapping(mark, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, mark)
        return value, mark

    def _too_deep(self, mark: Any) -> SpecError:
        return self.source._error(f"values are nested more than {MAX_DEPTH} deep", mark)

    def _count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise self.source._error(
                f"the spec has more than {MAX_NODES:,} values, aliases written out",
                event.start_mark,
            )

    def _alias(self, event: Any) -> tuple[Any, Mark]:
        if event.anchor not in self.anchors:
            raise self.source._error(f"no anchor &{event.anchor} stands before this alias",
                                     event.start_mark, "E101")  # fmt: skip
        value, mark = self.anchors[event.anchor]
        if mark is None:
            raise self.source._error(f"*{event.anchor} contains itself", event.start_mark)
        self._count(mark.weight, event)
        return value, mark

    def _sequence(self, mark: Mark, events: Iterator[Any], depth: int) -> list[Any]:
        values, marks = [], []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            value, child = self._value(event, events, depth + 1)
            values.append(value)
            marks.append(child)
            mark.weight += child.weight
        mark.close(event)
        mark.children = marks
        return values

    def _mapping(self, mark: Mark, events: Iterator[Any], depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        marks: dict[str, Mark] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                from shapecalc.language import mends

                mark = event.start_mark
                message, mend = mends.yaml(
                    "a key must be a word", self.source.line(mark.line), mark.column
                )
                raise self.source._error(message, mark, "E101", mend)
            key, key_mark = event.value, Mark(self.source, event)
            value, child = self._value(next(events), events, depth + 1)
            if child.key is not None:  # an alias: the same value under another key
                child = child.copy(child.children)
            child.key = key_mark
            if key in values:
                self._duplicate(key, key_mark, marks[key])
            values[key], marks[key] = value, child
            mark.weight += child.weight
        mark.close(event)
        mark.children = marks
        return values

    def _duplicate(self, key: str, again: Mark, before: Mark) -> None:
        if len(self.duplicates) == MOST_FAULTS:
            return
        first = before.key.line + 1 if before.key else 0
        self.duplicates.append(
            Diagnostic(
                "E102",
                f"the key {key!r} is given twice, at lines {first} and {again.line + 1}",
                again.place(),
                note=f"first at line {first}",
                help=f"remove one of the two, or give the second another name than {key!r}",
            )
        )

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style or event.tag is not None:  # quoted, or said to be a word
            return text
        if len(text) > MAX_DIGITS and _NUMERIC.issuperset(text) and text[-1].isdigit():
            raise self.source._error(
                f"a number of {len(text):,} digits, of at most {MAX_DIGITS}", event.start_mark
            )
        return plain(text)


def as_step(text: str) -> Key:
    """A step of a dotted path: a key, or a number that may be the index of a list."""
    return int(text) if text.isdecimal() and len(text) < 10 else text


def plain(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if not text.isascii() or "_" in text:
        return text
    bare = text[1:] if text[0] in "+-" else text
    leading_zero = bare[:1] == "0" and bare[1:2].isdigit()
    if leading_zero or not (bare[:1].isdigit() or bare[:1] == "."):
        return text
    if bare.isdigit():  # of a quoted text, which is asked what it would be, as many as there are
        return int(text) if len(bare) <= MAX_DIGITS else text
    try:
        return float(text)
    except ValueError:
        return text


_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))


def _unreadable(path: Path, reason: str, help: str = "") -> SpecError:
    return SpecError([Diagnostic("E100", f"{path} {reason}", help=help)])


def _similar(path: Path) -> str:
    from shapecalc.diagnostics import nearest

    try:
        specs = {path.suffix, ".yaml", ".yml"}
        names = {e.stem: e.name for e in path.parent.iterdir() if e.suffix in specs}
    except OSError:
        return ""
    match = nearest(path.stem, names)
    return f"did you mean {path.with_name(names[match])}?" if match else ""
