"""The JSON Schema of a spec file, for editors: what can be told of a spec without walking it.

It is draft-07, which yaml-language-server reads. Everything about a kind of layer is taken from its
class; here is only the form in which layers are written. A value may always be a text with `${...}`
in it, and what that comes to is not looked at.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter

from shapecalc.diagnostics import CODES
from shapecalc.language.faults import written
from shapecalc.language.items import RESERVED
from shapecalc.language.recipe import Recipe
from shapecalc.language.spec import Spec
from shapecalc.layers import KINDS, base, layer_class
from shapecalc.layers.base import COMMON
from shapecalc.layers.structure import Container

Schema = dict[str, Any]

NULL = {"type": "null"}
EXPRESSION = r"\$\{[^}]*\}"
_LETTER = r"A-Za-z_\u0080-\uffff"  # JavaScript's \w is ASCII, Python's identifiers are not
IDENTIFIER = rf"[{_LETTER}][{_LETTER}0-9]*"
_TAKEN = "|".join(sorted({*RESERVED, *keyword.kwlist}))
LAYER_NAME = rf"^(?!(?:{_TAKEN})$)[A-Za-z][A-Za-z0-9_]*$"

CALLING = "WithBlocks"
"""Ends the names of definitions in which a block of the spec may stand for a kind."""


def schema() -> Schema:
    """The JSON Schema of a spec file."""
    definitions = _shared()
    settings = _object(Recipe.model_json_schema(), _documented(Recipe.__module__), definitions)
    _name_synthetic_data(definitions)
    for calling in ("", CALLING):
        definitions[f"Layer{calling}"] = _layer(calling)
        for kind in KINDS:
            if not calling or _holds_layers(kind):
                definitions[_definition(kind, calling)] = _kind(kind, calling, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "shapecalc spec",
        "description": "A convolutional network: its input, its layers and how it is trained.",
        "type": "object",
        "properties": _sections() | {"train": {**settings, "type": ["object", "null"]}},
        "required": ["input", "layers"],
        "additionalProperties": False,
        # Which blocks there are is not for a schema to know. Only where there are some, a word
        # that is no kind can be right.
        "if": {
            "required": ["blocks"],
            "properties": {"blocks": {"type": "object", "minProperties": 1}},
        },
        "then": {"properties": {"layers": _layers(CALLING)}},
        "else": {"properties": {"layers": _layers("")}},
        "definitions": definitions,
    }


def _sections() -> Schema:
    """The sections of a spec but `train`, in the order of `Spec`."""
    size = _may_be_expression({"type": "integer", "minimum": 1})
    params = "numbers, words, booleans or lists for ${...}; each can use those before it"
    return {
        "name": {
            "description": "What the network is called, and its runs.",
            "type": ["string", "null"],
            "default": Spec.model_fields["name"].default,
        },
        "input": {
            "description": "The sizes of one sample, without the batch axis: [C, H, W], [C, L], "
            "[C, D, H, W] or [features].",
            "type": "array",
            "items": size,
            "minItems": 1,
            "maxItems": 4,
        },
        "params": {
            "description": f"Params: {params}. `--set params.NAME=VALUE` overrides one.",
            "type": ["object", "null"],
            "propertyNames": {"not": {"const": "x"}},
        },
        "variants": {
            "description": "Named sets of params, each used by FILE@NAME.",
            "type": ["object", "null"],
            "additionalProperties": {
                "description": "What the variant sets, which must be among the params.",
                "type": "object",
            },
        },
        "blocks": {
            "description": "Pieces of network with parameters, to be called by their names.",
            "type": ["object", "null"],
            "propertyNames": {"pattern": f"^{IDENTIFIER}$", "not": {"enum": list(KINDS)}},
            "additionalProperties": {"$ref": "#/definitions/Block"},
        },
        "layers": {"description": "The layers, in the order in which they are computed."},
        "max_layers": {
            "description": "The most layers that are walked, repeats written out.",
            "type": ["integer", "null"],
            "minimum": 1,
            "default": Spec.model_fields["max_layers"].default,
        },
        "allow": {
            "description": "The lints that are not told of this network.",
            "allOf": [{"$ref": "#/definitions/Allow"}],
        },
    }


def _shared() -> Schema:
    """The definitions that stand in many places."""
    often = {
        name: {"description": f"{_OFTEN[name][1]}.", **_written_out(type)}
        for name, type in _often().items()
    }
    lint = [
        {"type": "string", "enum": [code for code in CODES if code.startswith("W")]},
        {"$ref": "#/definitions/Expression"},
    ]
    return often | {
        "Expression": {
            "description": "A text with an expression in it: ${classes}, ${x.channels * 2}.",
            "type": "string",
            "pattern": EXPRESSION,
            "patternErrorMessage": "no such word can stand here; an expression is written ${...}",
        },
        "Name": {
            "description": "The name of the layer, which becomes an attribute of its module.",
            "anyOf": [
                {
                    "type": "string",
                    "pattern": LAYER_NAME,
                    "patternErrorMessage": "a name is a word of letters, digits and _ that starts "
                    "with a letter and is not taken by Python or nn.Module",
                },
                {"$ref": "#/definitions/Expression"},
                NULL,
            ],
        },
        "When": {
            "description": "Whether the layer is there at all. Default: true.",
            **_may_be_expression({"type": "boolean"}),
            "default": True,
        },
        "Allow": {
            "description": "The lints that are not told of the layer and of what it holds, by "
            "their codes.",
            "anyOf": [*lint, {"type": "array", "items": {"anyOf": lint}}],
        },
        "Block": {
            "description": "A piece of network: its parameters and its layers.",
            "type": "object",
            "properties": {
                "params": {
                    "description": "The parameters with their defaults; one that is null must be "
                    "given. The first is the main one.",
                    "type": ["object", "null"],
                    "propertyNames": {
                        "pattern": f"^{IDENTIFIER}$",
                        "not": {"enum": ["x", *COMMON]},
                    },
                },
                "layers": {"description": "The layers of the block.", **_layers(CALLING)},
            },
            "required": ["layers"],
            "additionalProperties": False,
        },
    }


def _layers(calling: str) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/definitions/Layer{calling}"}}


def _layer(calling: str) -> Schema:
    """One layer, in any of the three ways to write it.

    All kinds are properties of one object, of which there is one: an editor completes that better
    than a choice between as many objects, and can say what is wrong within it.
    """
    bare = [kind for kind in KINDS if not _required(kind)]
    words: list[Schema] = [
        {
            "description": "A kind of layer that needs no argument.",
            "type": "string",
            "enum": bare,
            "enumDescriptions": [_said(kind) for kind in bare],
        },
        {"$ref": "#/definitions/Expression"},
    ]
    others = {EXPRESSION: {"description": "A layer whose kind is an expression."}}
    if calling:
        words.append(
            {
                "description": "A block of the spec, called by its name.",
                "type": "string",
                "pattern": f"^{IDENTIFIER}$",
                "not": {"enum": list(KINDS)},
            }
        )
        others[f"^{IDENTIFIER}$"] = {
            "description": "A block of the spec, called with its main argument or named ones."
        }
    kinds = {kind: {"$ref": f"#/definitions/{_definition(kind, calling)}"} for kind in KINDS}
    return {
        "description": "A layer: a word, a word with its main argument, or with named arguments.",
        "anyOf": [
            *words,
            {
                "description": "A kind of layer with its arguments.",
                "type": "object",
                "properties": kinds,
                "patternProperties": others,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ],
    }


def _kind(kind: str, calling: str, definitions: Schema) -> Schema:
    """What may stand after a kind: its main argument, named arguments, or nothing."""
    cls = layer_class(kind)
    documents = {
        (cls.__name__, name): text
        for parent in reversed(cls.__mro__)
        for (owner, name), text in _documented(parent.__module__).items()
        if owner == parent.__name__
    }
    named = _object(cls.model_json_schema(), documents, definitions, calling)
    arguments = named["properties"]
    common = {name: {"$ref": f"#/definitions/{name.capitalize()}"} for name in COMMON}
    named["properties"] = {n: a for n, a in arguments.items() if n not in COMMON} | common
    required = _required(kind)
    choices = [named] if required else [named, NULL]
    if cls.main is not None and required <= {cls.main}:
        main = arguments[cls.main]
        if required:  # nothing after the colon is no argument, not a null
            main = {k: [c for c in v if c != NULL] if k == "anyOf" else v for k, v in main.items()}
        choices.insert(0, main)
    named.pop("description")
    return {"description": _said(kind), "anyOf": choices}


def _object(node: Schema, documents: _Documents, definitions: Schema, calling: str = "") -> Schema:
    """An object of named values, as pydantic describes it, each of which may be an expression.

    The classes that it refers to, other than layers, are added to `definitions`.
    """
    for name, definition in node.get("$defs", {}).items():
        if name not in ("Layer", "Call"):
            definitions[name] = _object(definition, documents, definitions, calling)
    properties = {}
    for name, value in node["properties"].items():
        said = value.get("description") or documents.get((node["title"], name)) or f"{name}."
        default = value.get("default")
        tail = "May be left out." if default is None else f"Default: {written(default)}."
        if name in node.get("required", ()):
            tail = "Must be given."
        properties[name] = {
            "description": f"{said} {tail}",
            **_may_be_expression(value, calling),
            **({"default": default} if default is not None else {}),
        }
    return {
        "description": _joined(node.get("description") or ""),
        "type": "object",
        "properties": properties,
        **({"required": node["required"]} if node.get("required") else {}),
        "additionalProperties": False,
    }


def _may_be_expression(node: Schema, calling: str = "") -> Schema:
    """A value, as pydantic describes it, or a text with `${...}`; for what it holds likewise."""
    kept = _bare(node)
    for name, shared in _often().items():
        if kept == shared:
            return {"allOf": [{"$ref": f"#/definitions/{name}"}]}
    return _written_out(kept, calling)


def _written_out(node: Schema, calling: str = "") -> Schema:
    """A value of a type or a text with `${...}`, without reference to the types of `_OFTEN`."""
    given = node.get("anyOf", [node])
    choices = [_choice(choice, calling) for choice in given]
    any_word = {"type": "string"} in choices
    if not any_word and not all(map(_of_layers, given)):
        choices.append({"$ref": "#/definitions/Expression"})
    return {"anyOf": choices} if len(choices) > 1 else choices[0]


def _bare(node: Schema) -> Schema:
    """A value's type, without what is said of it."""
    return {k: v for k, v in node.items() if k not in ("title", "default", "description")}


_OFTEN: dict[str, tuple[Any, str]] = {
    "Boolean": (bool, "true or false"),
    "Positive": (base.Positive, "a whole number of at least 1"),
    "Natural": (base.Natural, "a whole number of at least 0"),
    "Number": (base.Number, "a number"),
    "Probability": (base.Probability, "a number from 0 to 1"),
    "Sizes": (base.Sizes, "one whole number of at least 1 for all axes, or a list of one for each"),
    "Paddings": (base.Paddings, "one whole number for all axes, or a list of one for each"),
}
"""The types that many arguments have, which are written out once."""


@cache
def _often() -> dict[str, Schema]:
    """What pydantic says of each type in `_OFTEN`."""
    return {name: TypeAdapter(type).json_schema() for name, (type, _) in _OFTEN.items()}


def _choice(node: Schema, calling: str) -> Schema:
    kept = _bare(node)
    if "$ref" in node:
        return {"$ref": node["$ref"].replace("#/$defs/", "#/definitions/")}
    if _is_layer(node.get("items", {})):
        return {**kept, **_layers(calling)}
    if "prefixItems" in node:  # draft-07 has another word for it
        first = [_may_be_expression(item, calling) for item in kept.pop("prefixItems")]
        return {**kept, "items": first, "additionalItems": False}
    if "items" in node:
        inner = node["items"]
        held = _choice(inner, calling) if _of_layers(inner) else _may_be_expression(inner, calling)
        return {**kept, "items": held}
    if isinstance(node.get("additionalProperties"), dict):  # a thing of torch with its arguments
        inner = _may_be_expression(node["additionalProperties"], calling)
        return {**kept, "additionalProperties": inner, "minProperties": 1, "maxProperties": 1}
    return kept


def _is_layer(node: Schema) -> bool:
    return {"$ref": "#/$defs/Layer"} in node.get("anyOf", ())


def _of_layers(node: Schema) -> bool:
    """Whether it is a list of layers, or of such lists; an expression cannot make those."""
    items = node.get("items")
    return isinstance(items, dict) and (_is_layer(items) or _of_layers(items))


def _name_synthetic_data(definitions: Schema) -> None:
    """`data: synthetic_apparel` stands for itself, alone or with its counts."""
    counts = definitions["SyntheticApparel"]
    definitions["SyntheticApparel"] = {
        "description": counts["description"],
        "anyOf": [
            {"const": "synthetic_apparel"},
            {
                "type": "object",
                "properties": {"synthetic_apparel": {**counts, "type": ["object", "null"]}},
                "required": ["synthetic_apparel"],
                "additionalProperties": False,
            },
        ],
    }


def _definition(kind: str, calling: str) -> str:
    return f"{kind}{calling}" if _holds_layers(kind) else kind


def _holds_layers(kind: str) -> bool:
    return issubclass(layer_class(kind), Container)


def _required(kind: str) -> set[str]:
    return {name for name, f in layer_class(kind).model_fields.items() if f.is_required()}


def _said(kind: str) -> str:
    return _joined(layer_class(kind).__doc__ or kind)


def _joined(text: str) -> str:
    """A docstring as one line."""
    return " ".join(text.split())


_Documents = dict[tuple[str, str], str]
"""What is said of a field below it, by its class and its name."""


@cache
def _documented(module: str) -> _Documents:
    """What the classes of a module say of their fields, where its source can be read."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {
        (owner.name, name): text
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for name, text in _documents(owner.body)
    }


def _documents(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, below in pairwise(body):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, _joined(text)
