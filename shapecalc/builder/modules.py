"""Modules that torch.nn does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BinaryStep(nn.Module):
    """1 where x is at least 0, else 0."""

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)


class Arctan(nn.Module):
    """The inverse tangent of x."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.atan(x)


class Network(nn.Module):
    """The layers of a spec, run one after the other.

    Layers without a name are children of `layers` under their number; the others are children of
    the network under their name. `steps` are their paths, in order.
    """

    def __init__(self, children: list[tuple[str, nn.Module]]) -> None:
        super().__init__()
        unnamed = {path.split(".")[1]: m for path, m in children if path.startswith("layers.")}
        self.steps: tuple[str, ...] = tuple(path for path, _ in children)
        if len(unnamed) == len(children):
            self.layers: nn.Module = nn.Sequential()
            self.steps = ("layers",)
        elif unnamed:
            self.layers = nn.ModuleDict()
        for number, module in unnamed.items():
            self.layers.add_module(number, module)
        for path, module in children:
            if not path.startswith("layers."):
                self.add_module(path, module)

    def forward(self, x: Tensor) -> Tensor:
        for path in self.steps:
            x = self.get_submodule(path)(x)
        return x
