"""Modules that torch.nn does not have."""

from __future__ import annotations

from collections.abc import Sequence

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


class Permute(nn.Module):
    """The axes in another order, laid out anew: some layers, such as nn.LocalResponseNorm, refuse
    a view whose memory is in another order."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims).contiguous()

    def extra_repr(self) -> str:
        return f"dims={self.dims}"


class LayerScale(nn.Module):
    """Each channel times a learnt factor, which starts at `init`; `shape` is (channels, 1, ...)."""

    def __init__(self, shape: Sequence[int], init: float) -> None:
        super().__init__()
        self.init = init
        self.weight = nn.Parameter(torch.full(tuple(shape), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    def extra_repr(self) -> str:
        return f"shape={tuple(self.weight.shape)}, init={self.init}"


class DropPath(nn.Module):
    """Each sample zeroed with probability p while training, the others scaled by 1/(1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = 1 - self.p
        kept = x.new_empty(x.shape[0], *(1 for _ in x.shape[1:])).bernoulli_(keep)
        return x * (kept / keep if keep > 0 else kept)  # none is kept at p = 1: no 0/0

    def extra_repr(self) -> str:
        return f"p={self.p}"
