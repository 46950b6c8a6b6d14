"""Two convolutions or linear layers in a row, computed as the one that they come to.

Its weight is made of both weights in each step, in fp32, and gradients run back through that to
both. What pays is counted, of a pair and for one sample: twice the MACs of each pass forward and
backward, and for each number of the tensor between the two that is written and read again, the
operations that the device could do in the meantime. Making the weight takes MACs too, once for the
batch, forward and for the gradients of both.
"""

from __future__ import annotations

from math import prod

from shapecalc.analysis.composition import joined
from shapecalc.analysis.rewrites.draft import Draft, Found, groups, is_linear, linear_map, parts
from shapecalc.analysis.windows import axes
from shapecalc.tracer import Row

SAID = "composes {places}"


def rewrite(draft: Draft) -> Found | None:
    chain = draft.chain(2)
    if chain is None or not all(map(is_linear, chain)):
        return None
    first, second = chain
    row = joined(first.row, second.row)
    if row is None:
        return None
    making = _making(first.row, second.row)
    if draft.training:
        back = first.inputs[0].gradient
        passes, moves = 2 + back, 5 + back  # forward, to both gradients; and what those read again
        apart = 2 * (passes * first.row.macs + 3 * second.row.macs)
        together = 2 * passes * row.macs + 3 * 2 * making / draft.batch
    else:
        moves = 2
        apart, together = 2 * (first.row.macs + second.row.macs), 2 * row.macs
    if together >= apart + draft.target.moved * moves * prod(first.row.output_shape):
        return None
    rows = (*parts(first), *parts(second))
    step = linear_map(row, rows, first.inputs[0], training=draft.training)
    return Found(2, (step,), _told(rows))


def _making(first: Row, second: Row) -> int:
    """MACs that make the weight of both."""
    inner, middle = first.input_shape, first.output_shape
    if first.kind == "linear":
        return inner[-1] * middle[-1] * second.output_shape[-1]
    kernels = prod(axis.kernel for axis in (*axes(first), *axes(second)))
    return inner[0] * middle[0] * second.output_shape[0] * kernels // groups(first) ** 2


def _told(rows: tuple[Row, ...]) -> str:
    *paths, last = (row.path for row in rows)
    return f"{', '.join(paths)} and {last}"
