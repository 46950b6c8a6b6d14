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
