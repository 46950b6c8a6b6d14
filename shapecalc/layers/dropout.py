"""Regularisation by leaving out."""

from typing import ClassVar

from pydantic import Field

from shapecalc.layers.base import Layer, Probability, Shape, spatial


class Dropout(Layer):
    """Each number zeroed with probability p while training: nn.Dropout."""

    kind: ClassVar[str] = "dropout"
    main: ClassVar[str] = "p"
    p: Probability = Field(default=0.5, kw_only=False)
    inplace: bool = False


class ChannelDropout(Layer):
    """Each whole channel zeroed with probability p while training: nn.Dropout1d, 2d or 3d."""

    kind: ClassVar[str] = "channel_dropout"
    main: ClassVar[str] = "p"
    p: Probability = Field(default=0.5, kw_only=False)
    inplace: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        spatial(self, shape)
        return shape


class AlphaDropout(Layer):
    """Each number replaced with probability p while training, so that mean and variance stay as
    they are after a selu: nn.AlphaDropout."""

    kind: ClassVar[str] = "alpha_dropout"
    main: ClassVar[str] = "p"
    p: Probability = Field(default=0.5, kw_only=False)
    inplace: bool = False


class DropPath(Layer):
    """Each whole sample zeroed with probability p while training, the others scaled by 1/(1 - p):
    stochastic depth, as torchvision.ops.stochastic_depth by rows."""

    kind: ClassVar[str] = "drop_path"
    main: ClassVar[str] = "p"
    p: Probability = Field(kw_only=False)
