"""What layers made of layers are: what they hold, and what they see of the walk."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Layer, Shape, Tensor


class Call(BaseModel):
    """A layer whose arguments are only known at its place: they hold `${...}` expressions, or its
    kind is a block of the spec.

    `Call("linear", {"out_features": "${classes}"})` is `- linear: ${classes}` of YAML.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    kind: str = Field(kw_only=False)
    arguments: dict[str, Any] = Field(default_factory=dict, kw_only=False)

    def __init__(self, kind: str, arguments: dict[str, Any] | None = None) -> None:
        super().__init__(kind=kind, arguments=arguments or {})

    @property
    def name(self) -> Any:
        return self.arguments.get("name")


if TYPE_CHECKING:
    Item = Layer | Call
    Items = Sequence[Item]
else:
    Item = InstanceOf[Layer] | InstanceOf[Call]
    Items = Annotated[tuple[Item, ...], Field(strict=False)]
"""Layers in a list or tuple; kept as a tuple."""


class Block(BaseModel):
    """A piece of network to be called by its name, with parameters; a None must be given."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    params: dict[str, Any] = {}
    layers: Items


class Inside(Protocol):
    """The walk, as a layer made of layers sees it."""

    def run(
        self, items: Items, x: Tensor, *, at: tuple[str | int, ...] = ..., arm: str = ...
    ) -> Tensor:
        """What comes out of layers one after the other; `at` is where the spec has them below this
        layer, `arm` the module that holds them."""

    def turn(self, items: Items, x: Tensor, turn: int, index: str | None) -> Tensor:
        """What comes out of one turn of a repeat; `index` is the turn's name in expressions."""

    def call(self, block: str, params: Mapping[str, Any], x: Tensor) -> Tensor:
        """What comes out of a block of the spec."""

    def expect(self, count: int) -> None:
        """Announce layers to come. Raises Fault where they are more than the limit."""

    def save(self, name: str, x: Tensor) -> None:
        """Keep a tensor."""

    def saved(self, name: str) -> Tensor:
        """A tensor kept before. Raises Fault."""

    def report(self, fault: Fault) -> None:
        """Tell a fault that is not in the way of what follows."""


class Structure(Layer):
    """A layer whose output follows from more than its input's shape."""

    def trace(self, inside: Inside, x: Tensor) -> Tensor:
        """The tensor that comes out. Raises Fault."""
        raise NotImplementedError


class Container(Structure):
    """A layer made of layers, which are the fields named by `held`."""

    held: ClassVar[tuple[str, ...]] = ("layers",)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        given = super().arguments(shape).items()
        return {name: value for name, value in given if name not in self.held and value is not None}
