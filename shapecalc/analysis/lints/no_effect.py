"""A layer that gives out what it gets.

An identity, a dropout of 0, a pool of 1, a flatten of what is flat, a relu behind a relu, a tensor
that is saved and never used: each is a line that could go, or a number that was meant otherwise. A
layer in a repeat or a block is found when it does nothing in any of them, and one whose argument is
an expression never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints.finding import Finding
from shapecalc.language.expressions import has_expression
from shapecalc.language.replace import item_at
from shapecalc.language.source import Origin
from shapecalc.layers.base import show
from shapecalc.layers.structure import Call
from shapecalc.tracer import Row

CODE = "W114"
BAD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - relu
  - dropout: 0.0
"""
GOOD = """\
input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - relu
  - dropout: 0.1
"""


def _none(value: Any) -> bool:
    """Whether a number, or a list of them, is 0."""
    return not any(value) if isinstance(value, tuple) else not value


def _is_one(value: Any) -> bool:
    return set(value) == {1} if isinstance(value, tuple) else value == 1


def _pool(row: Row) -> str:
    given = row.arguments
    bare = _none(given.get("padding", 0))
    idle = _is_one(given["kernel_size"]) and _is_one(given["stride"]) and bare
    return "a window of 1 is the pixel itself" if idle else ""


def _upsample(row: Row) -> str:
    given = row.arguments
    same = row.input_shape == row.output_shape
    idle = same and ("size" in given or _is_one(given["scale_factor"]))
    return f"the size is {show(row.input_shape)} before and behind it" if idle else ""


def _permute(row: Row) -> str:
    dims = row.arguments["dims"]
    order = [dim % len(dims) for dim in dims]
    return "the axes stay where they are" if order == sorted(order) else ""


def _flatten(row: Row) -> str:
    shape = row.input_shape
    return f"its input {show(shape)} is flat" if len(shape) == 1 else ""


def _zero(argument: str) -> Callable[[Row], str]:
    said = f"{argument} is 0"
    return lambda row: said if _none(getattr(row.layer, argument)) else ""


def _once(argument: str) -> Callable[[Row], str]:
    said = f"{argument} is 1"
    return lambda row: said if _is_one(getattr(row.layer, argument)) else ""


RULES: dict[str, Callable[[Row], str]] = {
    "identity": lambda row: "an identity gives out what it gets",
    **dict.fromkeys(("dropout", "channel_dropout", "alpha_dropout", "drop_path"), _zero("p")),
    **dict.fromkeys(("max_pool", "avg_pool"), _pool),
    "flatten": _flatten,
    "permute": _permute,
    "upsample": _upsample,
    **dict.fromkeys(
        ("constant_pad", "reflection_pad", "replication_pad", "circular_pad"), _zero("padding")
    ),
    "pixel_shuffle": _once("upscale_factor"),
    "pixel_unshuffle": _once("downscale_factor"),
    "channel_shuffle": _once("groups"),
}
"""Why a layer of a kind does nothing, or "" where it does something."""

NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid", "softmax", "softmin", "softplus")
KEPT = ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool", "flatten", "dropout",
        "channel_dropout", "identity", "permute", "unflatten")  # fmt: skip
"""What is not negative before these is not negative behind them."""


def find(graph: Graph) -> Iterator[Finding]:
    idle: dict[int, str] = {}
    busy: set[Origin] = set()
    for index, why in _reasons(graph):
        if why:
            idle[index] = why
        else:
            busy.add(graph.rows[index].at.origin)
    for index, why in idle.items():
        row = graph.rows[index]
        item = item_at(graph.trace.spec, row.at.origin)
        if row.at.origin in busy or (isinstance(item, Call) and _is_computed(item)):
            continue
        yield Finding(index, f"{row.kind} has no effect: {why}", help="remove it")


def _is_computed(call: Call) -> bool:
    return has_expression(call.kind) or has_expression(call.arguments)


def _reasons(graph: Graph) -> Iterator[tuple[int, str]]:
    """For each layer that might do nothing why it does, or "" where it does something."""
    for kind, rule in RULES.items():
        for index in graph.of(kind):
            yield index, rule(graph.rows[index])
    for index in graph.of("relu"):
        source = graph.behind(graph.sources[index][0], *KEPT)
        before = graph.kind(source)
        if before in NOT_NEGATIVE:
            yield index, f"what the {before} {graph.rows[source].path} gives is not negative"
        else:
            yield index, ""
    for index in graph.of("save"):
        name = getattr(graph.rows[index].layer, "tensor", "")
        yield index, f"{name} is not used later" if index in graph.unused else ""
