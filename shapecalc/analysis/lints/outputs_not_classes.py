"""A last layer that gives another number of outputs than there are classes.

A network that names its classes in params, or is trained on data whose classes are known, needs one
output for each. With fewer, training stops at the first picture of a class beyond; with more, the
network learns that the others never come.
"""

from __future__ import annotations

from collections.abc import Iterator

from shapecalc.analysis.graph import INPUT, Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.language.recipe import SyntheticApparel, TorchvisionData

CODE = "W110"
BAD = """\
input: [64]
params: {classes: 10}
layers:
  - linear: 12
"""
GOOD = """\
input: [64]
params: {classes: 10}
layers:
  - linear: ${classes}
"""

KNOWN = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "USPS", "SVHN"), 10),
    **dict.fromkeys(("CIFAR10", "STL10", "EuroSAT", "Imagenette"), 10),
    "CIFAR100": 100,
    "Food101": 101,
    "Flowers102": 102,
    "GTSRB": 43,
    "OxfordIIITPet": 37,
}
"""The classes of torchvision's data sets, where they are always as many."""

SIZED = {"linear": "out_features", "conv": "out_channels", "conv_transpose": "out_channels"}


def find(graph: Graph) -> Iterator[Finding]:
    spec = graph.trace.spec
    classes, said = spec.params.get("classes"), "params has classes"
    if classes is None and spec.train.get("data"):
        classes, said = _of_data(graph), "the data has classes"
    outputs = graph.trace.output_shape[0]
    if isinstance(classes, bool) or not isinstance(classes, int) or classes == outputs:
        return
    node = graph.output
    while graph.kind(node) not in SIZED and node in graph.sources:
        node = graph.sources[node][0]
    if node == INPUT:
        return
    row = graph.rows[node]
    argument = SIZED[row.kind]
    value = "${classes}" if "classes" in spec.params else classes
    fits = row.output_shape[0] == outputs
    help = f"write {argument}: {value}" if fits else f"let it end in linear: {value}"
    yield Finding(
        node,
        f"the network gives {outputs} outputs, but {said}: {classes}",
        argument=argument,
        help=help,
    )


def _of_data(graph: Graph) -> int | None:
    data = graph.recipe.data if graph.recipe else None
    if isinstance(data, SyntheticApparel):
        return 15
    return KNOWN.get(data.torchvision) if isinstance(data, TorchvisionData) else None
