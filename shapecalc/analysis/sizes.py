"""For which input sizes a spec works, found by asking it about each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from shapecalc.diagnostics import Fault, SpecError
from shapecalc.inputs import Answer, Exhausted, Shapes
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
from shapecalc.layers.base import AXES, Shape, Window
from shapecalc.tracer import Trace, smallest_input, trace

MOST = 2**20
"""The largest size that is looked at."""

REACH = 64
"""Sizes around today's that are all looked at; more where strides are larger."""

DENSE = 384
"""Sizes from 1 on that are all looked at, as far as today's where that is not much larger; more,
up to 8 times as many, until a rule is found."""

WORK = 75_000
"""Layers walked in all, which takes about a second; of large networks fewer sizes are looked at."""


@dataclass(frozen=True)
class Rule:
    """Sizes that have something in common, and the rule behind them where there is one.

    A rule was right for every size that was tried: the sizes of one period, and those of the two
    or more that follow.
    """

    tried: tuple[range, ...]
    runs: tuple[range, ...]
    """Those without a rule: all below `start`, or all that were found."""
    start: int | None = None
    """From here on the sizes of a period repeat; None without a rule."""
    period: int = 0
    sizes: tuple[int, ...] = ()
    """Of the first period, from `start` on."""

    def __contains__(self, size: int) -> bool:
        if self.start is None or size < self.start:
            return any(size in run for run in self.runs)
        return self.start + (size - self.start) % self.period in self.sizes


@dataclass(frozen=True)
class Step:
    """Sizes next to each other for which the first linear layer gets the same; the output is the
    same where there is no linear layer."""

    first: int
    last: int
    features: int | None
    """The in-features of the first linear layer."""
    output: Shape


@dataclass(frozen=True)
class AxisSizes:
    """The sizes of one spatial axis, the others being as they are today."""

    axis: str
    today: int
    smallest: int
    works: Rule
    same_features: range
    """Sizes around today's for which the first linear layer gets the same in-features; of the
    whole output's shape, where there is no linear layer. Those that do not work are passed over."""
    lossless: tuple[int, ...]
    """Sizes near today's at which no stride leaves pixels over."""
    without_loss: Rule
    """All such sizes."""


@dataclass(frozen=True)
class Sizes:
    """Which inputs a spec works for."""

    spec: Spec
    smallest: Shape
    """The smallest input, of the same number on every axis where today's is."""
    axes: tuple[AxisSizes, ...]
    features: int | None
    """In-features of the first linear layer today."""
    square: Rule | None
    """The sizes that work on all axes at once, where that does not follow from those of each."""
    steps: tuple[Step, ...]
    """In-features by size: of all axes at once where today's are the same, else of the first."""


def sizes(spec: Spec) -> Sizes:
    """The input sizes that work. Raises SpecError where today's is not among them, or the input
    has no spatial axes."""
    traced = trace(spec)
    shape = traced.input_shape
    if len(shape) < 2:
        fault = Fault("E201", "the input has no spatial axes, so there are no sizes to tell")
        raise SpecError([locate(fault, spec.source, ("input",))])
    linear = traced.first_linear
    shapes = Shapes(spec, work=0, marked=linear[0].path if linear else "")
    names = AXES[len(shape) - 1]
    together = len(names) > 1 and len(set(shape[1:])) == 1
    lines = [_Line(shapes, traced, (axis,)) for axis in range(1, len(shape))]
    diagonal = _Line(shapes, traced, tuple(range(1, len(shape)))) if together else lines[0]
    every = [*lines, diagonal] if together else lines
    for line in every:
        shapes.work += WORK // len(every)
        line.look()
    axes = tuple(map(_axis, names, lines))
    return Sizes(
        spec,
        _smallest(diagonal, axes) if together else _smallest_oblong(shapes, traced, axes),
        axes,
        linear[0].input_shape[-1] if linear else None,
        _square(diagonal, axes) if together else None,
        tuple(diagonal.steps()),
    )


class _Line:
    """Inputs of which some axes have the size at hand, and the others are as today."""

    def __init__(self, shapes: Shapes, today: Trace, axes: tuple[int, ...]) -> None:
        self.shapes, self.today, self.axes = shapes, today, axes
        self.size = today.input_shape[axes[0]]
        self.answers: dict[int, Answer | None] = {}
        self.dense = range(1, 1)
        self.bits = sum(1 << (axis - 1) for axis in axes)
        axis = axes[0]
        jump = max(
            (
                int(row.jumps[axis - 1])
                for row in today.leaves
                if isinstance(row.layer, Window) and row.output_shape[axis:][:1] > (1,)
            ),
            default=0,
        )
        reach = max(REACH, min(jump, 16 * REACH))
        self.near = range(max(1, self.size - reach), self.size + reach + 1)

    def at(self, size: int) -> Answer | None:
        """What becomes of a size. Raises Exhausted."""
        if size not in self.answers:
            shape = list(self.today.input_shape)
            for axis in self.axes:
                shape[axis] = size
            self.answers[size] = self.shapes.answer(tuple(shape))
        return self.answers[size]

    def look(self) -> None:
        """Ask about the sizes near today's, then about all from 1 on until rules are found."""
        self.near = range(self.near.start, self.ask(self.near) + 1)
        start, most = 1, max(256, min(2 * self.size, DENSE))
        if self.near.stop <= 2 * DENSE:
            most = max(most, self.near.stop - 1)
        while most <= 8 * DENSE:
            self.dense = range(start, self.ask(range(start, most + 1)) + 1)
            if self.dense[-1:] != range(most, most + 1) or self.works().start is not None:
                break
            most *= 2
        if not any(self.answers[n] for n in self.dense):  # the smallest is further on
            edge = _edge(self.holds, self.size, -1, self.size - 1)
            self.shapes.work += WORK // 8
            start = max(1, edge - REACH)
            self.dense = range(start, self.ask(range(start, edge + DENSE)) + 1)

    def ask(self, wanted: range) -> int:
        """Ask about sizes until the work is done or has become too much; the last one."""
        last = wanted.start - 1
        try:
            for last in wanted:
                self.at(last)
        except Exhausted:
            last -= 1
        return last

    def holds(self, size: int) -> bool:
        return self.known(size) is not None

    def known(self, size: int) -> Answer | None:
        """As `at`, for the few sizes that are needed in any case."""
        left, self.shapes.work = self.shapes.work, self.shapes.most + 1
        answer = self.at(size)
        self.shapes.work = left
        return answer

    def works(self) -> Rule:
        return self.rule(lambda answer: answer is not None)

    def rule(self, test: Callable[[Answer | None], bool]) -> Rule:
        """The sizes whose answers pass a test."""
        near = [n for n in self.near if n not in self.dense]
        tried = tuple(_runs([*self.dense, *near]))
        found = {n for run in tried for n in run if test(self.answers[n])}
        bits = sum(1 << n - self.dense.start for n in self.dense if n in found)
        count = len(self.dense)
        for period in range(1, count // 3 + 1):
            differs = (bits ^ bits >> period) & (1 << count - period) - 1
            lead = differs.bit_length()
            if lead <= count // 2 and count - lead >= 3 * period:
                start = self.dense.start + lead
                first = tuple(n for n in range(start, start + period) if n in found)
                rule = Rule(
                    tried, tuple(_runs(n for n in found if n < start)), start, period, first
                )
                if all((n in rule) == (n in found) for n in near):
                    return rule
        return Rule(tried, tuple(_runs(found)))

    def smallest(self) -> int:
        return next(n for n in sorted(self.answers) if self.answers[n])

    def got(self, answer: Answer) -> object:
        """What steps are told by: the in-features, or the output without a linear layer."""
        return answer.marked if self.today.first_linear else answer.shape

    def steps(self) -> Iterator[Step]:
        """What the first linear layer gets, from size to size."""
        sizes = sorted({*self.dense, *self.near})
        runs = [(n, answer) for n in sizes if (answer := self.answers[n])]
        for _, run in groupby(runs, key=lambda pair: self.got(pair[1])):
            (first, answer), *others = run
            last = others[-1][0] if others else first
            if last == self.dense.stop - 1 and self.dense.stop < self.near.start:
                last = self.end(last, 1, answer)
            if first == self.near.start > self.dense.stop:
                first = self.end(first, -1, answer)
            features = answer.marked[-1] if answer.marked else None
            yield Step(first, last, features, answer.shape)

    def end(self, size: int, direction: int, answer: Answer) -> int:
        """The last size that was not looked at and gets the same."""

        def same(other: int) -> bool:
            found = self.known(other)
            return found is not None and self.got(found) == self.got(answer)

        return _edge(same, size, direction, self.near.start - self.dense.stop)


def _axis(name: str, line: _Line) -> AxisSizes:
    size, works = line.size, line.works()
    linear = line.today.first_linear
    whole = line.today.output_shape

    def keeps(other: int) -> bool:
        answer = line.known(other)
        if answer is None or linear is None:
            return answer is not None and answer.shape == whole
        return answer.marked == linear[0].input_shape

    def last(direction: int, room: int) -> int:
        """The last size in a direction that keeps it, those that do not work left aside."""
        step = direction * (works.period or 1)
        end = _edge(keeps, size, step, room // abs(step))
        for other in range(end + direction, end + step, direction):
            if keeps(other):
                end = other
            elif line.holds(other):
                break
        return end if end <= MOST - abs(step) else MOST

    smallest = line.smallest()
    first = last(-1, size - smallest)
    same = range(first, last(1, MOST - size) + 1)
    passes = line.rule(lambda answer: answer is not None and not answer.dropped & line.bits)
    near = tuple(n for n in line.near if n in passes)
    return AxisSizes(name, size, smallest, works, same, near, passes)


def _smallest(diagonal: _Line, axes: tuple[AxisSizes, ...]) -> Shape:
    return (diagonal.smallest(),) * len(axes)


def _smallest_oblong(shapes: Shapes, today: Trace, axes: tuple[AxisSizes, ...]) -> Shape:
    least = tuple(axis.smallest for axis in axes)
    shapes.work = shapes.most + 1
    if shapes.answer((today.input_shape[0], *least)) is not None:
        return least
    found = smallest_input(today.spec, today.input_shape[1:])
    return found or today.input_shape[1:]


def _square(diagonal: _Line, axes: tuple[AxisSizes, ...]) -> Rule | None:
    """The sizes that work on all axes at once; None where they are those that work on each."""
    alike = all(
        (answer is not None) == all(n in axis.works for axis in axes)
        for n, answer in diagonal.answers.items()
        if n in diagonal.dense or n in diagonal.near
    )
    return None if alike else diagonal.works()


def _edge(holds: Callable[[int], bool], start: int, direction: int, room: int) -> int:
    """The last number from `start` on, at most `room` steps away, up to which something holds.

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


def _runs(sizes: Iterable[int]) -> Iterator[range]:
    """Numbers as ranges without gaps."""
    run = range(0)
    for size in sorted(sizes):
        if run and size == run.stop:
            run = range(run.start, size + 1)
        else:
            if run:
                yield run
            run = range(size, size + 1)
    if run:
        yield run
