"""Normalisations."""

from math import prod
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Extra,
    Layer,
    Number,
    Positive,
    Saved,
    Shape,
    assert_size,
    keeps_input,
    nearest_divisor,
    show,
    spatial,
    times,
)

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

    def saved(self, shape: Shape, output: Shape) -> Saved:
        statistics = Extra(2 * shape[0], 4, each=False)  # mean, and one over the deviation
        return Saved(statistics, input=True)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "num_features": shape[0]}


class InstanceNorm(Layer):
    """Each channel of each sample normalised over space: nn.InstanceNorm1d, 2d or 3d."""

    kind: ClassVar[str] = "instance_norm"
    num_features: Positive | None = None
    eps: Epsilon = 1e-5
    momentum: Momentum | None = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        assert_size(self, "num_features", self.num_features, shape[0])
        if prod(sizes) == 1:
            raise Fault(
                "E203",
                f"instance_norm needs more than the one pixel of {times(sizes)} in each channel",
                help="use layer_norm here, or leave it out",
            )
        return shape

    def params(self, shape: Shape) -> int:
        return 2 * shape[0] * self.affine

    def buffers(self, shape: Shape) -> int:
        return (2 * shape[0] + 1) * self.track_running_stats  # mean, variance, and batches seen

    def saved(self, shape: Shape, output: Shape) -> Saved:
        # torch makes a channel of each sample's: statistics, weight and running statistics
        repeated = 2 + self.affine + 2 * self.track_running_stats
        return Saved(Extra(repeated * shape[0], 4), input=True)

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
            divisor = nearest_divisor(shape[0], self.num_groups)
            raise Fault(
                "E204",
                f"group_norm has num_groups {self.num_groups}, which does not divide "
                f"its {shape[0]} channels",
                argument="num_groups",
                help=f"write num_groups: {divisor}, which divides {shape[0]}",
                mended={"num_groups": divisor},
            )
        if prod(shape) == self.num_groups:  # which torch refuses for a batch of one
            raise Fault(
                "E204",
                f"group_norm has a group for each of the {prod(shape)} values of {show(shape)}",
                argument="num_groups",
                help="with fewer groups each has several values; or leave it out",
            )
        return shape

    def params(self, shape: Shape) -> int:
        return 2 * shape[0] * self.affine

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(2 * self.num_groups, 4), input=True)

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "num_channels": shape[0]}


class _OverLast(Layer):
    """The last axes normalised together; all axes of a sample where none is given."""

    main: ClassVar[str] = "normalized_shape"
    normalized_shape: (
        Positive | Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] | None
    ) = Field(default=None, kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        sizes = self._sizes(shape)
        if shape[-len(sizes) :] != sizes:
            raise Fault(
                "E202",
                f"{self.kind} is given normalized_shape {show(sizes)}, "
                f"but its input {show(shape)} ends otherwise",
                argument="normalized_shape",
                help=f"write normalized_shape: {show(shape[-len(sizes) :])}, or leave it out to "
                "take all axes",
                mended={"normalized_shape": None},
            )
        return shape

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {**super().arguments(shape), "normalized_shape": self._sizes(shape)}

    def _sizes(self, shape: Shape) -> Shape:
        given = self.normalized_shape
        if given is None:
            return shape
        return (given,) if isinstance(given, int) else given


class LayerNorm(_OverLast):
    """The last axes brought to mean 0 and variance 1: nn.LayerNorm."""

    kind: ClassVar[str] = "layer_norm"
    eps: Epsilon = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def params(self, shape: Shape) -> int:
        return prod(self._sizes(shape)) * self.elementwise_affine * (1 + self.bias)

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(2 * prod(shape[: -len(self._sizes(shape))]), 4), input=True)


class RmsNorm(_OverLast):
    """The last axes divided by the root of their mean square: nn.RMSNorm."""

    kind: ClassVar[str] = "rms_norm"
    eps: Epsilon | None = None
    elementwise_affine: bool = True

    def params(self, shape: Shape) -> int:
        return prod(self._sizes(shape)) * self.elementwise_affine

    def saved(self, shape: Shape, output: Shape) -> Saved:
        roots = Extra(prod(shape[: -len(self._sizes(shape))]), 4)
        # a CPU also keeps what the weight is multiplied by
        scaled = Extra(prod(shape) * self.elementwise_affine, gpu=0)
        return Saved(roots, scaled, input=True)


class LocalResponseNorm(Layer):
    """Each pixel divided by what `size` channels around it have: nn.LocalResponseNorm."""

    kind: ClassVar[str] = "local_response_norm"
    main: ClassVar[str] = "size"
    size: Positive = Field(kw_only=False)
    alpha: Number = 1e-4
    beta: Number = 0.75
    k: Number = 1.0

    def output_shape(self, shape: Shape) -> Shape:
        spatial(self, shape)
        return shape

    def saved(self, shape: Shape, output: Shape) -> Saved:
        # the squares with channels of zeros around them, then the divisors before and after the
        # power
        squares = (shape[0] + self.size - 1) * prod(shape[1:])
        return Saved(Extra(squares), Extra(2 * prod(shape)), input=True)


class LayerScale(Layer):
    """Each channel times a learnt factor of its own, which starts at `init`."""

    kind: ClassVar[str] = "layer_scale"
    main: ClassVar[str] = "init"
    init: Number = Field(default=1e-5, kw_only=False)

    saved = keeps_input

    def params(self, shape: Shape) -> int:
        return shape[0]

    def arguments(self, shape: Shape) -> dict[str, Any]:
        return {"shape": (shape[0], *(1 for _ in shape[1:])), "init": self.init}
