"""For which input sizes a spec works, found by tracing it at each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shapecalc.diagnostics import Fault, SpecError
from shapecalc.geometry import extent
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
from shapecalc.layers.base import AXES, Shape
from shapecalc.layers.conv import Conv
from shapecalc.layers.pool import AvgPool, MaxPool
from shapecalc.tracer import Trace, smallest_input, trace

MOST = 2**20
"""The largest size that is looked at."""

REACH = 64
"""Sizes around today's that are looked at for losing no pixel; more where strides are larger."""


@dataclass(frozen=True)
class AxisSizes:
    """The sizes of one spatial axis, the others being as they are today."""

    axis: str
    today: int
    smallest: int
    same_features: range
    """Sizes around today's for which the first linear layer gets the same in-features; of the
    whole output's shape, where there is no linear layer."""
    lossless: tuple[int, ...]
    """Sizes near today's at which no stride leaves pixels over."""


@dataclass(frozen=True)
class Sizes:
    """Which inputs a spec works for."""

    spec: Spec
    smallest: Shape
    """The smallest input, of the same number on every axis where today's is."""
    axes: tuple[AxisSizes, ...]
    features: int | None
    """In-features of the first linear layer today."""


def sizes(spec: Spec) -> Sizes:
    """The input sizes that work. Raises SpecError where today's is not among them, or the input
    has no spatial axes."""
    traced = trace(spec)
    shape = traced.input_shape
    if len(shape) < 2:
        fault = Fault("E201", "the input has no spatial axes, so there are no sizes to tell")
        raise SpecError([locate(fault, spec.source, ("input",))])
    least = smallest_input(spec, shape[1:])
    assert least is not None  # today's input works
    names = AXES[len(shape) - 1]
    axes = tuple(_axis(spec, traced, index, name) for index, name in enumerate(names, 1))
    linear = traced.first_linear
    return Sizes(spec, least, axes, linear[0].input_shape[-1] if linear else None)


def _axis(spec: Spec, today: Trace, index: int, name: str) -> AxisSizes:
    size = today.input_shape[index]

    def at(other: int) -> Trace | None:
        shape = list(today.input_shape)
        shape[index] = other
        try:
            return trace(spec.with_input(tuple(shape)))
        except SpecError:
            return None

    def keeps(other: int) -> bool:
        return _same(at(other), today)

    smallest = _edge(lambda n: at(n) is not None, size, -1, size - 1)
    first = _edge(keeps, size, -1, size - smallest)
    last = _edge(keeps, size, 1, MOST - size)
    jump = max((int(row.jumps[index - 1]) for row in today.leaves), default=0)
    reach = max(REACH, min(jump, 16 * REACH))
    near = range(max(smallest, size - reach), size + reach + 1)
    lossless = tuple(n for n in near if (traced := at(n)) and not _drops(traced, index))
    return AxisSizes(name, size, smallest, range(first, last + 1), lossless)


def _edge(holds: Callable[[int], bool], start: int, direction: int, room: int) -> int:
    """The last number from `start` on, at most `room` away, up to which something holds.

    Steps double while it does, and are then halved.
    """
    inside, step = 0, 1
    while inside + step <= room and holds(start + direction * (inside + step)):
        inside += step
        step *= 2
    while step:
        if inside + step <= room and holds(start + direction * (inside + step)):
            inside += step
        step //= 2
    return start + direction * inside


def _same(traced: Trace | None, today: Trace) -> bool:
    if traced is None:
        return False
    linear, before = traced.first_linear, today.first_linear
    if linear is None or before is None:
        return traced.output_shape == today.output_shape
    return linear[0].input_shape == before[0].input_shape


def _drops(traced: Trace, index: int) -> bool:
    """Whether a strided window leaves pixels of this axis over."""
    for row in traced.leaves:
        layer = row.layer
        if isinstance(layer, Conv | MaxPool | AvgPool) and len(row.input_shape) > index:
            kernel, dilation, stride, padding = layer.windows(row.input_shape[1:])[index - 1]
            reach = (row.output_shape[index] - 1) * stride + extent(kernel, dilation)
            if reach < row.input_shape[index] + padding:
                return True
    return False
