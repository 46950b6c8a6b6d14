"""Convolutions and linear layers whose weights are made of those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from shapecalc.analysis.composition import Taps, joined, taps
from shapecalc.analysis.windows import axes
from shapecalc.builder.layers import BUILDERS
from shapecalc.tracer import Row

_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    3: F.conv_transpose1d,
    4: F.conv_transpose2d,
    5: F.conv_transpose3d,
}


class Part(NamedTuple):
    """One of several layers in a row: a weight as a convolution has it, one of [out, in] as a
    linear layer has it, or one of [channels], which is a factor for each."""

    weight: Tensor
    bias: Tensor | None
    groups: int = 1

    @property
    def by_group(self) -> Tensor:
        """The weight of a convolution as [groups, out, in, kernel]."""
        out, size = len(self.weight) // self.groups, self.weight.shape[1]
        return self.weight.reshape(self.groups, out, size, -1)


class Weights(nn.Module):
    """The weight and the bias that layers in a row come to, made anew in each pass.

    That is done in the parameters' own type whatever autocast says, and gradients run through to
    them. `pixels` are a factor and a shift for each channel that come before the layers.
    """

    scale: Tensor | None
    shift: Tensor | None

    def __init__(
        self,
        rows: Sequence[Row],
        layers: Sequence[nn.Module],
        pixels: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        scale, shift = pixels or (None, None)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.taps = tuple(_taps(rows))

    def weight(self) -> Tensor:
        parts = self._parts()
        with torch.autocast(parts[0].weight.device.type, enabled=False):
            return _weight(parts, self.taps)

    def bias(self) -> Tensor | None:
        parts = self._parts()
        with torch.autocast(parts[0].weight.device.type, enabled=False):
            return _bias(parts)

    def _parts(self, dtype: torch.dtype | None = None) -> list[Part]:
        layers: Any = self.layers
        kind = dtype or layers[0].weight.dtype
        parts = [_part(layer, kind) for layer in layers]
        if self.scale is not None and self.shift is not None:
            parts.insert(0, Part(self.scale.to(kind), self.shift.to(kind)))
        return parts


class HeldWeights(Weights):
    """The same for evaluation: made once, in fp64, of what is learned when `eval()` is called."""

    held_weight: Tensor
    held_bias: Tensor | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for name, made in zip(("held_weight", "held_bias"), self._made(), strict=True):
            self.register_buffer(name, made, persistent=False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not mode:
            weight, bias = self._made()
            self.held_weight.copy_(weight)
            if self.held_bias is not None and bias is not None:
                self.held_bias.copy_(bias)
        return self

    def weight(self) -> Tensor:
        return self.held_weight

    def bias(self) -> Tensor | None:
        return self.held_bias

    @torch.no_grad()
    def _made(self) -> tuple[Tensor, Tensor | None]:
        parts = self._parts(torch.float64)
        layers: Any = self.layers
        kind = layers[0].weight.dtype
        weight, bias = _weight(parts, self.taps).to(kind), _bias(parts)
        layout = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
        weight = weight.contiguous(memory_format=layout)
        return weight, None if bias is None else bias.detach().to(
            kind, copy=True
        )  # maybe a layer's


class Map(nn.Module):
    """A convolution or linear layer `row` with weights that are made of others."""

    def __init__(self, row: Row, weights: Weights) -> None:
        super().__init__()
        self.weights = weights
        with torch.device("meta"):  # for its settings alone
            self.shell: Any = BUILDERS[row.kind](row)
        self.has_bias = self.shell.bias is not None
        self.shell.weight = self.shell.bias = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weights.weight(), self.weights.bias() if self.has_bias else None
        if isinstance(self.shell, nn.Linear):
            return F.linear(x, weight, bias)
        out: Tensor = self.shell._conv_forward(x, weight, bias)
        return out


class Bias(nn.Module):
    """The bias of a convolution, added in place."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        bias = self.weights.bias()
        assert bias is not None
        return x.add_(bias.view(-1, *(1 for _ in x.shape[2:])))


def _part(layer: nn.Module, dtype: torch.dtype) -> Part:
    """What a layer does."""
    given: Any = layer
    weight: Any = None if given.weight is None else given.weight.to(dtype)
    bias = None if given.bias is None else given.bias.to(dtype)
    if not isinstance(layer, _BatchNorm):
        return Part(weight, bias, getattr(layer, "groups", 1))
    factor = (given.running_var.to(dtype) + layer.eps).rsqrt()
    if weight is not None:
        factor = factor * weight
    shift = -given.running_mean.to(dtype) * factor
    return Part(factor, shift if bias is None else shift + bias)


def _weight(parts: Sequence[Part], met: Sequence[list[Taps]]) -> Tensor:
    first, *others = parts
    weight = first.weight
    if weight.dim() == 1:  # it is the pixels of a convolution that it is a factor of
        conv, *others = others
        scale = weight.view(conv.groups, 1, -1, 1)
        weight = (conv.by_group * scale).view(conv.weight.shape)
    for part, lies in zip(others, met, strict=True):
        if part.weight.dim() == 1:
            weight = weight * part.weight.view(-1, *(1 for _ in weight.shape[1:]))
        elif part.weight.dim() == 2:
            weight = part.weight @ weight
        else:
            weight = _both(weight, part, lies)
    return weight


def _both(first: Tensor, second: Part, met: Sequence[Taps]) -> Tensor:
    """The weight of two convolutions: what the second one's is to each element of the first."""
    groups, size = second.groups, second.weight.shape[2:]
    outer = second.by_group.transpose(1, 2).reshape(len(first), -1, *size)
    both = _CONV_TRANSPOSE[first.dim()](
        first.transpose(0, 1),
        outer,
        stride=[taps.inner for taps in met],
        dilation=[taps.outer for taps in met],
        groups=groups,
    )
    return both.transpose(0, 1)


def _bias(parts: Sequence[Part]) -> Tensor | None:
    first, *others = parts
    bias = first.bias
    for part in others:
        if bias is None:
            bias = part.bias
            continue
        if part.weight.dim() == 1:
            bias = part.weight * bias
        elif part.weight.dim() == 2:
            bias = part.weight @ bias
        else:
            bias = (part.by_group.sum(3) @ bias.view(part.groups, -1, 1)).flatten()
        bias = bias if part.bias is None else bias + part.bias
    return bias


def _taps(rows: Sequence[Row]) -> Iterator[list[Taps]]:
    """For each row but the first how its kernel lies on that of all before it."""
    so_far, *others = rows
    for row in others:
        both = joined(so_far, row) if row.kind == so_far.kind else so_far  # batch_norm has none
        assert both is not None
        yield [*map(taps, axes(so_far), axes(row))] if row.kind == so_far.kind == "conv" else []
        so_far = both
