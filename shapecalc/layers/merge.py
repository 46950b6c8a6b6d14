"""Layers side by side, and tensors kept for later."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Name, Positive, Shape, Tensor, show, times
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
            raise Fault(
                "E207",
                f"residual adds {show(main.shape)} of its layers to {show(side.shape)} of {said}",
                note=f"{show(main.shape)} + {show(side.shape)}",
                help=_fitting_shortcut(x.shape, main.shape),
            )
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
        return merged(self.merge, self.kind, outputs, said)

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
        return merged(self.kind, self.kind, [x, *map(inside.saved, self.tensors)], said)


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
    for tensor, name in zip(tensors[1:], said[1:], strict=True):
        shape = tensor.shape
        fits = len(shape) == len(whole) and (
            shape[1:] == whole[1:]
            if how == "concat"
            else shape == whole
            if how == "add"
            else all(a == b or 1 in (a, b) for a, b in zip(whole, shape, strict=True))
        )
        if not fits:
            raise _misfit(how, kind, (whole, shape), (said[0], name))
        if how == "multiply":
            whole = tuple(map(max, whole, shape))
    if how == "concat":
        whole = (sum(tensor.shape[0] for tensor in tensors), *whole[1:])
    return _joined(tensors, whole)


def _misfit(how: str, kind: str, shapes: tuple[Shape, Shape], said: tuple[str, str]) -> Fault:
    ours, theirs = shapes
    must = {
        "concat": "all sizes but the channels must be the same",
        "add": "the shapes must be the same",
        "multiply": "the sizes must be the same, or 1",
    }[how]
    help = ""
    if len(ours) == len(theirs) and ours[1:] != theirs[1:] and min(ours) > 1:
        larger = prod(theirs[1:]) > prod(ours[1:])
        sizes = list(ours[1:])
        means = f"adaptive_avg_pool: {sizes}" if larger else f"upsample: {{size: {sizes}}}"
        help = f"bring {said[1]} to {times(ours[1:])}, for example with {means}"
    elif len(ours) == len(theirs) and ours[1:] == theirs[1:]:
        help = (
            f"give {said[1]} {ours[0]} channels: conv: {{out_channels: {ours[0]}, kernel_size: 1}}"
        )
    return Fault(
        "E207",
        f"{kind} meets {show(ours)} of {said[0]} and {show(theirs)} of {said[1]}: {must}",
        note=f"{show(ours)} and {show(theirs)}",
        help=help,
    )


def _fitting_shortcut(shape: Shape, target: Shape) -> str:
    """The convolution that brings x to the shape that a residual needs, where there is one."""
    if len(shape) != len(target):
        return f"give it a shortcut that ends in {show(target)}"
    strides = []
    for size, wanted in zip(shape[1:], target[1:], strict=True):
        stride = next((s for s in range(1, size + 1) if (size - 1) // s + 1 == wanted), None)
        if stride is None:
            return f"give it a shortcut that ends in {show(target)}, or pad its layers"
        strides.append(stride)
    if not strides:
        return f"write shortcut: [linear: {target[0]}]"
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
