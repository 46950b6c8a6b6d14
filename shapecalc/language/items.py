"""The three ways to write a layer, read into layer classes."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from shapecalc.diagnostics import MOST_FAULTS, Fault
from shapecalc.language.expressions import has_expression
from shapecalc.language.faults import problems, unknown, written
from shapecalc.language.source import Origin
from shapecalc.layers import KINDS, STRUCTURE, Layer, layer_class
from shapecalc.layers.base import COMMON
from shapecalc.layers.structure import Call, Container, Item, Items

Problems = list[tuple[Fault, Origin]]
Params = Mapping[str, Mapping[str, Any]]
"""The parameters of each block, with their defaults."""


def read_items(data: Any, origin: Origin, problems: Problems, blocks: Params) -> Items:
    """A list of layers; what is wrong with any of them is added to `problems`."""
    if not isinstance(data, list | tuple):
        each = "write each layer on a line of its own, after '- '"
        if isinstance(data, str) and data.startswith("-"):
            each += f", as in - {data.split()[0].lstrip('-')}"
        fault = Fault("E106", f"layers must be a list, not {written(data)}", help=each)
        problems.append((fault, origin))
        return ()
    items = []
    for index, item in enumerate(data):
        if len(problems) >= MOST_FAULTS:
            break
        items.append(read_item(item, (*origin, index), problems, blocks))
    return tuple(item for item in items if item is not None)


def read_item(data: Any, origin: Origin, problems: Problems, blocks: Params) -> Item | None:
    """One layer: a word, a word with its main argument, or a word with named arguments."""
    if isinstance(data, Layer | Call):
        return data
    try:
        kind, value = _word(data)
        if "${" in kind:
            return Call(kind, _unnamed(value))
        check_kind(kind, blocks, value)
    except Fault as fault:
        problems.append((fault, origin))
        return None
    origin = (*origin, kind)
    try:
        if kind in blocks:
            return Call(kind, block_arguments(kind, _unnamed(value), blocks[kind]))
        arguments = named_arguments(kind, _unnamed(value))
    except Fault as fault:
        problems.append((fault, origin))
        return None
    if KINDS[kind] in STRUCTURE:
        _read_held(kind, arguments, origin, problems, blocks)
    if has_expression(arguments):
        return Call(kind, arguments)
    layer, faults = make_layer(kind, arguments)
    problems.extend((fault, origin) for fault in faults)
    return layer


MAIN = ""
"""The name of an argument that was given without one."""


def check_kind(kind: Any, blocks: Params, value: Any = None) -> None:
    """Raises Fault for a word that is neither a kind nor a block; `value` stands behind it."""
    if not isinstance(kind, str) or (kind not in KINDS and kind not in blocks):
        from shapecalc.language import mends  # a sound spec needs none

        word = written(kind)
        help = mends.kind(word, value, blocks)
        raise Fault("E105", f"there is no kind of layer called {word!r}", help=help)


def _unnamed(value: Any) -> dict[str, Any]:
    """What stands behind a word, as arguments of which the main one has no name yet."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, dict) else {MAIN: value}


def named_arguments(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the main one under its name. Raises Fault for a kind without one."""
    if MAIN not in arguments:
        return dict(arguments)
    value = arguments[MAIN]
    cls = layer_class(kind)
    if cls.main is None:
        known = ", ".join(field for field in cls.model_fields if field not in COMMON)
        raise Fault(
            "E106",
            f"{kind} takes no argument without its name, but is given {written(value)}",
            help=f"write just {kind}" + (f", or name the argument: {known}" if known else ""),
        )
    return {cls.main: value}


def computed_arguments(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a kind that an expression gave. Raises Fault for one made of layers."""
    if issubclass(layer_class(kind), Container):
        raise Fault(
            "E105",
            f"{kind} cannot be given by an expression: it is made of layers",
            help=f"write {kind} itself, with when: ${{...}} where it is not always there",
        )
    return named_arguments(kind, arguments)


_made: dict[tuple[str, str], Layer] = {}


def make_layer(kind: str, arguments: dict[str, Any]) -> tuple[Layer | None, list[Fault]]:
    """A layer of literal arguments, or what is wrong with them.

    Layers do not change, so the same arguments give the same object.
    """
    key = kind, repr(arguments)
    if key in _made:
        return _made[key], []
    layer, faults = validated(layer_class(kind), kind, arguments)
    if layer is not None and KINDS[kind] not in STRUCTURE:
        if len(_made) > 10_000:
            _made.clear()
        _made[key] = layer
    return layer, faults


def validated(
    cls: type[Layer], owner: str, arguments: dict[str, Any]
) -> tuple[Layer | None, list[Fault]]:
    """A layer of a class, or what is wrong with its arguments."""
    try:
        return cls.model_validate(arguments), []
    except ValidationError as error:
        return None, problems(error, owner, cls, arguments)


def _read_held(
    kind: str, arguments: dict[str, Any], origin: Origin, problems: Problems, blocks: Params
) -> None:
    """Read the layers that a container is made of, in place."""
    cls = layer_class(kind)
    for field in cls.held if issubclass(cls, Container) else ():
        value, below = arguments.get(field), (*origin, field)
        if kind == "branches" and isinstance(value, list | tuple):
            arguments[field] = tuple(
                read_items(branch, (*below, number), problems, blocks)
                for number, branch in enumerate(value)
            )
        elif field in arguments and not (field == "shortcut" and isinstance(value, bool | str)):
            arguments[field] = read_items(value, below, problems, blocks)


def block_arguments(
    block: str, arguments: Mapping[str, Any], params: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call of a block by name; its first parameter is the main one. Raises Fault
    for one that it does not have, and where one is missing that must be given."""
    given = dict(arguments)
    if MAIN in given:
        value = given.pop(MAIN)
        if not params:
            raise Fault(
                "E106",
                f"{block} takes no argument, but is given {written(value)}",
                help=f"write just {block}",
            )
        given[next(iter(params))] = value
    for name in given:
        if name not in params and name not in COMMON:
            raise unknown(block, name, params)
    missing = [name for name, default in params.items() if default is None and name not in given]
    if missing:
        example = ", ".join(f"{name}: ..." for name in missing)
        raise Fault(
            "E107", f"{block} needs {' and '.join(missing)}", help=f"write {block}: {{{example}}}"
        )
    return given


def check_name(name: str) -> None:
    """A name becomes an attribute of the module. Raises Fault where it cannot."""
    if name in RESERVED or name.startswith("_") or keyword.iskeyword(name):
        raise Fault(
            "E106",
            f"a layer cannot be named {name!r}: modules and Python have that for themselves",
            argument="name",
            help=f"write {name.strip('_') or 'layer'}_ or another name",
        )


def _word(data: Any) -> tuple[str, Any]:
    if isinstance(data, str):
        return data, None
    if isinstance(data, dict) and len(data) == 1:
        ((kind, value),) = data.items()
        return kind, value
    if isinstance(data, dict) and data:
        from shapecalc.language import mends

        first, *rest = data
        raise Fault(
            "E106",
            f"a layer is one word with its arguments, but here are {len(data)}: {', '.join(data)}",
            help=mends.typed(data)
            or f"indent {', '.join(rest)} deeper than {first}, or write {first}: {{...}}",
        )
    raise Fault(
        "E106",
        f"a layer is a word like relu, or a word with arguments, not {written(data)}",
        help="write for example conv: {out_channels: 8, kernel_size: 3}",
    )


_TAKEN = (
    "T_destination add_module append apply bfloat16 buffers call_super_init children clear "
    "compile cpu cuda double dump_patches eval extend extra_repr float forward get_buffer "
    "get_extra_state get_parameter get_submodule half insert ipu items keys layers "
    "load_state_dict modules mtia named_buffers named_children named_modules named_parameters "
    "parameters pop register_backward_hook register_buffer register_forward_hook "
    "register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook "
    "register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module "
    "register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ "
    "set_extra_state set_submodule share_memory state_dict steps to to_empty train training type "
    "update values xpu zero_grad"
)
RESERVED = frozenset(_TAKEN.split())
"""What an nn.Module has already, and so no layer can be called."""
