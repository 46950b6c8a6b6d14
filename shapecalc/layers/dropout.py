"""Regularisation by leaving out."""

from math import prod
from typing import ClassVar

from pydantic import Field

from shapecalc.layers.base import Extra, Layer, Probability, Saved, Shape, spatial


class Dropout(Layer):
    """Each number zeroed with probability p while training: nn.Dropout."""

    kind: ClassVar[str] = "dropout"
    main: ClassVar[str] = "p"
    p: Probability = Field(default=0.5, kw_only=False)
    inplace: bool = False

    def saved(self, shape: Shape, output: Shape) -> Saved:
        # a GPU keeps which are left, a CPU what they are multiplied by
        return _masked(self.p, Extra(prod(shape), gpu=1), self.inplace)


class ChannelDropout(Layer):
    """Each whole channel zeroed with probability p while training: nn.Dropout1d, 2d or 3d."""

    kind: ClassVar[str] = "channel_dropout"
    main: ClassVar[str] = "p"
    p: Probability = Field(default=0.5, kw_only=False)
    inplace: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        spatial(self, shape)
        return shape

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return _masked(self.p, Extra(shape[0]), self.inplace)


class AlphaDropout(Layer):
    """Each number replaced with probability p while training, so that mean and variance stay as
    they are after a selu: nn.AlphaDropout."""

    kind: ClassVar[str] = "alpha_dropout"
    main: ClassVar[str] = "p"
    p: Probability = Field(default=0.5, kw_only=False)
    inplace: bool = False

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return _masked(self.p, Extra(prod(shape)), False)


class DropPath(Layer):
    """Each whole sample zeroed with probability p while training, the others scaled by 1/(1 - p):
    stochastic depth, as torchvision.ops.stochastic_depth by rows."""

    kind: ClassVar[str] = "drop_path"
    main: ClassVar[str] = "p"
    p: Probability = Field(kw_only=False)

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(view=True) if self.p == 0 else Saved(Extra(1))


def _masked(p: float, mask: Extra, inplace: bool) -> Saved:
    """What is kept of a product with a mask; where nothing is left, a single 0."""
    if p == 0:
        return Saved(view=True)
    return Saved(mask if p < 1 else Extra(1, each=False), view=inplace)
