"""A softmax, log_softmax or sigmoid as the last layer of a network that cross_entropy trains.

torch's cross_entropy takes the network's plain outputs and their log_softmax itself. Of outputs
that are shares already, between 0 and 1, it takes the softmax once more: the loss of a perfect
answer stays far above 0, and gradients are small. A log_softmax before it changes nothing and is
computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.language.recipe import named

CODE = "W102"
BAD = """\
input: [64]
layers:
  - linear: 10
  - softmax
"""
GOOD = """\
input: [64]
layers:
  - linear: 10
"""

SHARES = ("softmax", "softmin", "sigmoid", "log_softmax", "log_sigmoid")


def find(graph: Graph) -> Iterator[Finding]:
    index = graph.behind(graph.output, "flatten", "identity", "dropout")
    kind = graph.kind(index)
    if kind not in SHARES or graph.recipe is None:
        return
    loss = named(graph.recipe.loss)[0]
    if loss not in ("cross_entropy", "focal"):
        return
    if kind == "log_softmax":
        message = f"log_softmax stands before the loss {loss}, which takes it itself"
        help = "remove it; or keep it and write train: {loss: nll}"
    else:
        message = f"{kind} stands before the loss {loss}, which takes the softmax itself"
        help = "remove it; predict and eval give probabilities without it"
        classes = graph.trace.output_shape[0]
        if loss == "cross_entropy" and not kind.startswith("log") and classes > 1:
            least = log(1 + (classes - 1) * exp(-1))
            message += f": with {classes} classes the loss cannot fall below {least:.2f}"
    yield Finding(index, message, help=help)
