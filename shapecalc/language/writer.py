"""A spec as YAML, each layer in its shortest form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shapecalc.language.items import MAIN
from shapecalc.language.source import plain
from shapecalc.language.spec import Spec
from shapecalc.layers import KINDS, Layer, layer_class
from shapecalc.layers.structure import Call, Item

_WORD = re.compile(r"[A-Za-z_./][\w./@+*() -]*(?<! )", re.ASCII)
_EXPRESSION = re.compile(r"\$\{[^{}:#,\[\]\n]*\}")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def to_yaml(spec: Spec) -> str:
    """The YAML that reads back as the same spec."""
    lines = [f"name: {flow(spec.name)}", f"input: {flow(spec.input)}"]
    if spec.params:
        lines.append(f"params: {flow(spec.params)}")
    lines += _section("variants", spec.variants)
    if spec.blocks:
        lines.append("blocks:")
    for name, block in spec.blocks.items():
        lines.append(f"  {name}:")
        lines += [f"    params: {flow(block.params)}"] if block.params else []
        lines += _list("layers", block.layers, "    ")
    lines += _list("layers", spec.layers, "")
    if spec.max_layers != Spec.model_fields["max_layers"].default:
        lines.append(f"max_layers: {spec.max_layers}")
    lines += [f"allow: {flow(spec.allow)}"] if spec.allow else []
    lines += _section("train", spec.train)
    return "\n".join(lines) + "\n"


def _section(name: str, values: Mapping[str, Any]) -> list[str]:
    return [f"{name}:", *(f"  {flow(k)}: {flow(v)}" for k, v in values.items())] if values else []


def _list(key: str, items: Sequence[Item] | Sequence[Sequence[Item]], indent: str) -> Iterator[str]:
    """Layers, or branches of them, under their key."""
    yield f"{indent}{key}:" if items else f"{indent}{key}: []"
    for item in items:
        yield from _item(item, indent + "  ")


def _item(item: Item | Sequence[Item], indent: str) -> Iterator[str]:
    if isinstance(item, Sequence):
        inner = [line for held in item for line in _item(held, indent + "  ")]
        first = inner[0].lstrip() if inner else "[]"
        yield from (f"{indent}- {first}", *inner[1:])
        return
    arguments = given_arguments(item)
    held = {key: value for key, value in arguments.items() if _is_held(value)}
    if not held:
        yield f"{indent}- {_layer(item.kind, arguments)}"
        return
    yield f"{indent}- {item.kind}:"
    plain = (item for item in arguments.items() if item[0] not in held)
    yield from (f"{indent}    {key}: {flow(value)}" for key, value in plain)
    for key, items in held.items():
        yield from _list(key, items, f"{indent}    ")


def _is_held(value: Any) -> bool:
    """Whether a value is made of layers."""
    if not isinstance(value, tuple):
        return False
    return any(isinstance(part, Layer | Call) or _is_held(part) for part in value)


def given_arguments(item: Item) -> dict[str, Any]:
    """The arguments that a layer was given, defaults left out."""
    if isinstance(item, Call):
        return dict(item.arguments)
    given = {name: getattr(item, name) for name in type(item).model_fields}
    fields = type(item).model_fields
    return {
        name: value
        for name, value in given.items()
        if fields[name].is_required() or value != fields[name].default
    }


def _layer(kind: str, arguments: Mapping[str, Any]) -> str:
    if not arguments:
        return flow(kind)
    main = layer_class(kind).main if kind in KINDS else MAIN
    if main is not None and list(arguments) == [main]:
        value = arguments[main]
        if value is not None and not isinstance(value, Mapping):  # those read as named arguments
            return f"{flow(kind)}: {flow(value)}"
    return f"{flow(kind)}: {flow(arguments)}"


def flow(value: Any, *, inside: bool = False) -> str:
    """A value of plain data on one line; `inside` of brackets an expression needs quotes."""
    if isinstance(value, Mapping):
        pairs = (f"{flow(k, inside=True)}: {flow(v, inside=True)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(flow(item, inside=True) for item in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if not inside and _EXPRESSION.fullmatch(text):
        return text
    if _WORD.fullmatch(text) and isinstance(plain(text), str):
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # YAML's double quotes are JSON's
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
