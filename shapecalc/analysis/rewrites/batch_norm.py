"""batch_norm in evaluation, folded into the convolution or linear layer before it.

With the statistics of training it is a factor and a shift for each channel, which the weight and
the bias of the layer before it can take on: one pass over the tensor less.
"""

from __future__ import annotations

from shapecalc.analysis.rewrites.draft import Draft, Found, is_linear, linear_map, parts, with_layer
from shapecalc.layers.norm import BatchNorm

SAID = "folds batch_norm into {places}"


def rewrite(draft: Draft) -> Found | None:
    chain = None if draft.training else draft.chain(2)
    if chain is None or not is_linear(chain[0]):
        return None
    first, norm = chain
    layer = norm.row.layer
    if not isinstance(layer, BatchNorm) or not layer.track_running_stats:
        return None
    if first.row.kind == "linear" and len(first.row.output_shape) > 1:
        return None  # its features are not what batch_norm takes for channels
    row = with_layer(first.row, bias=True)
    rows = (*parts(first), norm.row)
    return Found(2, (linear_map(row, rows, first.inputs[0], training=False),), first.row.path)
