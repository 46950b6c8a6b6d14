"""A Trace as a list of steps that can be run again with some layers changed, at little cost.

The structure is that of the Trace; only shapes, counts and, where asked for, receptive fields are
worked out anew. Stretches between changed layers are run once for each tensor that comes to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from shapecalc.diagnostics import Fault, SpecError
from shapecalc.geometry import receptive_field
from shapecalc.language.replace import item_at
from shapecalc.language.spec import Spec
from shapecalc.layers import Layer
from shapecalc.layers.base import Shape, Tensor, Window
from shapecalc.layers.merge import Add as AddLayer
from shapecalc.layers.merge import Branches, Concat, Residual, Save, merged
from shapecalc.layers.merge import Multiply as MultiplyLayer
from shapecalc.layers.structure import Call, Structure
from shapecalc.tracer import Row, Trace, _Walk


class Seen(NamedTuple):
    """What a run came to, as far as it is asked for."""

    output: Shape | None = None
    """Of the layer that is watched, or of the network."""
    in_features: int | None = None
    receptive_field: int | None = None
    """Of the last convolution or pool."""


class State(NamedTuple):
    """The tensors at a place: that at hand is the last, before it those that are needed later."""

    tensors: tuple[Tensor, ...]
    saved: tuple[tuple[str, Tensor], ...]
    seen: Seen


class Outcome(NamedTuple):
    """What comes out of a stretch."""

    state: State
    params: int
    macs: int


class _Step(NamedTuple):
    act: str
    """layer, copy, swap, share, save, meet, join, drop or see."""
    layer: Layer | None = None
    row: Row | None = None
    call: Call | None = None
    """What the layer is made of anew for each tensor, where it depends on that."""
    number: int = 0
    word: str = ""


class Program:
    """The steps of a Trace. `watch` is the path of the layer whose output is asked for."""

    def __init__(self, trace: Trace, *, watch: str | None, fields: bool) -> None:
        self.trace, self.fields = trace, fields
        """Whether receptive fields are followed, which makes fewer tensors equal."""
        self.watch = watch
        self.steps: list[_Step] = []
        self.places: dict[tuple[Any, ...], list[int]] = {}
        """The steps of each place in the document."""
        linear = trace.first_linear
        self.linear = linear[0] if linear else None
        self.last = last_window(trace)
        self._layers: dict[tuple[int, Tensor], tuple[Tensor, int, int] | None] = {}
        self._made: dict[tuple[int, Tensor], Layer | None] = {}
        self._stretches: dict[tuple[int, int, State], Outcome | None] = {}
        self._kept: list[Layer] = []
        self._walk = _Walk(trace.spec, trace.spec.scope(), mends=False)
        index = 0
        while index < len(trace.rows):
            index = self._add(index)

    def start(self, shape: Shape | None = None) -> State:
        """The state before the first layer."""
        return State((Tensor.start(shape or self.trace.input_shape),), (), Seen())

    def run(
        self, begin: int, end: int, state: State, changed: Mapping[int, Layer]
    ) -> Outcome | None:
        """What comes out of steps with other layers at some of them; None where one fails."""
        params = macs = 0
        at = begin
        for number in sorted(changed):
            if not begin <= number < end:
                continue
            before = self.stretch(at, number, state)
            if before is None:
                return None
            found = self._run_layer(changed[number], before.state)
            if found is None:
                return None
            params += before.params + found.params
            macs += before.macs + found.macs
            state, at = found.state, number + 1
        after = self.stretch(at, end, state)
        if after is None:
            return None
        return Outcome(after.state, params + after.params, macs + after.macs)

    def stretch(self, begin: int, end: int, state: State) -> Outcome | None:
        """What comes out of steps as they are."""
        key = begin, end, state
        if key not in self._stretches:
            self._stretches[key] = self._stretch(begin, end, state)
        return self._stretches[key]

    def _stretch(self, begin: int, end: int, state: State) -> Outcome | None:
        params = macs = 0
        for step in self.steps[begin:end]:
            if step.act == "layer":
                layer = step.layer if step.call is None else self._resolved(step, state.tensors[-1])
                if layer is None:
                    return None
                found = self._run_layer(layer, state)
                if found is None:
                    return None
                state = found.state
                params += found.params
                macs += found.macs
            else:
                try:
                    state = self._act(step, state)
                except (Fault, IndexError):
                    return None
        return Outcome(state, params, macs)

    def seen(self, state: State) -> Seen:
        """What is asked for, at the end."""
        seen = state.seen
        return seen if self.watch else seen._replace(output=state.tensors[-1].shape)

    def _run_layer(self, layer: Layer, state: State) -> Outcome | None:
        x = state.tensors[-1]
        key = id(layer), x
        if key not in self._layers:
            self._kept.append(layer)
            self._layers[key] = self._after(layer, x)
        found = self._layers[key]
        if found is None:
            return None
        after, params, macs = found
        return Outcome(state._replace(tensors=(*state.tensors[:-1], after)), params, macs)

    def _after(self, layer: Layer, x: Tensor) -> tuple[Tensor, int, int] | None:
        try:
            shape = layer.output_shape(x.shape)
            counts = layer.params(x.shape), layer.macs(x.shape, shape)
            if self.fields:
                return x.after(shape, layer.see(x), layer.carry(x)), *counts
        except Fault:
            return None
        return (Tensor.start(shape), *counts) if len(shape) <= 4 else None

    def _resolved(self, step: _Step, x: Tensor) -> Layer | None:
        assert step.call is not None
        assert step.row is not None
        key = id(step), x
        if key not in self._made:
            try:
                layer = self._walk.resolved(step.call, x, step.row.at)
            except SpecError:
                layer = None
            self._made[key] = None if isinstance(layer, Structure) else layer
        return self._made[key]

    def _act(self, step: _Step, state: State) -> State:
        """A step that is no layer. Raises Fault."""
        tensors, saved, seen = state
        match step.act:
            case "copy":
                tensors = (*tensors, tensors[-1 - step.number])
            case "swap":
                tensors = (*tensors[:-2], tensors[-1], tensors[-2])
            case "share":
                channels, *sizes = tensors[-1].shape
                if channels % step.number:
                    raise Fault("E204", "the channels cannot be split")
                part = tensors[-1]._replace(shape=(channels // step.number, *sizes))
                tensors = (*tensors[:-1], part)
            case "save":
                kept = (pair for pair in saved if pair[0] != step.word)
                saved = (*kept, (step.word, tensors[-1]))
            case "meet":
                known = dict(saved)
                names = getattr(step.layer, "tensors", ())
                joined = self._joined(step.word, [tensors[-1], *(known[name] for name in names)])
                tensors = (*tensors[:-1], joined)
            case "join":
                joined = self._joined(step.word, tensors[-step.number :])
                tensors = (*tensors[: -step.number], joined)
            case "drop":
                tensors = (*tensors[:-2], tensors[-1])
            case _:
                seen = self._noted(step.word, tensors[-1], seen)
        return State(tensors, saved, seen)

    def _joined(self, how: str, tensors: Any) -> Tensor:
        joined = merged(how, how, tensors, ["a tensor"] * len(tensors))
        return joined if self.fields else Tensor.start(joined.shape)

    def _noted(self, what: str, x: Tensor, seen: Seen) -> Seen:
        if what == "output":
            return seen._replace(output=x.shape)
        if what == "in_features":
            return seen._replace(in_features=x.shape[-1])
        return seen._replace(receptive_field=max(map(receptive_field, x.fields), default=None))

    def _add(self, index: int) -> int:
        """Add the steps of a row and of what it holds; the number of the row after them."""
        row = self.trace.rows[index]
        index += 1
        add = self.steps.append
        if row is self.linear:
            add(_Step("see", word="in_features"))
        match row.layer:
            case Residual() as layer:
                index = self._add_residual(row, layer, index)
            case Branches() as layer:
                index = self._add_branches(row, layer, index)
            case Save() as layer:
                add(_Step("save", word=layer.tensor))
            case Concat() | AddLayer() | MultiplyLayer():
                add(_Step("meet", row.layer, word=row.kind))
            case _ if row.is_container:
                for _ in row.children:
                    index = self._add(index)
            case _:
                self.places.setdefault(row.at.origin, []).append(len(self.steps))
                add(_Step("layer", row.layer, row, self._call(row)))
        if row is self.last and self.fields:
            add(_Step("see", word="receptive_field"))
        if row.path == self.watch:
            add(_Step("see", word="output"))
        return index

    def _add_residual(self, row: Row, layer: Residual, index: int) -> int:
        add = self.steps.append
        side = sum(path.startswith(f"{row.path}.shortcut.") for path in row.children)
        if layer.shortcut is not False:
            add(_Step("copy"))
        for _ in range(len(row.children) - side):
            index = self._add(index)
        if layer.shortcut is False:
            return index
        if side:
            add(_Step("swap"))
            for _ in range(side):
                index = self._add(index)
        add(_Step("join", number=2, word="add"))
        return index

    def _add_branches(self, row: Row, layer: Branches, index: int) -> int:
        add = self.steps.append
        if layer.split is not None:
            add(_Step("share", number=layer.split))
        for number in range(len(layer.layers)):
            add(_Step("copy", number=number))
            for path in row.children:
                if path.startswith(f"{row.path}.{number}."):
                    index = self._add(index)
        add(_Step("join", number=len(layer.layers), word=layer.merge))
        add(_Step("drop"))
        return index

    def _call(self, row: Row) -> Call | None:
        """The call that a layer comes from, where it looks at the tensor."""
        item = item_at(self.trace.spec, row.at.origin)
        if not isinstance(item, Call):
            return None
        return item if _SEES_X.search(str([item.kind, item.arguments])) else None


_SEES_X = re.compile(r"\$\{[^}]*\bx\b")


def tried(spec: Spec) -> Trace:
    """The Trace of a spec that may well not work. Raises SpecError, with nothing of what would
    mend it, as finding that out takes many walks."""
    return _Walk(spec, spec.scope(), mends=False).network(spec.input_shape())


def last_window(trace: Trace) -> Row | None:
    """The last layer that slides a window over the input."""
    rows = [row for row in trace.leaves if isinstance(row.layer, Window)]
    return rows[-1] if rows else None
