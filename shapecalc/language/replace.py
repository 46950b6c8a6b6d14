"""A spec with other values at some places, as if its text had been edited there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shapecalc.language.expressions import has_expression
from shapecalc.language.items import make_layer
from shapecalc.language.source import Origin
from shapecalc.language.spec import Spec
from shapecalc.language.writer import given_arguments
from shapecalc.layers import KINDS, Layer
from shapecalc.layers.structure import Block, Call, Container


def replaced(spec: Spec, values: Mapping[Origin, Any]) -> Spec:
    """The spec with other values at some paths, such as ("layers", 4, "conv", "stride"), which
    need not be there yet. Raises Fault for a value that its layer does not take."""
    for path, value in values.items():
        top, *rest = path
        changed = _put(getattr(spec, str(top)), tuple(rest), value)
        spec = spec.model_copy(update={str(top): changed})
    return spec


def item_at(spec: Spec, origin: Origin) -> Any:
    """What the spec has at a path, as layers; None where nothing is there."""
    value: Any = spec
    for step in origin:
        if isinstance(value, Layer | Call) and step == value.kind:
            continue  # the word itself
        if isinstance(value, Call):
            value = value.arguments.get(str(step))
        elif isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list | tuple) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            value = getattr(value, str(step), None)
    return value


def _put(value: Any, path: Origin, new: Any) -> Any:
    if not path:
        return new
    step, *rest = path
    if isinstance(value, Block):
        changed = _put(getattr(value, str(step)), tuple(rest), new)
        return value.model_copy(update={str(step): changed})
    if isinstance(value, list | tuple) and isinstance(step, int):
        part = value[step]
        if isinstance(part, Layer | Call):
            changed = _changed(part, tuple(rest[1:]), new)  # rest[0] is the layer's word
        else:
            changed = _put(part, tuple(rest), new)
        return type(value)((*value[:step], changed, *value[step + 1 :]))
    below = value if isinstance(value, Mapping) else {}
    return {**below, step: _put(below.get(step), tuple(rest), new)}


def _changed(item: Layer | Call, path: Origin, new: Any) -> Layer | Call:
    """A layer or call with another value in it."""
    step, *rest = path
    if isinstance(item, Container):
        held = _put(getattr(item, str(step)), tuple(rest), new)
        return item.model_copy(update={str(step): held})
    given = given_arguments(item)
    arguments = {**given, str(step): _put(given.get(str(step)), tuple(rest), new)}
    if isinstance(item, Call) and (item.kind not in KINDS or has_expression(arguments)):
        return Call(item.kind, arguments)
    layer, faults = make_layer(item.kind, arguments)
    if layer is None:
        raise faults[0]
    return layer
