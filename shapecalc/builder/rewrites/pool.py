"""max_pool that keeps a byte for each number instead of its input and eight bytes.

On a CPU a kernel of ours does it, with the relu behind it. Elsewhere, and in types that the kernel
does not have, torch computes the same.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from shapecalc.analysis.windows import axes
from shapecalc.builder.native import call, library
from shapecalc.tracer import Row

_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_NUMBERS = ctypes.c_int64 * 2


class _Window(ctypes.Structure):
    """`Window` of pool.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "height", "width", "channels")),
        *((name, ctypes.c_int64) for name in ("out_height", "out_width")),
        *((name, _NUMBERS) for name in ("kernel", "stride", "padding", "dilation")),
        ("relu", ctypes.c_int64),
    )


class ByteMaxPool(nn.Module):
    """The max_pool of a row, [N, C, H, W] to [N, C, H', W'], and with `relu` one behind it."""

    def __init__(self, row: Row, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        found = axes(row)
        self.window = tuple(
            tuple(getattr(axis, name) for axis in found)
            for name in ("kernel", "stride", "padding", "dilation")
        )
        self.ceil_mode: bool = row.arguments["ceil_mode"]
        self.out: tuple[int, ...] = row.output_shape[1:]

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype in _DTYPES and library():
            out: Tensor = _BytePool.apply(x, self)
            return out
        kernel, stride, padding, dilation = self.window
        out = F.max_pool2d(x, kernel, stride, padding, dilation, self.ceil_mode)
        return out.relu() if self.relu else out

    def extra_repr(self) -> str:
        return f"kernel_size={self.window[0]}, stride={self.window[1]}, relu={self.relu}"


class _BytePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: ByteMaxPool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        images, channels, height, width = x.shape
        numbers = (_NUMBERS(*pair) for pair in pool.window)
        window = _Window(images, height, width, channels, *pool.out, *numbers, pool.relu)
        out = _like(x, pool.out, x.dtype)
        where = _like(x, pool.out, torch.uint8) if ctx.needs_input_grad[0] else None
        call(f"pool_{_DTYPES[x.dtype]}", window, x, out, where)
        ctx.save_for_backward(where)
        ctx.window = window
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (where,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        out = _like(grad, (ctx.window.height, ctx.window.width), grad.dtype)
        call(f"pool_back_{_DTYPES[grad.dtype]}", ctx.window, grad, where, out)
        return out, None


def _like(x: Tensor, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Room for as many images and channels of another size."""
    shape = (*x.shape[:2], *size)
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
