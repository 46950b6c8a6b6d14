"""Layers one after the other."""

from typing import Any, ClassVar

from pydantic import Field

from shapecalc.layers.base import Name, Natural, Shape, Tensor
from shapecalc.layers.structure import Container, Inside, Items


class Sequential(Container):
    """A group of layers, one after the other."""

    kind: ClassVar[str] = "sequential"
    main: ClassVar[str] = "layers"
    layers: Items = Field(kw_only=False)

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        return inside.run(self.layers, x)


class Called(Container):
    """A block at a place where it is called, with the values of its parameters."""

    block: str
    values: dict[str, Any]
    given: tuple[str, ...]
    """The parameters that the call gave; the others have their defaults."""

    @property
    def word(self) -> str:
        return self.block

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return dict(self.values)

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        return inside.call(self.block, self.values, x)


class Repeat(Container):
    """The layers `times` times over; `${index}` counts 0, 1, 2 in them."""

    kind: ClassVar[str] = "repeat"
    times: Natural
    index: Name | None = None
    layers: Items

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        count = len(self.layers)
        inside.expect(self.times * (1 if count < 2 else 1 + count))  # a turn of several is a layer
        for turn in range(self.times):
            x = inside.turn(self.layers, x, turn, self.index)
        return x
