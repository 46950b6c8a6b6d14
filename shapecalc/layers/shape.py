"""Layers that only change the shape, or nothing."""

from math import prod
from typing import Annotated, ClassVar

from pydantic import Field

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    PLAIN,
    Carried,
    Fields,
    Layer,
    Saved,
    Shape,
    Tensor,
    everything,
    merged,
    show,
    times,
)


class Flatten(Layer):
    """Axes start_dim to end_dim as one: nn.Flatten. Axes count from the batch axis, which is 0."""

    kind: ClassVar[str] = "flatten"
    main: ClassVar[str] = "start_dim"
    start_dim: int = Field(default=1, kw_only=False)
    end_dim: int = -1

    def output_shape(self, shape: Shape) -> Shape:
        start, end = self._range(shape)
        return *shape[:start], prod(shape[start:end]), *shape[end:]

    def carry(self, tensor: Tensor) -> Carried:
        start, end = self._range(tensor.shape)
        carried = tensor.carried
        return *carried[:start], merged(*carried[start:end]), *carried[end:]

    def formula(self, shape: Shape, output: Shape) -> str:
        start, end = self._range(shape)
        sizes = shape[start:end]
        return f"{' x '.join(map(str, sizes))} = {prod(sizes)}" if len(sizes) > 1 else ""

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(view=True)

    def _range(self, shape: Shape) -> tuple[int, int]:
        """The axes of the sample that become one, the end exclusive. Raises Fault."""
        start = axis(self, "start_dim", self.start_dim, shape)
        end = axis(self, "end_dim", self.end_dim, shape)
        if start > end:
            raise Fault(
                "E204",
                f"flatten starts at axis {self.start_dim}, after its end at {self.end_dim}",
                argument="start_dim",
                help="write start_dim: 1 to flatten all but the batch axis",
            )
        return start, end + 1


class Unflatten(Layer):
    """One axis as several: nn.Unflatten. Axes count from the batch axis, which is 0.

    One of the sizes may be -1: it is what is left for it.
    """

    kind: ClassVar[str] = "unflatten"
    dim: int
    unflattened_size: Annotated[
        tuple[Annotated[int, Field(ge=-1)], ...], Field(strict=False, min_length=1)
    ]

    def output_shape(self, shape: Shape) -> Shape:
        index = axis(self, "dim", self.dim, shape)
        return *shape[:index], *self._sizes(shape[index]), *shape[index + 1 :]

    def see(self, tensor: Tensor) -> Fields:
        index = axis(self, "dim", self.dim, tensor.shape)
        return everything(tensor, index) if tensor.carried[index] else tensor.fields

    def carry(self, tensor: Tensor) -> Carried:
        index = axis(self, "dim", self.dim, tensor.shape)
        new: Carried = ((),) * len(self.unflattened_size)
        return *tensor.carried[:index], *new, *tensor.carried[index + 1 :]

    def formula(self, shape: Shape, output: Shape) -> str:
        size = shape[axis(self, "dim", self.dim, shape)]
        return f"{size} = {' x '.join(map(str, self._sizes(size)))}"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(view=True)

    def _sizes(self, size: int) -> Shape:
        """The sizes that the axis of a size becomes. Raises Fault."""
        given = self.unflattened_size
        known = prod(n for n in given if n != -1)
        if given.count(-1) == 1 and known > 0 and size % known == 0:
            return tuple(size // known if n == -1 else n for n in given)
        if -1 not in given and known == size:
            return given
        rest, whole = prod(given[:-1]), prod(given)
        mends = [f"the axis needs a size of {whole}"] if whole > 0 else []
        if rest > 0 and size % rest == 0:
            mends.insert(0, f"write unflattened_size: {show((*given[:-1], size // rest))}")
        raise Fault(
            "E204",
            f"unflatten makes {show(given)} of an axis of size {size}, which does not multiply up",
            argument="unflattened_size",
            note=f"is {size}",
            help="; or ".join(mends) or f"the sizes must multiply to {size}; one of them may be -1",
        )


class Permute(Layer):
    """The axes in another order: torch.permute. The batch axis is 0 and stays first."""

    kind: ClassVar[str] = "permute"
    main: ClassVar[str] = "dims"
    dims: Annotated[tuple[int, ...], Field(strict=False)] = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        return tuple(shape[index] for index in self._order(shape))

    def carry(self, tensor: Tensor) -> Carried:
        carried = tuple(tensor.carried[index] for index in self._order(tensor.shape))
        axes = len(tensor.fields)
        return PLAIN[axes] if carried == PLAIN[axes] else carried

    def formula(self, shape: Shape, output: Shape) -> str:
        return f"{show(shape)} as {show(output)}"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        moved = [index for index in self._order(shape) if shape[index] > 1]
        return Saved(view=moved == sorted(moved))

    def _order(self, shape: Shape) -> Shape:
        """For each axis of the output the index into a sample's shape. Raises Fault."""
        count = len(shape) + 1
        order = tuple(dim + count if dim < 0 else dim for dim in self.dims)
        if sorted(order) != list(range(count)):
            likely = (0, *range(2, count), 1)
            if sorted(order) == list(range(count - 1)):  # counted without the batch axis
                likely = (0, *(dim + 1 for dim in order))
            raise Fault(
                "E204",
                f"permute has dims {show(self.dims)}, but its input {show(shape)} has the axes "
                f"{', '.join(map(str, range(count)))}, to be named once each",
                argument="dims",
                help=f"write for example {show(likely)}; 0 is the batch axis",
            )
        if order[0] != 0:
            rest = (dim for dim in order if dim != 0)
            raise Fault(
                "E204",
                f"permute has dims {show(self.dims)}, which moves the batch axis: samples would "
                "be mixed",
                argument="dims",
                help=f"write {show((0, *rest))}",
            )
        return tuple(index - 1 for index in order[1:])


class Identity(Layer):
    """The input itself: nn.Identity."""

    kind: ClassVar[str] = "identity"

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(view=True)


def axis(layer: Layer, argument: str, value: int, shape: Shape) -> int:
    """An axis of torch, where 0 is the batch, as an index into a sample's shape."""
    count = len(shape) + 1
    index = value + count if value < 0 else value
    if 1 <= index < count:
        return index - 1
    if index == 0:
        raise Fault(
            "E204",
            f"{layer.kind} has {argument} {value}, the batch axis: samples would be mixed",
            argument=argument,
            help=f"write {argument}: 1 for the first axis of a sample",
            mended={argument: 1},
        )
    raise Fault(
        "E204",
        f"{layer.kind} has {argument} {value}, but its input {show(shape)} has the axes "
        f"{times(range(1, count)).replace('x', ', ')}",
        argument=argument,
        help=f"write {argument}: {count - 1} or -1 for the last axis",
    )
