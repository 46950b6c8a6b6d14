"""The `blocks:` of a spec: pieces of network with parameters, called by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from shapecalc.diagnostics import MOST_FAULTS, Fault
from shapecalc.language.faults import unknown, written
from shapecalc.language.items import Params, Problems, read_items
from shapecalc.layers import KINDS
from shapecalc.layers.base import COMMON
from shapecalc.layers.structure import Block, Call, Container

_KEYS = ("params", "layers")


def read_blocks(data: Any, problems: Problems) -> dict[str, Block]:
    """The blocks of a spec; what is wrong with any of them is added to `problems`."""
    if isinstance(data, Mapping) and all(isinstance(b, Block) for b in data.values()):
        return dict(data)
    if not isinstance(data, Mapping):
        fault = Fault("E106", f"blocks must be named, not {written(data)}",
                      help="write blocks: {stem: {layers: [...]}}")  # fmt: skip
        problems.append((fault, ("blocks",)))
        return {}
    params = parameters(data)
    blocks = {}
    for name, block in data.items():
        origin = ("blocks", name)
        before = len(problems)
        if before >= MOST_FAULTS:
            break
        problems += ((fault, origin) for fault in _wrong(name, block))
        if len(problems) > before:
            continue
        layers = read_items(block["layers"], (*origin, "layers"), problems, params)
        blocks[name] = Block(params=dict(_params(block)), layers=layers)
    found = _first_cycle(blocks)
    if found:
        fault, name = found
        problems.append((fault, ("blocks", name)))
    return blocks


def parameters(data: Any) -> Params:
    """The parameters of the blocks in a document, as far as they can be told."""
    if not isinstance(data, Mapping):
        return {}
    return {
        name: block.params if isinstance(block, Block) else _params(block)
        for name, block in data.items()
        if isinstance(name, str) and name not in KINDS
    }


def check_cycle(block: str, around: Sequence[str]) -> None:
    """Raises Fault where a block is called within itself; `around` are those it is called in."""
    if block in around:
        cycle = " -> ".join([*around[around.index(block) :], block])
        raise Fault(
            "E110",
            f"the block {block} calls itself: {cycle}",
            help="a block can only call blocks that do not lead back to it; use repeat to go on",
        )


def _params(block: Any) -> Mapping[str, Any]:
    params = block.get("params") if isinstance(block, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def _wrong(name: str, block: Any) -> Iterator[Fault]:
    if name in KINDS or not name.isidentifier():
        reason = "a kind of layer is called that" if name in KINDS else "a name is one word"
        yield Fault("E106", f"a block cannot be called {name!r}: {reason}",
                    help=f"call it my_{name}" if name in KINDS else "")  # fmt: skip
    if not isinstance(block, Mapping):
        yield Fault("E106", f"the block {name} needs layers, not {written(block)}",
                    help=f"write {name}: {{layers: [...]}}")  # fmt: skip
        return
    for key in islice((key for key in block if key not in _KEYS), MOST_FAULTS):
        yield unknown(f"the block {name}", key, _KEYS, "key")
    if "layers" not in block:
        yield Fault("E107", f"the block {name} needs layers", help="write layers: [...] in it")
    params = block.get("params")
    if params is not None and not isinstance(params, Mapping):
        yield Fault("E106", f"params must be named values, not {written(params)}",
                    argument="params", help="write params: {channels: null}")  # fmt: skip
    for param in _params(block):
        if param in ("x", *COMMON) or not param.isidentifier():
            yield Fault("E106", f"a parameter cannot be called {param!r}",
                        argument=f"params.{param}", help="give it another name")  # fmt: skip


def _first_cycle(blocks: Mapping[str, Block]) -> tuple[Fault, str] | None:
    """The first block that is called within itself, and where the way to it begins. Each block is
    looked into once, and without recursion: thousands may call one another."""
    calls = {
        name: [c for c in _calls(block.layers) if c in blocks] for name, block in blocks.items()
    }
    sound: set[str] = set()
    for name in blocks:
        around = [name]
        open_calls = [iter(calls[name])]
        while around:
            called = next(open_calls[-1], None)
            if called is None:
                sound.add(around.pop())
                open_calls.pop()
            elif called not in sound:
                try:
                    check_cycle(called, around)
                except Fault as fault:
                    return fault, name
                around.append(called)
                open_calls.append(iter(calls[called]))
    return None


def _calls(held: Any) -> Iterator[str]:
    """The kinds that are called somewhere in layers."""
    if isinstance(held, tuple | list):
        for item in held:
            yield from _calls(item)
    elif isinstance(held, Call):
        yield held.kind
        for value in held.arguments.values():
            yield from _calls(value)
    elif isinstance(held, Container):
        for field in held.held:
            yield from _calls(getattr(held, field))
