"""The three ways to write a layer, read into layer classes."""

from __future__ import annotations

import keyword
from typing import Any

from pydantic import ValidationError

from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.expressions import has_expression
from shapecalc.language.faults import problems, written
from shapecalc.language.source import Origin
from shapecalc.layers import KINDS, Layer, layer_class
from shapecalc.layers.base import COMMON
from shapecalc.layers.structure import Call

Item = Layer | Call
Problems = list[tuple[Fault, Origin]]

_SYNONYMS = {
    "dense": "linear",
    "fc": "linear",
    "swish": "silu",
    "dropout2d": "channel_dropout",
    "dropout1d": "channel_dropout",
    "dropout3d": "channel_dropout",
    "globalavgpool": "adaptive_avg_pool",
    "globalaveragepooling2d": "adaptive_avg_pool",
    "averagepool": "avg_pool",
    "deconv": "conv_transpose",
    "spatialdropout": "channel_dropout",
    "atan": "arctan",
    "heaviside": "binary_step",
}


def read_items(data: Any, origin: Origin, problems: Problems) -> tuple[Item, ...]:
    """A list of layers; what is wrong with any of them is added to `problems`."""
    if not isinstance(data, list | tuple):
        fault = Fault("E106", f"layers must be a list, not {written(data)}",
                      help="write each layer on a line of its own, after '- '")  # fmt: skip
        problems.append((fault, origin))
        return ()
    items = (read_item(item, (*origin, index), problems) for index, item in enumerate(data))
    return tuple(item for item in items if item is not None)


def read_item(data: Any, origin: Origin, problems: Problems) -> Item | None:
    """One layer: a word, a word with its main argument, or a word with named arguments."""
    if isinstance(data, Layer | Call):
        return data
    try:
        kind, value = _word(data)
        if kind not in KINDS:
            raise _unknown_kind(kind)
    except Fault as fault:
        problems.append((fault, origin))
        return None
    origin = (*origin, kind)
    try:
        arguments = _named(kind, value)
    except Fault as fault:
        problems.append((fault, origin))
        return None
    if kind == "sequential" and "layers" in arguments:
        arguments["layers"] = read_items(arguments["layers"], (*origin, "layers"), problems)
    if has_expression(arguments):
        return Call(kind, arguments)
    layer, faults = make_layer(kind, arguments)
    problems.extend((fault, origin) for fault in faults)
    return layer


def make_layer(kind: str, arguments: dict[str, Any]) -> tuple[Layer | None, list[Fault]]:
    """A layer of literal arguments, or what is wrong with them."""
    cls = layer_class(kind)
    try:
        return cls.model_validate(arguments), []
    except ValidationError as error:
        return None, problems(error, kind, cls)


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
        first, *rest = data
        raise Fault(
            "E106",
            f"a layer is one word with its arguments, but here are {len(data)}: {', '.join(data)}",
            help=f"indent {', '.join(rest)} deeper than {first}, or write {first}: {{...}}",
        )
    raise Fault(
        "E106",
        f"a layer is a word like relu, or a word with arguments, not {written(data)}",
        help="write for example conv: {out_channels: 8, kernel_size: 3}",
    )


def _named(kind: str, value: Any) -> dict[str, Any]:
    """The arguments by name."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return dict(value)
    cls = layer_class(kind)
    if cls.main is None:
        known = ", ".join(field for field in cls.model_fields if field not in COMMON)
        raise Fault(
            "E106",
            f"{kind} takes no argument without its name, but is given {written(value)}",
            help=f"write just {kind}" + (f", or name the argument: {known}" if known else ""),
        )
    return {cls.main: value}


def _unknown_kind(word: str) -> Fault:
    bare = "".join(c for c in word.lower() if c.isalnum())
    plain = bare[:-2] if bare[-2:] in ("1d", "2d", "3d") else bare
    close = _SYNONYMS.get(bare) or _SYNONYMS.get(plain)
    if not close:
        joined = {kind.replace("_", ""): kind for kind in KINDS}
        close = joined.get(plain) or nearest(word, KINDS)
    help = f"did you mean {close}?" if close else f"known kinds: {', '.join(KINDS)}"
    if close and plain != bare:
        help += " The input's rank decides between 1d, 2d and 3d"
    return Fault("E105", f"there is no kind of layer called {written(word)!r}", help=help)


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
