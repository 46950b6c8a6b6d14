"""Values of a YAML text replaced or added in place; every other character stays as it is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from shapecalc.diagnostics import Fault
from shapecalc.language.source import Key, Origin, plain
from shapecalc.language.writer import flow
from shapecalc.layers import KINDS, layer_class

_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]+)+")


def edited(text: str, values: Mapping[Origin, Any]) -> str:
    """The text with other values at some places, each a path of keys and list indices as a row's
    `at.origin` has them, so that a main argument has its name whether it is written or not.

    What is not there yet is added in the style of what is around it: `max_pool: 2` becomes
    `max_pool: {kernel_size: 2, stride: 1}`, a mapping on lines of its own gets a line. Raises Fault
    where there is no such place.
    """
    for path, value in values.items():
        text = _edited(text, tuple(path), value)
    return text


class _Node:
    """A stretch of the text that is a value, and what it holds."""

    __slots__ = ("alias", "column", "end", "flow", "held", "inside", "key_end", "start", "text")

    def __init__(self, event: Any, inside: bool) -> None:
        self.start: int = event.start_mark.index
        self.end: int = event.end_mark.index
        self.column: int = event.start_mark.column
        self.inside = inside
        """Whether it stands within brackets."""
        self.flow = True
        """Whether it has an end of its own: not so a list or mapping by indentation."""
        self.alias = False
        self.text: str | None = None
        """What a scalar says."""
        self.key_end: int | None = None
        """The end of its key, where it is a value of a mapping."""
        self.held: dict[str, _Node] | list[_Node] | None = None

    def last(self) -> int:
        """Where the text of the value ends."""
        if self.flow or not self.held:
            return self.end
        below = list(self.held.values()) if isinstance(self.held, dict) else self.held
        return below[-1].last()


def _document(text: str) -> _Node:
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    next(events), next(events)
    return _node(next(events), events, False, {})


def _node(event: Any, events: Iterator[Any], inside: bool, anchors: dict[str, _Node]) -> _Node:
    node = _Node(event, inside)
    if isinstance(event, yaml.AliasEvent):
        node.alias, node.held = True, anchors[str(event.anchor)].held
        return node
    if event.anchor is not None:
        anchors[event.anchor] = node
    if isinstance(event, yaml.ScalarEvent):
        node.text = event.value
        node.flow = event.style not in ("|", ">")
        return node
    node.flow = bool(event.flow_style)
    if isinstance(event, yaml.SequenceStartEvent):
        listed: list[_Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            listed.append(_node(event, events, node.flow, anchors))
        node.held = listed
    else:
        named: dict[str, _Node] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = event
            value = _node(next(events), events, node.flow, anchors)
            value.key_end = key.end_mark.index
            value.column = key.start_mark.column
            named[str(key.value)] = value
        node.held = named
    if node.flow:
        node.end = event.end_mark.index
    return node


def _edited(text: str, path: Origin, value: Any) -> str:
    node = _document(text)
    for depth, step in enumerate(path):
        if isinstance(node.held, dict):
            if str(step) not in node.held:
                return _added(text, node, path[depth:], value)
            node = node.held[str(step)]
        elif isinstance(node.held, list) and isinstance(step, int):
            if not -1 < step < len(node.held):
                raise _nowhere(path)
            node = node.held[step]
        elif _is_main(path, depth):
            continue
        else:
            return _spelled_out(text, node, path, depth, value)
    return _replaced(text, node, path, value)


def _is_main(path: Origin, depth: int) -> bool:
    """Whether a step names the main argument of a layer."""
    kind = path[depth - 1] if depth else None
    return kind in KINDS and layer_class(str(kind)).main == path[depth]


def _replaced(text: str, node: _Node, path: Origin, value: Any) -> str:
    held = node.held
    if isinstance(held, list) and isinstance(value, list | tuple) and len(value) == len(held):
        for index, part in enumerate(value) if not node.alias else ():
            if plain(held[index].text or "~") != part:
                text = _edited(text, (*path, index), part)
        if not node.alias:
            return text
    new = flow(value, inside=node.inside)
    if node.held is not None and not node.flow and not node.alias:
        if node.key_end is None:
            raise _nowhere(path)
        return f"{text[: node.key_end]}: {new}{text[node.last() :]}"
    if node.text is not None and not node.flow:
        return f"{text[: node.start]}{new}\n{text[node.end :]}"
    start = _start(text, node)
    if start == node.end and text[start - 1 : start] in (":", "-"):
        new = f" {new}"
    return f"{text[:start]}{new}{text[node.end :]}"


def _start(text: str, node: _Node) -> int:
    """Where the value starts, behind its anchor and tag."""
    found = _PROPERTIES.match(text, node.start, node.end)
    return found.end() if found else node.start


def _added(text: str, node: _Node, rest: Origin, value: Any) -> str:
    """A text with one more key in a mapping."""
    assert isinstance(node.held, dict)
    if node.alias:
        raise _nowhere(rest)
    pair = _pair(rest, value, inside=node.flow)
    if not node.held:
        brace = text.index("{", node.start) + 1
        return f"{text[:brace]}{pair}{text[brace:]}"
    *_, last = node.held.values()
    if node.flow:
        return f"{text[: last.end]}, {pair}{text[last.end :]}"
    first = next(iter(node.held.values()))
    indent = " " * first.column
    end = _line_end(text, last.last())
    newline = _newline(text)
    if _ends_in_block_text(last):
        return f"{text[:end]}{indent}{pair}{newline}{text[end:]}"
    return f"{text[:end]}{newline}{indent}{pair}{text[end:]}"


def _ends_in_block_text(node: _Node) -> bool:
    """Whether the last thing in a value is a text of several lines, which ends with its line."""
    while node.held:
        node = (list(node.held.values()) if isinstance(node.held, dict) else node.held)[-1]
    return node.text is not None and not node.flow


def _line_end(text: str, start: int) -> int:
    if text[start - 1 : start] == "\n":
        return start
    found = re.compile(r"[\r\n]|\Z").search(text, start)
    assert found is not None
    return found.start()


def _newline(text: str) -> str:
    found = re.search(r"\r\n|\n|\r", text)
    return found[0] if found else "\n"


def _spelled_out(text: str, node: _Node, path: Origin, depth: int, value: Any) -> str:
    """A text with arguments by name for a layer that is a bare word or has only a main one."""
    rest = path[depth:]
    old = text[node.start : node.end]
    if depth and isinstance(path[depth - 1], int) and node.text == rest[0] and rest[1:]:
        pair = _pair(rest[1:], value, inside=True)
        return f"{text[: node.end]}: {{{pair}}}{text[node.end :]}"
    kind = str(path[depth - 1]) if depth else ""
    if kind not in KINDS or node.key_end is None or not isinstance(rest[0], str):
        raise _nowhere(path)
    pair = _pair(rest, value, inside=True)
    if node.text is not None and plain(node.text or "~") is None:
        space = " " if text[node.start - 1 : node.start] == ":" else ""
        return f"{text[: node.start]}{space}{{{pair}}}{text[node.end :]}"
    main = layer_class(kind).main
    if main is None or not node.flow:
        raise _nowhere(path)
    if node.text is not None and not node.inside and old == node.text:
        old = flow(plain(old), inside=True)  # what needs no quotes by itself may within braces
    return f"{text[: node.start]}{{{main}: {old}, {pair}}}{text[node.end :]}"


def _pair(rest: Origin, value: Any, *, inside: bool) -> str:
    """`key: value`, with mappings around the value for further keys."""
    for step in reversed(rest[1:]):
        if not isinstance(step, str):
            raise _nowhere(rest)
        value = {step: value}
    return f"{flow(rest[0], inside=True)}: {flow(value, inside=inside)}"


def _nowhere(path: tuple[Key, ...]) -> Fault:
    return Fault("E109", f"{'.'.join(map(str, path))} cannot be changed in place in this text")


def rewrite(path: Path, values: Mapping[Origin, Any], check: Callable[[], None]) -> None:
    """Put values into a YAML file, then call `check`; where that raises, the file is again as it
    was. Raises Fault where there is no such place, and OSError where the file cannot be written.
    """
    path = path.resolve()  # what a link leads to is written, not the link
    before = path.read_bytes()
    after = edited(before.decode("utf-8"), values).encode("utf-8")
    _write(path, after)
    try:
        check()
    except BaseException:
        _write(path, before)
        raise


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once: whoever reads it sees all of the old or all of the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        shutil.copymode(path, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
