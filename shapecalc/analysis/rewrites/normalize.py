"""The normalisation of pixels, folded into the convolution that they come to.

It is a factor and a shift for each channel, which the weight and the bias of a convolution can take
on where that pads with no zeros: pixels from 0 to 255 then go in as they are.
"""

from __future__ import annotations

from shapecalc.analysis.rewrites.draft import Draft, Found, is_linear, linear_map, parts, with_layer
from shapecalc.analysis.windows import axes
from shapecalc.layers.conv import Conv

SAID = "normalises pixels in the weight of {places}"


def rewrite(draft: Draft) -> Found | None:
    step = draft.steps[-1]
    if step.inputs != (draft.input,) or draft.reads(draft.input) > 1 or not is_linear(step):
        return None
    layer = step.row.layer
    if not isinstance(layer, Conv) or draft.pixels:
        return None
    if layer.padding_mode == "zeros" and any(axis.padding for axis in axes(step.row)):
        return None
    draft.pixels = True
    row = with_layer(step.row, bias=True)
    mapped = linear_map(row, parts(step), draft.input, training=draft.training, pixels=True)
    return Found(1, (mapped,), step.row.path)
