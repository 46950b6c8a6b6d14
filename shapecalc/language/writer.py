"""A spec as YAML, each layer in its shortest form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shapecalc.language.items import Item
from shapecalc.language.source import plain
from shapecalc.language.spec import Spec
from shapecalc.layers import layer_class
from shapecalc.layers.structure import Call

_WORD = re.compile(r"[A-Za-z_./][\w./@+*() -]*(?<! )", re.ASCII)
_EXPRESSION = re.compile(r"\$\{[^{}:#,\[\]\n]*\}")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def to_yaml(spec: Spec) -> str:
    """The YAML that reads back as the same spec."""
    lines = [f"name: {flow(spec.name)}", f"input: {flow(spec.input)}"]
    if spec.params:
        lines.append(f"params: {flow(spec.params)}")
    lines += ["layers:", *_items(spec.layers, "  ")] if spec.layers else ["layers: []"]
    if spec.train:
        lines += ["train:", *(f"  {flow(k)}: {flow(v)}" for k, v in spec.train.items())]
    return "\n".join(lines) + "\n"


def _items(items: Sequence[Item], indent: str) -> Iterator[str]:
    for item in items:
        arguments = given_arguments(item)
        held = arguments.pop("layers", None)
        if held is None:
            yield f"{indent}- {_layer(item.kind, arguments)}"
            continue
        yield f"{indent}- {item.kind}:"
        yield from (f"{indent}    {key}: {flow(value)}" for key, value in arguments.items())
        yield f"{indent}    layers:" if held else f"{indent}    layers: []"
        yield from _items(held, indent + "      ")


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
        return kind
    main = layer_class(kind).main
    if main is not None and list(arguments) == [main]:
        value = arguments[main]
        if value is not None and not isinstance(value, Mapping):  # those read as named arguments
            return f"{kind}: {flow(value)}"
    return f"{kind}: {flow(arguments)}"


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
