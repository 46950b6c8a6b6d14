"""The one walk: a spec to its Trace, row by row, in integers and without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from math import prod
from operator import itemgetter
from typing import Any, NamedTuple

from shapecalc import geometry
from shapecalc.diagnostics import MOST_FAULTS, Diagnostic, Fault, Place, SpecError, nearest
from shapecalc.language.expressions import freeze, names, resolve
from shapecalc.language.faults import locate
from shapecalc.language.items import (
    block_arguments,
    check_kind,
    check_name,
    computed_arguments,
    make_layer,
    validated,
)
from shapecalc.language.source import Origin, Source, Way
from shapecalc.language.spec import Spec
from shapecalc.layers.base import (
    AXES,
    COMMON,
    PLAIN,
    Fields,
    Layer,
    Shape,
    Tensor,
    Window,
    per_axis,
    plainly,
    show,
    slide,
    times,
)
from shapecalc.layers.structure import Call, Container, Items, Structure

MAX_DEPTH = 100
"""Structures within structures; each takes a few of Python's 1,000 frames."""

Scope = Mapping[str, Any]
"""The values of the names that expressions know."""


class At(NamedTuple):
    """Where the walk is."""

    path: str
    """The module in the built network: `layers.4`, or `stem.0` within one that is named."""
    origin: Origin
    """Its place in the document."""
    scope: Scope
    way: Way
    """The block calls and turns of repeats around it, outermost first."""


class Row(NamedTuple):
    """One layer at its place in the network. Shapes are of one sample; counts are exact."""

    at: At
    layer: Layer
    """The layer with all its expressions evaluated."""
    input_shape: Shape
    output_shape: Shape
    params: int
    """Trainable numbers; of a container, those of all it holds."""
    buffers: int
    """Numbers kept in the state that are not trained."""
    macs: int
    """Multiply-accumulates of one sample: convolutions and linear layers, bias left out."""
    fields: Fields
    """What each position sees of the input, for each axis of it."""
    children: tuple[str, ...]
    """The paths of what a container holds; () for a layer."""
    source: Source | None

    @property
    def path(self) -> str:
        """Its module in the built network: `layers.4`, or `stem.0` within one that is named."""
        return self.at.path

    @property
    def kind(self) -> str:
        """The word for it in the spec, which for a block is the block's name."""
        return self.layer.word

    @property
    def name(self) -> str | None:
        return self.layer.name

    @property
    def given(self) -> dict[str, Any]:
        """Of a block's parameters those that the call gave; else all arguments."""
        arguments = self.arguments
        names: tuple[str, ...] | None = getattr(self.layer, "given", None)
        return arguments if names is None else {name: arguments[name] for name in names}

    @property
    def is_container(self) -> bool:
        return isinstance(self.layer, Container)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the torch module, inferred ones included."""
        return self.layer.arguments(self.input_shape)

    @property
    def formula(self) -> str:
        """How the output's sizes come about: `(512 - 3 + 2*0)/1 + 1 = 510`."""
        return self.layer.formula(self.input_shape, self.output_shape)

    @property
    def receptive_fields(self) -> tuple[int, ...]:
        """Input pixels that one position sees along each axis, the padding's included."""
        return tuple(map(geometry.receptive_field, self.fields))

    @property
    def receptive_field(self) -> int | None:
        """The largest of `receptive_fields`; None without spatial axes."""
        return max(self.receptive_fields, default=None)

    @property
    def jumps(self) -> tuple[geometry.Number, ...]:
        """Input pixels between neighbouring positions along each axis; 0 where all see the same."""
        return tuple(field[2] for field in self.fields)

    @property
    def jump(self) -> geometry.Number | None:
        """The largest of `jumps`; None without spatial axes."""
        return max(self.jumps, default=None)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the output for one sample in fp32."""
        return 4 * prod(self.output_shape)

    @property
    def place(self) -> Place | None:
        """Where the layer stands in the source."""
        return self.source.place(self.at.origin, "entry") if self.source else None

    @property
    def line(self) -> int | None:
        """Its line in the source."""
        place = self.place
        return place.line if place else None


class Trace(NamedTuple):
    """A network, counted: a row for each layer in order of execution, containers before theirs."""

    spec: Spec
    rows: tuple[Row, ...]
    """In order of execution; of a container, the row stands before those of what it holds."""
    input_shape: Shape
    output_shape: Shape
    params: int
    buffers: int
    macs: int

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def leaves(self) -> Iterator[Row]:
        """The rows that are layers, not containers."""
        return (row for row in self.rows if not row.is_container)

    @property
    def first_linear(self) -> tuple[Row, Shape] | None:
        """The first linear layer behind a convolution, and the sizes that multiply to its
        in-features; one that works on positions only where there is no other."""
        factors: Shape = ()
        found: tuple[Row, Shape] | None = None
        convolved = False
        for row in self.leaves:
            if row.kind in ("conv", "conv_transpose"):
                convolved = True
            elif row.kind == "flatten" and len(row.output_shape) == 1 < len(row.input_shape):
                factors = row.input_shape
            elif row.kind == "linear" and convolved:
                features = row.input_shape[-1]
                product = factors if prod(factors) == features and factors else (features,)
                if len(row.input_shape) == 1:
                    return row, product
                found = found or (row, product)
        return found


Counts = tuple[Shape, int, int, int, tuple[geometry.Window, ...] | None]
"""Of a layer and its input: output shape, params, buffers, MACs, and the windows it has."""


MOST_SEARCHED = 10_000
"""Layers that are walked for the hint of a larger input: it is not worth a wait."""
MOST_DIGITS = 300
"""Digits of a size or of a field: those of a network that multiplies them in each layer grow until
one addition takes long."""
_LARGEST = 10**MOST_DIGITS
_COLOURS = (1, 3, 4)
"""Channels that pictures have."""
_SIZES = {1: ("features",), **{n + 1: ("channels", *names) for n, names in AXES.items()}}
"""What expressions call the sizes of x, by how many there are."""


def trace(spec: Spec) -> Trace:
    """Every shape, count and cost of a spec. Raises SpecError with all that is wrong."""
    return _Walk(spec, spec.scope()).network(spec.input_shape())


class _Walk:
    """The state of one walk: the rows so far, the tensors saved, the totals and what is wrong."""

    def __init__(self, spec: Spec, scope: Scope, *, mends: bool = True) -> None:
        self.spec, self.scope, self.mends = spec, scope, mends
        self.source, self.most = spec.source, spec.max_layers
        self.rows: list[Row | None] = []
        self.saved: dict[str, Tensor] = {}
        self.params = self.buffers = self.macs = 0
        self.depth = 0
        """Structures around the layer at hand."""
        self.met = 0
        """Layers and turns of repeats so far, those that were left out included."""
        self.counts: dict[tuple[int, Shape], Counts] = {}
        """By the layer's identity and its input."""
        self.equal: dict[tuple[Any, ...], Counts] = {}
        """By the layer's arguments and its input."""
        self.seen: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        """By a call's identity, the sizes of x and the names that it looks up."""
        self.made: dict[tuple[Any, ...], Layer | None] = {}
        """By a call's identity and the values of these names, what it comes to."""
        self.diagnostics: list[Diagnostic] = []
        self.nearby: list[str] | None = None
        """The inputs next to the spec's that it takes, once they were looked for."""
        self.told: set[tuple[str, str, Place | None]] = set()

    def network(self, shape: Shape) -> Trace:
        if len(shape) > 4:
            fault = Fault(
                "E201",
                f"the input {show(shape)} has {len(shape)} axes, of at most 4: [C, D, H, W]",
                help="write one sample, without the batch axis",
            )
            raise SpecError([locate(fault, self.source, ("input",))])
        at = At("", ("layers",), self.scope, ())
        tensor, _ = self.sequence(self.spec.layers, Tensor.start(shape), at)
        if self.diagnostics:
            raise SpecError(self.diagnostics)
        rows = tuple(row for row in self.rows if row is not None)
        totals = (self.params, self.buffers, self.macs)
        return Trace(self.spec, rows, shape, tensor.shape, *totals)

    def sequence(self, items: Items, x: Tensor, at: At) -> tuple[Tensor, list[str]]:
        """Walk layers one after the other; the tensor that comes out, and their paths."""
        paths: dict[str, int] = {}
        for index, item in enumerate(items):
            origin = (*at.origin, index, item.kind)
            self.met += 1
            if self.met > self.most:
                self.expect(0, at._replace(origin=origin))
            if isinstance(item, Call):
                layer = self.resolved(item, x, at._replace(origin=origin))
            else:
                layer = item
            if layer is None or not layer.when:
                continue
            name = layer.name
            path = f"{at.path or 'layers'}.{index}"
            if name:
                path = f"{at.path}.{name}" if at.path else name
                self.check_name(name, path, paths, at._replace(origin=origin))
            paths[path] = index
            x = self.layer(layer, x, At(path, origin, at.scope, at.way))
        return x, list(paths)

    def layer(self, layer: Layer, x: Tensor, at: At) -> Tensor:
        """Walk one layer; the tensor that comes out."""
        if isinstance(layer, Structure):
            return self.structure(layer, x, at)
        shape = x.shape
        counts = self.counts.get((id(layer), shape))
        if counts is None:
            try:
                counts = self.counted(layer, shape)
            except Fault as fault:
                mended = layer.model_copy(update=fault.mended)
                if mended == layer:
                    raise self.error(self.misfit(fault, at)) from None
                self.report(self.misfit(fault, at))  # it is not in the way of what follows
                return self.layer(mended, x, at)
        output, params, buffers, macs, windows = counts
        self.params += params
        self.buffers += buffers
        self.macs += macs
        if isinstance(layer, Window) and windows and x.carried is PLAIN[len(x.fields)]:
            x = Tensor(output, slide(x, windows, layer.look), output[1:], x.carried)
        else:
            x = x.after(output, layer.see(x), layer.carry(x))
        for _, _, jump in x.fields:
            if jump.numerator > _LARGEST or jump.denominator > _LARGEST:
                raise self.error(self.located(_uncountable("field of view"), at))
        source = self.source
        self.rows.append(Row(at, layer, shape, output, params, buffers, macs, x.fields, (), source))
        return x

    def counted(self, layer: Layer, shape: Shape) -> Counts:
        """What a layer does to a shape; one that is met again is not counted again."""
        kind = type(layer)
        equal = kind, shape, *_arguments(kind)(layer.__dict__)
        counts = self.equal.get(equal)
        if counts is None:
            output = layer.output_shape(shape)
            windows = layer.windows(shape[1:]) if isinstance(layer, Window) else None
            check_countable(output)
            numbers = layer.params(shape), layer.buffers(shape), layer.macs(shape, output)
            counts = self.equal[equal] = (output, *numbers, windows)
        self.counts[id(layer), shape] = counts
        return counts

    def structure(self, layer: Structure, x: Tensor, at: At) -> Tensor:
        """Walk a layer that is more than a function of its input's shape."""
        if self.depth == MAX_DEPTH:
            fault = Fault(
                "E103", f"layers are nested more than {MAX_DEPTH} deep, blocks written out"
            )
            raise self.error(self.located(fault, at))
        self.depth += 1
        index = len(self.rows)
        self.rows.append(None)  # its place, before the rows of what it holds
        before = self.params, self.buffers, self.macs
        inside = _Inside(self, at)
        try:
            after = layer.trace(inside, x)
            check_countable(after.shape)
        except Fault as fault:
            raise self.error(self.misfit(fault, at)) from None
        self.depth -= 1
        self.rows[index] = Row(
            at,
            layer,
            x.shape,
            after.shape,
            self.params - before[0],
            self.buffers - before[1],
            self.macs - before[2],
            after.fields,
            tuple(inside.children),
            self.source,
        )
        return after

    def resolved(self, call: Call, x: Tensor, at: At) -> Layer | None:
        """The layer of a call, its expressions evaluated for the tensor at hand; None where it
        says `when: false`. Where all that they look up is as before, so is the layer."""
        try:
            key = self.key(call, x.shape, at.scope)
        except (Fault, KeyError):  # to be told with its place
            return self.evaluated(call, x, at)
        if key not in self.made:
            self.made[key] = self.evaluated(call, x, at)
        return self.made[key]

    def key(self, call: Call, shape: Shape, scope: Scope) -> tuple[Any, ...]:
        """What a call follows from. Raises Fault, and KeyError for a name that is not there."""
        seen = self.seen.get(id(call))
        if seen is None:
            found = names((call.kind, call.arguments))
            blocks = self.spec.blocks
            if "${" in call.kind or call.kind in blocks:  # whose defaults see x, too
                called = (blocks[call.kind],) if call.kind in blocks else blocks.values()
                defaults = names([block.params for block in called])
                found |= {name for name in defaults if name.startswith("x.")}
            asked = tuple(name[2:] for name in found if name.startswith("x."))
            seen = self.seen[id(call)] = asked, tuple(n for n in found if not n.startswith("x."))
        asked, named = seen
        sizes = _sizes(shape) if asked else {}
        values = [*(sizes[name] for name in asked), *(scope[name] for name in named)]
        # 1, 1.0 and True are equal, and so are lists of them
        return id(call), *[v if type(v) is int or type(v) is str else (repr(v),) for v in values]

    def evaluated(self, call: Call, x: Tensor, at: At) -> Layer | None:
        scope = {**at.scope, "x": _sizes(x.shape)}
        try:
            when = resolve({"when": call.arguments.get("when", True)}, scope)["when"]
            if when is False:
                return None
            arguments = resolve(call.arguments, scope)
            kind = resolve(call.kind, scope)
            blocks = self.spec.blocks
            if kind is not call.kind:
                check_kind(kind, {name: block.params for name, block in blocks.items()})
                if kind not in blocks:
                    arguments = computed_arguments(kind, arguments)
            if kind in blocks:
                arguments = block_arguments(kind, arguments, blocks[kind].params)
                return self.called(kind, arguments, scope)
        except Fault as fault:
            raise self.error(self.located(fault, at)) from None
        layer, faults = make_layer(kind, arguments)
        if layer is None:
            from shapecalc.language import mends  # a sound spec needs none

            for wrong in faults:
                if isinstance(wrong.value, float):
                    text = call.arguments.get(wrong.argument)
                    wrong.help = mends.divided(text) or wrong.help
            raise self.error(*(self.located(wrong, at) for wrong in faults))
        return layer

    def called(self, block: str, arguments: Mapping[str, Any], scope: Scope) -> Layer:
        """A call of a block with its parameters: the given ones, then the defaults, which see the
        spec's params and those before them."""
        given = {key: value for key, value in arguments.items() if key not in COMMON}
        inner = {**self.scope, "x": scope["x"], **given}
        params = {}
        for name, default in self.spec.blocks[block].params.items():
            value = given[name] if name in given else resolve(default, inner)
            params[name] = inner[name] = freeze(value) if isinstance(value, list | dict) else value
        common = {key: arguments[key] for key in COMMON if key in arguments}
        call = {"block": block, "values": params, "given": tuple(given), **common}
        from shapecalc.layers.group import Called  # networks without blocks do without it

        layer, faults = validated(Called, block, call)
        if layer is None:
            raise faults[0]
        return layer

    def expect(self, count: int, at: At) -> None:
        """Stop before more layers are walked than the spec allows."""
        if self.met + count > self.most:
            fault = Fault(
                "E103",
                f"the network has more than {self.most:,} layers, repeats written out",
                argument="times",
                help=f"if that is meant, write max_layers: {self.met + count} or more at the top",
            )
            raise self.error(self.located(fault, at))

    def check_name(self, name: str, path: str, paths: dict[str, int], at: At) -> None:
        try:
            check_name(name)
            if path in paths:
                raise Fault(
                    "E102",
                    f"two layers are called {path}: numbers {paths[path]} and {at.origin[-2]} here",
                    argument="name",
                    help="give one of them another name",
                )
        except Fault as fault:
            self.report(self.located(fault, at._replace(path=path)))

    def misfit(self, fault: Fault, at: At) -> Diagnostic:
        if self.mends and fault.code.startswith("E2"):
            mends = [self.other_input()]
            if fault.code in ("E203", "E205"):
                mends.append(self.larger_input())
            if fault.code == "E207":
                mends.append(self.nearby_inputs())
            if fault.wanted:
                mends.append(self.output_padding(fault.wanted))
            fault.help = "; or ".join(filter(None, (*mends, fault.help)))
        if not fault.note and self.rows and fault.code.startswith("E2"):
            last = next((row for row in reversed(self.rows) if row), None)
            fault.note = f"input is {show(last.output_shape)}" if last else ""
        return self.located(fault, at)

    def located(self, fault: Fault, at: At) -> Diagnostic:
        return locate(fault, self.source, at.origin, path=at.path, way=at.way)

    def report(self, found: Diagnostic) -> None:
        """Note a fault and go on; one in a repeat or a block is told for the first time alone."""
        if not self.mends:
            raise self.error(found)
        same = (found.code, "" if found.place else found.message, found.place)
        if same not in self.told:
            self.told.add(same)
            self.diagnostics.append(found)
        if len(self.diagnostics) == MOST_FAULTS:
            raise self.error()

    def error(self, *last: Diagnostic) -> SpecError:
        """What ends the walk: all that was found, and this."""
        return SpecError([*self.diagnostics, *last])

    def larger_input(self) -> str:
        shape = self.spec.input_shape()
        least = smallest_input(self.spec, shape[1:], most=MOST_SEARCHED)
        if least is None or least == shape[1:]:
            return ""
        return f"the smallest input for this spec is {times(least)} (now {times(shape[1:])})"

    def nearby_inputs(self) -> str:
        """The inputs next to the spec's that it takes."""
        from shapecalc.inputs import nearest_inputs

        if self.nearby is None:
            self.nearby = [times(shape[1:]) for shape in nearest_inputs(self.spec)]
        verb = "inputs {} work" if len(self.nearby) > 1 else "input {} works"
        return verb.format(" and ".join(self.nearby)) if self.nearby else ""

    def other_input(self) -> str:
        """The input that was meant, where the spec takes that: without its batch axis, with the
        channels first, or with them at all."""
        if self.diagnostics:
            return ""
        shape = self.spec.input_shape()
        meant: list[Shape] = []
        if len(shape) == 4 and shape[1] in _COLOURS:
            meant.append(shape[1:])
        if len(shape) in (3, 4) and shape[-1] in _COLOURS:
            meant.append((shape[-1], *shape[-3:-1]))
        if len(shape) == 2:
            meant.append((1, *shape))
        for other in meant:
            walk = _Walk(self.spec, self.scope, mends=False)
            walk.most = min(walk.most, MOST_SEARCHED)
            with suppress(SpecError):
                walk.network(other)
                return f"write input: {show(other)}, as one sample is [C, H, W]"
        return ""

    def output_padding(self, wanted: Shape) -> str:
        """The output_padding of the transposed convolution before a merge that makes it fit."""
        rows = [row for row in reversed(self.rows) if row]
        sizes = rows[0].output_shape[1:] if rows else ()
        for row in rows:
            if row.output_shape[1:] != sizes or len(sizes) != len(wanted) - 1:
                break
            if row.kind == "conv_transpose":
                given, strides, dilations = (
                    per_axis(row.layer, name, row.arguments[name], len(sizes))
                    for name in ("output_padding", "stride", "dilation")
                )
                needed = [
                    out + aim - size
                    for out, aim, size in zip(given, wanted[1:], sizes, strict=True)
                ]
                most = map(max, strides, dilations)
                if not all(0 <= out < limit for out, limit in zip(needed, most, strict=True)):
                    return ""
                line = f" at line {row.place.line}" if row.place else ""
                return f"write output_padding: {plainly(needed)} in the conv_transpose{line}"
        return ""


def _sizes(shape: Shape) -> dict[str, int]:
    """What expressions call the sizes of x."""
    return dict(zip(_SIZES.get(len(shape), ()), shape, strict=False))


@cache
def _arguments(kind: type[Layer]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Gives the arguments that a layer is counted by, of its fields."""
    fields = [name for name in kind.model_fields if name not in COMMON]
    if len(fields) > 1:
        return itemgetter(*fields)
    return lambda layer: tuple(layer[name] for name in fields)


def check_countable(shape: Shape) -> None:
    """Raises Fault for sizes that are past counting."""
    if max(shape) > _LARGEST:
        raise _uncountable("size")


def _uncountable(what: str) -> Fault:
    return Fault("E103", f"the output has a {what} of more than {MOST_DIGITS} digits")


class _Inside:
    """The walk as a structure sees it: see `structure.Inside`."""

    def __init__(self, walk: _Walk, at: At) -> None:
        self.walk, self.at = walk, at
        self.children: list[str] = []

    def run(self, items: Items, x: Tensor, *, at: Origin = ("layers",), arm: str = "") -> Tensor:
        path = f"{self.at.path}.{arm}" if arm else self.at.path
        inner = self.at._replace(path=path, origin=(*self.at.origin, *at))
        x, paths = self.walk.sequence(items, x, inner)
        self.children += paths
        return x

    def turn(self, items: Items, x: Tensor, turn: int, index: str | None) -> Tensor:
        _, origin, scope, way = self.at
        self.walk.met += 1
        self.walk.expect(0, self.at)
        if index:
            scope = {**scope, index: turn}
        said = f"{index} = {turn} of repeat" if index else f"turn {turn} of repeat"
        at = At(f"{self.at.path}.{turn}", origin, scope, (*way, (said, origin)))
        if len(items) > 1 or any(item.name for item in items):
            self.children.append(at.path)
            from shapecalc.layers.group import Sequential

            return self.walk.layer(Sequential(layers=items), x, at)
        for item in items:
            at = at._replace(origin=(*origin, "layers", 0, item.kind))
            layer = self.walk.resolved(item, x, at) if isinstance(item, Call) else item
            if layer is not None and layer.when:
                self.children.append(at.path)
                x = self.walk.layer(layer, x, at)
        return x

    def call(self, block: str, params: Mapping[str, Any], x: Tensor) -> Tensor:
        from shapecalc.language.blocks import check_cycle

        walk, at = self.walk, self.at
        check_cycle(block, [said for said, _ in at.way if said in walk.spec.blocks])
        scope = {**walk.scope, **params}
        way = (*at.way, (block, at.origin))
        inner = At(at.path, ("blocks", block, "layers"), scope, way)
        x, paths = walk.sequence(walk.spec.blocks[block].layers, x, inner)
        self.children += paths
        return x

    def expect(self, count: int) -> None:
        self.walk.expect(count, self.at)

    def save(self, name: str, x: Tensor) -> None:
        self.walk.saved[name] = x

    def saved(self, name: str) -> Tensor:
        saved = self.walk.saved
        if name in saved:
            return saved[name]
        close = nearest(name, saved)
        known = f"saved so far: {', '.join(saved)}; or " if saved else ""
        fault = Fault(
            "E208",
            f"no tensor was saved as {name!r} before this layer",
            argument="tensor",
            help=f"did you mean {close}?" if close else f"{known}write save: {name} before it",
        )
        if not close:
            raise fault
        self.report(fault)
        return saved[close]

    def report(self, fault: Fault) -> None:
        self.walk.report(self.walk.misfit(fault, self.at))


def smallest_input(
    spec: Spec, sizes: Shape, *, limit: int = 16384, most: int = 10**9
) -> Shape | None:
    """The smallest spatial sizes that the spec takes, of the same number on every axis as long as
    `sizes` are the same, else each found with the others kept large; None where there are none.

    Searches by bisection, as a network that takes a size takes the larger ones; structures for
    which that does not hold are the business of `analysis.sizes`. None, too, where more than
    `most` layers would be walked in all the trials together.
    """
    channels, scope = spec.input_shape()[0], spec.scope()
    left = most

    def works(trial: Shape) -> bool:
        nonlocal left
        walk = _Walk(spec, scope, mends=False)
        walk.most = min(walk.most, left)
        try:
            walk.network((channels, *trial))
        except SpecError as error:
            past = any(found.code == "E103" for found in error.diagnostics)
            left = -1 if past else left - walk.met
            return False
        left -= walk.met
        return True

    def bisect(shape_of: Any) -> int | None:
        high = 1
        while high <= limit and left >= 0 and not works(shape_of(high)):
            high *= 2
        if high > limit or left < 0:
            return None
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if works(shape_of(middle)) else (middle, high)
        return high if left >= 0 else None

    axes = len(sizes)
    if not axes:
        return None
    side = bisect(lambda n: (n,) * axes)
    if side is None or len(set(sizes)) == 1:
        return None if side is None else (side,) * axes
    found = (
        bisect(lambda n, axis=axis: tuple(n if a == axis else side for a in range(axes)))
        for axis in range(axes)
    )
    least = tuple(n or side for n in found)
    if works(least):
        return least
    return (side,) * axes if left >= 0 else None
