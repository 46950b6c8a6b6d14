"""Layers side by side, and tensors kept for later."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Name, Positive, Shape, Tensor, Window, show
from shapecalc.layers.structure import Container, Inside, Items, Structure


class Residual(Container):
    """layers(x) + shortcut(x). Without a shortcut x itself is added; with false, nothing is."""

    kind: ClassVar[str] = "residual"
    main: ClassVar[str] = "layers"
    held: ClassVar[tuple[str, ...]] = ("layers", "shortcut")
    layers: Items = Field(kw_only=False)
    shortcut: bool | Items = True

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {"shortcut": False} if self.shortcut is False else {}

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        main = inside.run(self.layers, x, arm="layers")
        if self.shortcut is False:
            return main
        side, said = x, "its input"
        if not isinstance(self.shortcut, bool):
            side = inside.run(self.shortcut, x, at=("shortcut",), arm="shortcut")
            said = "its shortcut"
        if main.shape != side.shape:
            mends = (
                _fitting_padding(self.layers, main.shape, side.shape, "its layers"),
                _fitting_shortcut(x.shape, main.shape),
            )
            fault = Fault(
                "E207",
                f"residual adds {show(main.shape)} of its layers to {show(side.shape)} of {said}",
                note=f"{show(main.shape)} + {show(side.shape)}",
                help="; or ".join(filter(None, mends)),
            )
            inside.report(fault)
            return main
        return _joined((main, side), main.shape)


class Branches(Container):
    """Layers side by side, then merged: concat along the channels, add or multiply.

    An empty branch is the input itself. With `split` each branch gets its share of the channels.
    """

    kind: ClassVar[str] = "branches"
    main: ClassVar[str] = "layers"
    merge: Literal["concat", "add", "multiply"] = "concat"
    split: Positive | None = None
    if TYPE_CHECKING:
        layers: Sequence[Items] = Field(kw_only=False)
    else:
        layers: Annotated[tuple[Items, ...], Field(strict=False, min_length=1)]

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        part = x if self.split is None else self._share(x, self.split)
        outputs = [
            inside.run(items, part, at=("layers", number), arm=str(number))
            for number, items in enumerate(self.layers)
        ]
        said = [f"branch {number}" for number in range(len(outputs))]
        try:
            return merged(self.merge, self.kind, outputs, said)
        except Misfit as misfit:
            mends = [misfit.brought(1, f"at the end of {said[misfit.number]}")]
            for number in (misfit.number, 0):
                aim = outputs[0 if number else misfit.number].shape
                shape, layers = outputs[number].shape, self.layers[number]
                mends.insert(0, _fitting_padding(layers, shape, aim, said[number]))
            misfit.help = "; or ".join(filter(None, mends))
            return misfit.left(inside, outputs, outputs[0])

    def _share(self, x: Tensor, split: int) -> Tensor:
        count, channels = len(self.layers), x.shape[0]
        if split != count:
            raise Fault(
                "E204",
                f"branches has split {split}, but {count} branches",
                argument="split",
                help=f"write split: {count}",
            )
        if channels % split:
            raise Fault(
                "E204",
                f"branches has split {split}, which does not divide its {channels} channels",
                argument="split",
                help=f"{channels // split * split} or {(channels // split + 1) * split} "
                "channels can be split",
            )
        return x._replace(shape=(channels // split, *x.shape[1:]))


class Save(Structure):
    """Gives its input on, and keeps it for a later concat, add or multiply of that name."""

    kind: ClassVar[str] = "save"
    main: ClassVar[str] = "tensor"
    tensor: Name = Field(kw_only=False)

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        inside.save(self.tensor, x)
        return x


class _Merge(Structure):
    """What joins its input with tensors saved before, one name or a list of them."""

    main: ClassVar[str] = "tensor"
    if TYPE_CHECKING:
        tensor: str | Sequence[str] = Field(kw_only=False)
    else:
        tensor: Name | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]

    @property
    def tensors(self) -> tuple[str, ...]:
        return (self.tensor,) if isinstance(self.tensor, str) else tuple(self.tensor)

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        said = ["its input", *self.tensors]
        tensors = [x, *map(inside.saved, self.tensors)]
        try:
            return merged(self.kind, self.kind, tensors, said)
        except Misfit as misfit:
            misfit.help = misfit.brought(0, "before it")
            misfit.wanted = misfit.shapes[1]
            return misfit.left(inside, tensors, tensors[misfit.number])


class Concat(_Merge):
    """The channels of its input, then those of tensors saved before: torch.cat."""

    kind: ClassVar[str] = "concat"


class Add(_Merge):
    """The sum of its input and tensors saved before."""

    kind: ClassVar[str] = "add"


class Multiply(_Merge):
    """The product of its input and tensors saved before; an axis of size 1 serves all positions."""

    kind: ClassVar[str] = "multiply"


def merged(how: str, kind: str, tensors: Sequence[Tensor], said: Sequence[str]) -> Tensor:
    """One tensor of several. Raises Fault where their shapes do not fit together."""
    whole = tensors[0].shape
    for number, tensor in enumerate(tensors[1:], 1):
        shape = tensor.shape
        fits = len(shape) == len(whole) and (
            shape[1:] == whole[1:]
            if how == "concat"
            else shape == whole
            if how == "add"
            else all(a == b or 1 in (a, b) for a, b in zip(whole, shape, strict=True))
        )
        if not fits:
            raise Misfit(how, kind, (whole, shape), (said[0], said[number]), number)
        if how == "multiply":
            whole = tuple(map(max, whole, shape))
    if how == "concat":
        whole = (sum(tensor.shape[0] for tensor in tensors), *whole[1:])
    return _joined(tensors, whole)


class Misfit(Fault):
    """Two shapes that meet in a merge and do not fit: of the first tensor and of one after it."""

    def __init__(
        self, how: str, kind: str, shapes: tuple[Shape, Shape], said: tuple[str, str], number: int
    ) -> None:
        ours, theirs = shapes
        must = {
            "concat": "all sizes but the channels must be the same",
            "add": "the shapes must be the same",
            "multiply": "the sizes must be the same, or 1",
        }[how]
        super().__init__(
            "E207",
            f"{kind} meets {show(ours)} of {said[0]} and {show(theirs)} of {said[1]}: {must}",
            note=f"{show(ours)} and {show(theirs)}",
        )
        self.how, self.shapes, self.number = how, shapes, number

    def brought(self, which: int, where: str) -> str:
        """The layers that bring one of both shapes to the other."""
        shape, aim = self.shapes[which], self.shapes[1 - which]
        if len(shape) != len(aim):
            if self.how == "multiply" and len(shape) == 1 and shape[0] in (1, aim[0]):
                sizes = [shape[0], *(1 for _ in aim[1:])]
                return f"put unflatten: {{dim: 1, unflattened_size: {sizes}}} {where}"
            return f"put flatten {where}" if len(aim) == 1 and self.how == "concat" else ""
        if self.how == "multiply":  # a size of 1 serves all
            aim = tuple(a if 1 in (a, b) else b for a, b in zip(shape, aim, strict=True))
        steps = []
        sizes = list(aim[1:])
        if list(shape[1:]) != sizes:
            smaller = prod(sizes) < prod(shape[1:])
            steps.append(
                f"adaptive_avg_pool: {sizes}" if smaller else f"upsample: {{size: {sizes}}}"
            )
        if self.how != "concat" and shape[0] != aim[0]:
            conv = f"conv: {{out_channels: {aim[0]}, kernel_size: 1}}"
            steps.append(conv if sizes else f"linear: {aim[0]}")
        return f"put {' and '.join(steps)} {where}"

    def left(self, inside: Inside, tensors: Sequence[Tensor], aim: Tensor) -> Tensor:
        """Tell of it, and what comes out once the tensors are brought to one that they are to fit.
        Raises itself where that cannot be said."""
        if self.how == "multiply" or len(tensors) > 2 or len(set(map(len, self.shapes))) > 1:
            raise self
        inside.report(self)
        if self.how == "add":
            return aim
        return aim._replace(shape=(sum(t.shape[0] for t in tensors), *aim.shape[1:]))


def _fitting_padding(layers: Items, shape: Shape, aim: Shape, said: str) -> str:
    """Padding for the convolutions among layers that lose just what is missing, where they do."""
    lost = 0
    for layer in layers:
        if isinstance(layer, Window) and layer.kind == "conv":
            given = layer.model_dump()
            kernel, dilation = given["kernel_size"], given["dilation"]
            whole = isinstance(kernel, int) and isinstance(dilation, int)
            if not whole or given["stride"] != 1 or given["padding"] not in (0, "valid"):
                return ""
            lost += dilation * (kernel - 1)
    if not lost or len(shape) != len(aim):
        return ""
    if any(b - a != lost for a, b in zip(shape[1:], aim[1:], strict=True)):
        return ""
    return f"write padding: same in the convolutions of {said}"


def _fitting_shortcut(shape: Shape, target: Shape) -> str:
    """The layers that bring x to the shape that a residual needs, where there are any."""
    if len(target) == 1 < len(shape):
        return f"write shortcut: [flatten, linear: {target[0]}]"
    if len(shape) != len(target):
        return f"give it a shortcut that ends in {show(target)}"
    if len(shape) == 1:
        return f"write shortcut: [linear: {target[0]}]"
    strides = []
    for size, wanted in zip(shape[1:], target[1:], strict=True):
        stride = (size - 1) // wanted + 1  # the smallest that leaves no more
        if (size - 1) // stride + 1 != wanted:
            conv = f"conv: {{out_channels: {target[0]}, kernel_size: 1}}"
            return f"write shortcut: [{conv}, adaptive_avg_pool: {list(target[1:])}]"
        strides.append(stride)
    stride_of = f", stride: {strides[0] if len(set(strides)) == 1 else strides}"
    conv = f"{{out_channels: {target[0]}, kernel_size: 1{stride_of if max(strides) > 1 else ''}}}"
    return f"write shortcut: [conv: {conv}]"


def _joined(tensors: Sequence[Tensor], shape: Shape) -> Tensor:
    """Tensors that met position by position, as one of a given shape."""
    first, *others = (_spread(tensor, shape) for tensor in tensors)
    fields = first.fields
    for other in others:
        if other.carried != first.carried:  # axes were moved: nothing is known of what met
            return first._replace(fields=tuple(map(geometry.see_all, fields, first.extents)))
        fields = tuple(map(geometry.union, fields, other.fields, first.extents))
    return first._replace(fields=fields)


def _spread(tensor: Tensor, shape: Shape) -> Tensor:
    """A tensor brought to a shape; where it has a single position, that serves all."""
    if tensor.shape[1:] == shape[1:]:
        return tensor._replace(shape=shape)
    wide = tensor.after(shape, tensor.fields, tensor.carried)
    fields = (
        geometry.see_all(field, 1) if before == 1 < after else field
        for field, before, after in zip(tensor.fields, tensor.extents, wide.extents, strict=True)
    )
    return wide._replace(fields=tuple(fields))
