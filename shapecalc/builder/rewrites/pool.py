"""max_pool that keeps a byte or two for each number instead of its input and eight bytes."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from shapecalc.analysis.rewrites.small_indices import index_bytes, offsets
from shapecalc.analysis.windows import axes
from shapecalc.tracer import Row

_aten = torch.ops.aten
_DTYPES = {1: torch.uint8, 2: torch.int16}


class IndexedMaxPool(nn.Module):
    """The max_pool of a row; see `analysis.rewrites.small_indices` for what it keeps."""

    def __init__(self, row: Row, device: torch.device) -> None:
        super().__init__()
        found = axes(row)
        flat = len(found) == 1  # torch does one axis as two
        names = ("kernel", "stride", "padding", "dilation")
        alone = dict(zip(names, (1, 1, 0, 1), strict=True))
        self.flat = flat
        self.window = tuple(
            ([alone[name]] * flat) + [getattr(axis, name) for axis in found] for name in names
        )
        self.ceil_mode: bool = row.arguments["ceil_mode"]
        width = index_bytes(row)
        self.dtype = _DTYPES[width]
        places = [0] * 256**width
        for place in offsets(row):
            places[place % 256**width] = place
        self.register_buffer("places", torch.tensor(places, device=device), persistent=False)
        first = torch.zeros([1] * len(found), dtype=torch.int64, device=device)
        pixels = prod(axis.size for axis in found)
        for number, axis in enumerate(found):
            pixels //= axis.size
            starts = torch.arange(axis.out, device=device) * axis.stride - axis.padding
            first = first + pixels * starts.view([-1 if n == number else 1 for n in range(len(found))])
        self.register_buffer("first", first, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.flat:
            x = x.unsqueeze(-2)
        out: Tensor = _MaxPool.apply(
            x, self.places, self.first, self.dtype, self.window, self.ceil_mode
        )  # type: ignore[no-untyped-call]
        return out.squeeze(-2) if self.flat else out


class _MaxPool(torch.autograd.Function):
    """Takes the pool's input, the place in a window of each remainder of an index, and the index of
    each window's first pixel."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        places: Tensor,
        first: Tensor,
        dtype: torch.dtype,
        window: tuple[list[int], ...],
        ceil_mode: bool,
    ) -> Tensor:
        pool = _aten.max_pool2d_with_indices if x.dim() == 4 else _aten.max_pool3d_with_indices
        out, index = pool(x, *window, ceil_mode)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(index.to(dtype), places, first)  # its last bytes
        ctx.layout, ctx.pool = (x.shape, x.stride()), (*window, ceil_mode)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        codes, places, first = ctx.saved_tensors
        rest = codes - first.to(codes.dtype)  # which wraps around as they do
        index = places[rest.to(torch.int32) & (len(places) - 1)] + first
        x = torch.empty_strided(*ctx.layout, dtype=grad.dtype, device=grad.device)  # for its shape
        back = (
            _aten.max_pool2d_with_indices_backward
            if x.dim() == 4
            else _aten.max_pool3d_with_indices_backward
        )
        return back(grad, x, *ctx.pool, index), None, None, None, None, None
