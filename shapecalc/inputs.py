"""Which inputs a spec takes, found by a walk of shapes alone: a small part of a trace."""

from __future__ import annotations

from typing import Any, NamedTuple

from shapecalc import geometry
from shapecalc.diagnostics import Diagnostic, Fault, SpecError
from shapecalc.language.spec import Spec
from shapecalc.layers.base import Carried, Layer, Shape, Tensor, Window
from shapecalc.layers.structure import Call, Items, Structure
from shapecalc.tracer import MAX_DEPTH, At, _Inside, _Walk, check_countable

WORK = 20_000
"""Layers walked in search of a mend: about a tenth of a second."""

NEAR = 128
"""Pixels around an input in which others are looked for."""


class Answer(NamedTuple):
    """What became of an input that the spec takes."""

    shape: Shape
    """The output's."""
    marked: Shape | None
    """The input's of the layer that was asked about."""
    dropped: int
    """A bit for each spatial axis of the input of which a stride leaves pixels over."""


class Exhausted(Exception):
    """More layers would have to be walked than was allowed."""


class _Stretch(NamedTuple):
    """What the rest of a list of layers did to a tensor."""

    x: Tensor
    saved: tuple[tuple[str, Tensor], ...]
    met: int
    marked: Shape | None
    dropped: int


class _TooMany(SpecError):
    """The limit of layers was passed, which also depends on what came before."""


_REFUSED = Diagnostic("E203", "refused")


class Shapes(_Walk):
    """Asks a spec for its output's shape, for one input after the other.

    What the rest of a list of layers does to a shape is kept: behind the first strides most sizes
    have met that shape before, and the walk ends there. No rows are made and nothing is counted.

    The names in scope at a place follow from its path and from the calls around it, so layers in
    `at.origin` stand for themselves: `at.way` then tells which calls they are.
    """

    def __init__(self, spec: Spec, *, work: int, marked: str = "") -> None:
        """`work` is the layers that may be walked; `marked` the path of a layer whose input is of
        interest."""
        super().__init__(spec, spec.scope(), mends=False)
        self.work, self.path = work, marked
        self.stretches: dict[Any, _Stretch | None] = {}
        self.outputs: dict[tuple[int, Shape, Carried], tuple[Tensor, int]] = {}
        self.marked: Shape | None = None
        self.dropped = 0
        self.points: tuple[geometry.Field, ...] = ()

    def answer(self, shape: Shape) -> Answer | None:
        """What becomes of an input; None where the spec refuses it. Raises Exhausted."""
        self.points = (geometry.POINT,) * (len(shape) - 1)
        self.saved, self.met, self.depth = {}, 0, 0
        self.marked, self.dropped = None, 0
        try:
            x, _ = self.sequence(self.spec.layers, Tensor.start(shape), At("", (), self.scope, ()))
        except SpecError:
            return None
        return Answer(x.shape, self.marked, self.dropped)

    def sequence(self, items: Items, x: Tensor, at: At) -> tuple[Tensor, list[str]]:
        """As in `trace`, up to where the rest is known."""
        before = self.marked, self.dropped
        walked: list[tuple[Any, int, Shape | None, int]] = []
        rest: _Stretch | None = None
        names: set[str] = set()
        try:
            for index, item in enumerate(items):
                saved = tuple(self.saved.items())
                key = (at.path, at.way, index, x.shape, x.carried, saved)
                if key in self.stretches:
                    rest = self.stretches[key]
                    if rest is None:
                        raise SpecError([_REFUSED])
                    break
                self.marked, self.dropped = None, 0
                walked.append((key, self.met, None, 0))
                x = self.item(item, index, x, at, names)
                walked[-1] = key, walked[-1][1], self.marked, self.dropped
        except _TooMany:
            raise
        except SpecError:
            self.stretches.update((key, None) for key, *_ in walked)
            raise
        met, marked, dropped = 0, None, 0
        saved = tuple(self.saved.items())
        if rest is not None:
            x, saved, met, marked, dropped = rest
            self.saved = dict(saved)
            self.met += met
            self.expect(0, at)
        for key, start, seen, lost in reversed(walked):
            marked, dropped = marked or seen, dropped | lost
            self.stretches[key] = _Stretch(x, saved, self.met - start, marked, dropped)
        self.marked, self.dropped = before[0] or marked, before[1] | dropped
        return x, []

    def item(self, item: Any, index: int, x: Tensor, at: At, names: set[str]) -> Tensor:
        """Walk one layer of a list."""
        self.met += 1
        if self.met > self.most:
            self.expect(0, at)
        layer = self.resolved(item, x, at) if isinstance(item, Call) else item
        if layer is None or not layer.when:
            return x
        path = f"{at.path or 'layers'}.{index}"
        if layer.name:
            if layer.name in names:
                raise SpecError([_REFUSED])
            names.add(layer.name)
            path = f"{at.path}.{layer.name}" if at.path else layer.name
        return self.layer(layer, x, At(path, (), at.scope, at.way))

    def layer(self, layer: Layer, x: Tensor, at: At) -> Tensor:
        self.work -= 1
        if self.work < 0:
            raise Exhausted
        if at.path == self.path:
            self.marked = x.shape
        if isinstance(layer, Structure):
            if self.depth == MAX_DEPTH:
                raise _TooMany([_REFUSED])
            self.depth += 1
            try:
                after = layer.trace(_Inside(self, at._replace(origin=(id(layer),))), x)
                check_countable(after.shape)
            except Fault:
                raise SpecError([_REFUSED]) from None
            self.depth -= 1
            return after._replace(fields=self.points)
        key = id(layer), x.shape, x.carried
        done = self.outputs.get(key)
        if done is None:
            done = self.outputs[key] = self.applied(layer, x)
        self.dropped |= done[1]
        return done[0]

    def applied(self, layer: Layer, x: Tensor) -> tuple[Tensor, int]:
        """A layer's output, and the axes of which it leaves pixels over."""
        if type(layer).output_shape is Layer.output_shape:
            return x, 0
        try:
            output = layer.output_shape(x.shape)
            check_countable(output)
            after = x.after(output, x.fields, layer.carry(x))
        except Fault:
            raise SpecError([_REFUSED]) from None
        dropped = 0
        for over, axes in zip(leftovers(layer, x.shape), x.carried[1:], strict=False):
            if over:
                dropped |= sum(1 << axis for axis in set(axes))
        return after, dropped

    def expect(self, count: int, at: At) -> None:
        if self.met + count > self.most:
            raise _TooMany([_REFUSED])

    def located(self, fault: Fault, at: At) -> Diagnostic:
        return _REFUSED


def leftovers(layer: Layer, shape: Shape) -> Shape:
    """For each spatial axis the pixels behind the last window: those that its stride leaves over.
    () for a layer without windows.

    Where the stride is larger than the window, as many as it passes over between two windows are
    not counted: it skips those everywhere.
    """
    sizes = shape[1:]
    if layer.kind == "unfold":
        windows, counts = layer.windows(sizes), layer.counts(sizes)  # type: ignore[attr-defined]
    elif not isinstance(layer, Window) or layer.kind == "conv_transpose":
        return ()
    else:
        windows = layer.windows(sizes)
        if all(stride == 1 for _, _, stride, _ in windows):
            return ()
        counts = layer.output_shape(shape)[1:]
    reached = (
        (count - 1) * stride + max(stride, geometry.extent(kernel, dilation)) - before
        for count, (kernel, dilation, stride, before) in zip(counts, windows, strict=True)
    )
    return tuple(max(0, size - reach) for size, reach in zip(sizes, reached, strict=True))


def nearest_inputs(spec: Spec) -> list[Shape]:
    """The next smaller and the next larger input that the spec takes, of those near its own; fewer
    where there are none, or where it would take long to find them."""
    shape = spec.input_shape()
    shapes = Shapes(spec, work=WORK)

    def near(size: int, step: int) -> int | None:
        """The first size from here on in a direction that works on all axes at once."""
        sizes = range(size, size + step * (NEAR + 1), step)
        near = (n for n in sizes if n > 0 and 2 * n >= size)  # half of it is another network
        return next((n for n in near if takes((n,) * (len(shape) - 1))), None)

    def takes(sizes: Shape) -> bool:
        return shapes.answer((shape[0], *sizes)) is not None

    found = []
    try:
        for step in (-1, 1):
            sizes = tuple(n for size in shape[1:] if (n := near(size, step)))
            if len(sizes) == len(shape) - 1 > 0 and takes(sizes):
                found.append((shape[0], *sizes))
    except Exhausted:
        pass
    return found
