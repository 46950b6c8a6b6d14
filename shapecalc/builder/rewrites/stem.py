"""The first convolution and the max_pool behind it, by a kernel of ours for a matrix unit."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from shapecalc.analysis.flow import Step
from shapecalc.analysis.windows import axes
from shapecalc.builder.native import call, has_tiles
from shapecalc.builder.rewrites.maps import Weights

_NUMBERS = ctypes.c_int64 * 2
_NAMES = ("images", "channels", "height", "width", "out_channels", "out_height", "out_width")


class _Window(ctypes.Structure):
    """`Stem` of stem.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _NAMES),
        *((name, _NUMBERS) for name in ("kernel", "padding", "pool")),
        *((name, ctypes.c_int64) for name in ("relu", "bytes")),
    )


class Stem(nn.Module):
    """[N, C, H, W] to [N, C', H', W']: a convolution, a max_pool and maybe a relu.

    Takes bytes as they are. Under autocast to bf16, where the processor has AMX, the kernel does
    it; elsewhere, and where pixels need a gradient, torch computes the same.
    """

    def __init__(self, step: Step, weights: Weights) -> None:
        super().__init__()
        self.weights = weights
        (pool,) = (row for row in step.rows if row.kind == "max_pool")
        self.relu = step.rows[-1] is not pool
        self.has_bias = bool(step.row.arguments["bias"])
        self.padding = [axis.padding for axis in axes(step.row)]
        self.pool = [axis.kernel for axis in axes(pool)]
        self.out: Sequence[int] = pool.output_shape

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weights.weight(), self.weights.bias() if self.has_bias else None
        kind = x.device.type
        lowered = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
        if kind == "cpu" and lowered == torch.bfloat16 and not x.requires_grad and has_tiles():
            out: Tensor = _Stem.apply(x, weight, bias, self)
            return out
        x = x if x.is_floating_point() else x.to(weight.dtype)
        out = F.max_pool2d(F.conv2d(x, weight, bias, padding=self.padding), self.pool)
        return out.relu() if self.relu else out

    def extra_repr(self) -> str:
        return f"padding={self.padding}, pool={self.pool}, relu={self.relu}"


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stem: Stem) -> Tensor:
        x = x if x.dtype == torch.uint8 else x.to(torch.bfloat16)
        x = x.contiguous(memory_format=torch.channels_last)
        window = _Window(*x.shape, *stem.out)
        window.kernel, window.padding, window.pool = (
            _NUMBERS(*pair) for pair in (weight.shape[2:], stem.padding, stem.pool)
        )
        window.relu, window.bytes = stem.relu, x.dtype == torch.uint8
        shape, layout = (len(x), *stem.out), torch.channels_last
        out = torch.empty(shape, dtype=torch.bfloat16, memory_format=layout)
        where = None
        if any(ctx.needs_input_grad):
            where = torch.empty(shape, dtype=torch.uint8, memory_format=layout)
        weight = weight.contiguous()
        call("stem_forward", window, x, weight, bias, out, where)
        ctx.save_for_backward(x, where)
        ctx.window, ctx.shape, ctx.biased = window, weight.shape, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, where = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        weight, bias = torch.empty(ctx.shape), torch.empty(ctx.shape[0])
        call("stem_backward", ctx.window, x, grad, where, weight, bias)
        return None, weight, bias if ctx.biased else None, None
