"""Normalisations."""

from math import gcd, prod
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Layer, Positive, Shape, assert_size, show, spatial

Epsilon = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, le=1)]


class BatchNorm(Layer):
    """Each channel normalised over batch and space: nn.BatchNorm1d, 2d or 3d."""

    kind: ClassVar[str] = "batch_norm"
    num_features: Positive | None = None
    eps: Epsilon = 1e-5
    momentum: Momentum | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) > 1:
            spatial(self, shape)
        assert_size(self, "num_features", self.num_features, shape[0])
        return shape

    def params(self, shape: Shape) -> int:
        return 2 * shape[0] * self.affine

    def buffers(self, shape: Shape) -> int:
        return (2 * shape[0] + 1) * self.track_running_stats  # mean, variance, and batches seen

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "num_features": shape[0]}


class GroupNorm(Layer):
    """Each group of channels normalised over itself: nn.GroupNorm."""

    kind: ClassVar[str] = "group_norm"
    main: ClassVar[str] = "num_groups"
    num_groups: Positive = Field(kw_only=False)
    num_channels: Positive | None = None
    eps: Epsilon = 1e-5
    affine: bool = True

    def output_shape(self, shape: Shape) -> Shape:
        assert_size(self, "num_channels", self.num_channels, shape[0])
        if shape[0] % self.num_groups:
            raise Fault(
                "E204",
                f"group_norm has num_groups {self.num_groups}, which does not divide "
                f"its {shape[0]} channels",
                argument="num_groups",
                help=f"{gcd(self.num_groups, shape[0])} divides {shape[0]}",
            )
        return shape

    def params(self, shape: Shape) -> int:
        return 2 * shape[0] * self.affine

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "num_channels": shape[0]}


class LayerNorm(Layer):
    """The last axes normalised together: nn.LayerNorm; all axes of a sample where none is given."""

    kind: ClassVar[str] = "layer_norm"
    main: ClassVar[str] = "normalized_shape"
    normalized_shape: (
        Positive | Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] | None
    ) = Field(default=None, kw_only=False)
    eps: Epsilon = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def output_shape(self, shape: Shape) -> Shape:
        sizes = self._sizes(shape)
        if shape[-len(sizes) :] != sizes:
            raise Fault(
                "E202",
                f"layer_norm is given normalized_shape {show(sizes)}, "
                f"but its input {show(shape)} ends otherwise",
                argument="normalized_shape",
                help=f"write {show(shape[-len(sizes) :])}, or leave it out to take all axes",
            )
        return shape

    def params(self, shape: Shape) -> int:
        return prod(self._sizes(shape)) * self.elementwise_affine * (1 + self.bias)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "normalized_shape": self._sizes(shape)}

    def _sizes(self, shape: Shape) -> Shape:
        given = self.normalized_shape
        if given is None:
            return shape
        return (given,) if isinstance(given, int) else given
