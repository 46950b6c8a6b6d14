"""The bias of a convolution, and activations that never fall, behind max_pool instead of before.

What is largest in a window is largest still once a number is added to all of it, or once a function
is taken that never falls: the pool can come first, and leaves fewer numbers to do that to. A bias
stays with its convolution on a CPU, whose libraries add it on the way.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from shapecalc.analysis.flow import Step, Value
from shapecalc.analysis.rewrites.draft import (
    Draft,
    Found,
    at_shape,
    has_bias,
    is_linear,
    linear_map,
    parts,
    with_layer,
)
from shapecalc.analysis.windows import axes
from shapecalc.layers.base import Inplace, Layer, Saved
from shapecalc.layers.conv import Conv
from shapecalc.layers.hard import Hardshrink, Hardsigmoid, Hardtanh, Softshrink
from shapecalc.layers.pool import AdaptiveMaxPool, MaxPool
from shapecalc.layers.rectifier import LeakyRelu, Relu, Relu6, Threshold
from shapecalc.layers.smooth import (
    Arctan,
    Celu,
    Elu,
    LogSigmoid,
    Selu,
    Sigmoid,
    Softsign,
    Tanh,
)

SAID = "pools before bias and activation at {places}"

_NEVER_FALL = (
    *(Relu, Relu6, Selu, Tanh, Sigmoid, LogSigmoid, Softsign, Arctan),
    *(Hardtanh, Hardsigmoid, Hardshrink, Softshrink),
)
"""Those that never fall whatever their arguments. Of softplus torch makes a straight line from some
point on, a little below what it would be there; a prelu's slopes are learnt, a rrelu's drawn."""


def rewrite(draft: Draft) -> Found | None:
    pool = draft.steps[-1]
    if pool.does != "layer" or not _takes_largest(pool):
        return None
    if prod(pool.row.output_shape) >= prod(pool.row.input_shape):
        return None
    acts = _activations(draft)
    below = len(acts) + 2
    chain = draft.chain(below)
    conv = chain[0] if chain and draft.target.gpu and _is_biased(chain[0]) else None
    if conv is None and not acts:
        return None
    steps: list[Step] = []
    x = (acts[0] if acts else pool).inputs[0]
    if conv is not None:
        steps.append(_unbiased(conv))
        (x,) = steps[-1].outputs
    shape = pool.row.output_shape
    steps.append(replace(pool, inputs=(x,), outputs=(Value(shape, x.gradient),)))
    if conv is not None:
        (x,) = steps[-1].outputs
        row = conv.row._replace(input_shape=shape, output_shape=shape, macs=0)
        out = Value(shape, True, x)  # in place, as nothing else needs what the pool gives
        steps.append(Step(row, "bias", (x,), (out,), Saved(view=True), parts(conv)))
    for act in acts:
        (x,) = steps[-1].outputs
        row = at_shape(act.row, shape)
        saved = row.layer.saved(shape, shape)
        out = Value(shape, x.gradient, x if saved.view else None)
        steps.append(Step(row, "layer", (x,), (out,), saved))
    return Found(below - (conv is None), tuple(steps), pool.row.path)


def _takes_largest(pool: Step) -> bool:
    """Whether a step takes the largest number of each window, of which there is one: a window that
    is dilated can lie on padding alone."""
    layer = pool.row.layer
    if isinstance(layer, MaxPool):
        found = axes(pool.row)
        return all(axis.dilation == 1 or not axis.padding for axis in found)
    return isinstance(layer, AdaptiveMaxPool)


def _activations(draft: Draft) -> list[Step]:
    """The activations right before the last step that never fall, in order."""
    found: list[Step] = []
    for step, after in zip(reversed(draft.steps[:-1]), reversed(draft.steps), strict=False):
        if not draft.feeds(step, after) or step.does != "layer" or not never_falls(step.row.layer):
            break
        if isinstance(step.row.layer, Inplace) and step.row.layer.inplace:
            (x,) = step.inputs  # what it overwrites may be read elsewhere, or be a part of that
            if draft.reads(x) > 1 or x is draft.input or x.whole is not None:
                break
        found.insert(0, step)
    return found


def never_falls(layer: Layer) -> bool:
    """Whether an activation gives no less for a larger number, one by one."""
    match layer:
        case LeakyRelu():
            return layer.negative_slope >= 0
        case Elu():
            return layer.alpha >= 0
        case Celu():
            return layer.alpha > 0
        case Threshold():
            return layer.value <= layer.threshold
    return isinstance(layer, _NEVER_FALL)


def _is_biased(step: Step) -> bool:
    return is_linear(step) and isinstance(step.row.layer, Conv) and has_bias(step.row)


def _unbiased(conv: Step) -> Step:
    """The same without its bias, which a later step adds."""
    row = with_layer(conv.row, bias=False)
    if conv.does == "map":
        return replace(conv, row=row, outputs=(Value(row.output_shape, True),))
    return linear_map(row, parts(conv), conv.inputs[0])
