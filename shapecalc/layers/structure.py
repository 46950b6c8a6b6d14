"""Layers that hold layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from shapecalc.layers.base import Layer


class Call(BaseModel):
    """A layer whose arguments are only known at its place: they hold `${...}` expressions.

    `Call("linear", {"out_features": "${classes}"})` is `- linear: ${classes}` of YAML.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    kind: str = Field(kw_only=False)
    arguments: dict[str, Any] = Field(default_factory=dict, kw_only=False)

    def __init__(self, kind: str, arguments: dict[str, Any] | None = None) -> None:
        super().__init__(kind=kind, arguments=arguments or {})


if TYPE_CHECKING:
    Items = Sequence[Layer | Call]
else:
    Items = Annotated[tuple[InstanceOf[Layer] | InstanceOf[Call], ...], Field(strict=False)]
"""Layers in a list or tuple; kept as a tuple."""


class Sequential(Layer):
    """A group of layers, one after the other."""

    kind: ClassVar[str] = "sequential"
    main: ClassVar[str] = "layers"
    layers: Items = Field(kw_only=False)
