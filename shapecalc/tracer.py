"""The one walk: a spec to its Trace, row by row, in integers and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from shapecalc import geometry
from shapecalc.diagnostics import Diagnostic, Fault, Place, SpecError
from shapecalc.language.expressions import resolve
from shapecalc.language.faults import locate
from shapecalc.language.items import Item, check_name, make_layer
from shapecalc.language.source import Origin, Source
from shapecalc.language.spec import Spec
from shapecalc.layers.base import AXES, Fields, Layer, Shape, Tensor, show, times
from shapecalc.layers.structure import Call, Sequential


class Row(NamedTuple):
    """One layer at its place in the network. Shapes are of one sample; counts are exact."""

    path: str
    """Its module in the built network: `layers.4`, or `stem.0` within one that is named."""
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
    origin: Origin
    source: Source | None

    @property
    def kind(self) -> str:
        return self.layer.kind

    @property
    def name(self) -> str | None:
        return self.layer.name

    @property
    def is_container(self) -> bool:
        return isinstance(self.layer, Sequential)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the torch module, inferred ones included."""
        return {} if self.is_container else self.layer.arguments(self.input_shape)

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
        return self.source.place(self.origin, "entry") if self.source else None

    @property
    def line(self) -> int | None:
        """Its line in the source."""
        place = self.place
        return place.line if place else None


class Trace(NamedTuple):
    """A network, counted: a row for each layer in order of execution, containers before theirs."""

    spec: Spec
    rows: tuple[Row, ...]
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
        in-features."""
        factors: Shape = ()
        convolved = False
        for row in self.leaves:
            if row.kind in ("conv", "conv_transpose"):
                convolved = True
            elif row.kind == "flatten" and len(row.output_shape) == 1 < len(row.input_shape):
                factors = row.input_shape
            elif row.kind == "linear" and convolved:
                features = row.input_shape[-1]
                return row, factors if prod(factors) == features and factors else (features,)
        return None


def trace(spec: Spec) -> Trace:
    """Every shape, count and cost of a spec. Raises SpecError with all that is wrong."""
    return _Walk(spec, spec.scope()).network(spec.input_shape())


class _Walk:
    """The state of one walk: the rows so far, what is in scope, and what is wrong."""

    def __init__(self, spec: Spec, scope: Mapping[str, Any], *, mends: bool = True) -> None:
        self.spec, self.scope, self.mends = spec, scope, mends
        self.rows: list[Row | None] = []
        self.diagnostics: list[Diagnostic] = []

    def network(self, shape: Shape) -> Trace:
        if len(shape) > 4:
            fault = Fault(
                "E201",
                f"the input {show(shape)} has {len(shape)} axes, of at most 4: [C, D, H, W]",
                help="write one sample, without the batch axis",
            )
            raise SpecError([locate(fault, self.spec.source, ("input",))])
        tensor, _ = self.sequence(self.spec.layers, Tensor.start(shape), "", ("layers",))
        if self.diagnostics:
            raise SpecError(self.diagnostics)
        rows = tuple(row for row in self.rows if row is not None)
        leaves = [row for row in rows if not row.is_container]
        return Trace(
            self.spec,
            rows,
            shape,
            tensor.shape,
            sum(row.params for row in leaves),
            sum(row.buffers for row in leaves),
            sum(row.macs for row in leaves),
        )

    def sequence(
        self, items: Sequence[Item], tensor: Tensor, prefix: str, origin: Origin
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Walk layers one after the other; the tensor that comes out, and their paths."""
        paths: dict[str, int] = {}
        for index, item in enumerate(items):
            here = (*origin, index, item.kind)
            layer = self.resolved(item, tensor, here) if isinstance(item, Call) else item
            if layer.name:
                path = f"{prefix}.{layer.name}" if prefix else layer.name
                self.check_name(layer.name, path, paths, here)
            else:
                path = f"{prefix or 'layers'}.{index}"
            paths[path] = index
            tensor = self.layer(layer, tensor, path, here)
        return tensor, tuple(paths)

    def layer(self, layer: Layer, tensor: Tensor, path: str, origin: Origin) -> Tensor:
        if isinstance(layer, Sequential):
            return self.container(layer, tensor, path, origin)
        shape = tensor.shape
        try:
            output = layer.output_shape(shape)
        except Fault as fault:
            if fault.code != "E202":  # a wrong claim is not in the way of what follows
                raise SpecError([*self.diagnostics, self.misfit(fault, path, origin)]) from None
            self.diagnostics.append(self.misfit(fault, path, origin))
            return self.layer(layer.model_copy(update={fault.argument: None}), tensor, path, origin)
        fields = layer.see(tensor)
        self.rows.append(
            Row(
                path,
                layer,
                shape,
                output,
                layer.params(shape),
                layer.buffers(shape),
                layer.macs(shape, output),
                fields,
                (),
                origin,
                self.spec.source,
            )
        )
        return tensor.after(output, fields, layer.carry(tensor))

    def container(self, layer: Sequential, tensor: Tensor, path: str, origin: Origin) -> Tensor:
        at = len(self.rows)
        self.rows.append(None)  # its place, before the rows of what it holds
        after, children = self.sequence(layer.layers, tensor, path, (*origin, "layers"))
        held = [row for row in self.rows[at + 1 :] if row and not row.is_container]
        self.rows[at] = Row(
            path,
            layer,
            tensor.shape,
            after.shape,
            sum(row.params for row in held),
            sum(row.buffers for row in held),
            sum(row.macs for row in held),
            after.fields,
            children,
            origin,
            self.spec.source,
        )
        return after

    def resolved(self, call: Call, tensor: Tensor, origin: Origin) -> Layer:
        """The layer of a call, its expressions evaluated for the tensor at hand."""
        sizes = tensor.shape
        names = ("features",) if len(sizes) == 1 else ("channels", *AXES[len(sizes) - 1])
        scope = {**self.scope, "x": dict(zip(names, sizes, strict=True))}
        held = call.arguments.get("layers")
        arguments = {key: value for key, value in call.arguments.items() if key != "layers"}
        try:
            arguments = resolve(arguments, scope)
        except Fault as fault:
            raise SpecError([*self.diagnostics, locate(fault, self.spec.source, origin)]) from None
        if held is not None:
            arguments["layers"] = held
        layer, faults = make_layer(call.kind, arguments)
        if layer is None:
            located = (locate(fault, self.spec.source, origin) for fault in faults)
            raise SpecError([*self.diagnostics, *located])
        return layer

    def check_name(self, name: str, path: str, paths: dict[str, int], origin: Origin) -> None:
        try:
            check_name(name)
            if path in paths:
                raise Fault(
                    "E102",
                    f"two layers are called {path}: numbers {paths[path]} and {origin[-2]} here",
                    argument="name",
                    help="give one of them another name",
                )
        except Fault as fault:
            self.diagnostics.append(locate(fault, self.spec.source, origin, path=path))

    def misfit(self, fault: Fault, path: str, origin: Origin) -> Diagnostic:
        if self.mends and fault.code in ("E203", "E205"):
            mend = self.larger_input()
            fault.help = "; or ".join(filter(None, (mend, fault.help)))
        if not fault.note and self.rows and fault.code.startswith("E2"):
            last = next((row for row in reversed(self.rows) if row), None)
            fault.note = f"input is {show(last.output_shape)}" if last else ""
        return locate(fault, self.spec.source, origin, path=path)

    def larger_input(self) -> str:
        shape = self.spec.input_shape()
        least = smallest_input(self.spec, shape[1:])
        if least is None or least == shape[1:]:
            return ""
        return f"the smallest input for this spec is {times(least)} (now {times(shape[1:])})"


def smallest_input(spec: Spec, sizes: Shape, *, limit: int = 16384) -> Shape | None:
    """The smallest spatial sizes that the spec takes, of the same number on every axis as long as
    `sizes` are the same, else each found with the others kept large; None where there are none.

    Searches by bisection, as a network that takes a size takes the larger ones; structures for
    which that does not hold are the business of `analysis.sizes`.
    """
    channels, scope = spec.input_shape()[0], spec.scope()

    def works(trial: Shape) -> bool:
        try:
            _Walk(spec, scope, mends=False).network((channels, *trial))
        except SpecError:
            return False
        return True

    def bisect(shape_of: Any) -> int | None:
        high = 1
        while high <= limit and not works(shape_of(high)):
            high *= 2
        if high > limit:
            return None
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if works(shape_of(middle)) else (middle, high)
        return high

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
    return least if works(least) else (side,) * axes
