"""A network that looks at each picture more than once."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Flips(nn.Module):
    """Gives the logarithms of a network's mean probabilities for a picture and its mirror image:
    their softmax is that mean, and cross-entropy takes them as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        one, other = (self._logarithms(view) for view in (pixels, pixels.flip(-1)))
        return one.logaddexp(other) - math.log(2)

    def _logarithms(self, pixels: Tensor) -> Tensor:
        output: Tensor = self.network(pixels)
        return output.float().log_softmax(1)
