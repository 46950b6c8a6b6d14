"""What torch itself allocates and keeps, to be compared with what is counted beforehand."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shapecalc import Trace, build
from shapecalc.analysis.rewrites import Names, plan
from shapecalc.analysis.rewrites.draft import Target
from shapecalc.builder.rewrites import rewritten


def kept(
    traced: Trace,
    batch: int,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    rewrites: Names = (),
) -> int:
    """Bytes that autograd keeps of a forward pass, each storage once; parameters, buffers and the
    batch left out."""
    with torch.device(device):
        model, x = build(traced).train(), torch.randn(batch, *traced.input_shape)
    if rewrites:
        target = Target(kernels=True)
        made = plan(traced, training=True, batch=batch, names=rewrites, target=target)
        model = rewritten(model, made, tuple(torch.ones(2, traced.input_shape[0]))).train()
        x = x.contiguous(memory_format=torch.channels_last)
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), x)}
    tensors: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        tensors.append(tensor)  # alive, so that no other gets its memory
        return tensor

    lowered = torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)
    with saved_tensors_hooks(pack, lambda tensor: tensor), lowered:
        model(x)
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(size for key, size in storages.items() if key not in own)


class Allocated(TorchDispatchMode):
    """Counts the storages that are alive while it is entered; `peak` is the most bytes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def add(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self.known:
                self.known.add(key)
                self.now += size
                weakref.finalize(storage, self.remove, key, size)
        self.peak = max(self.peak, self.now)

    def remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(*(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)))
        return out


def inference_peak(traced: Trace, batch: int, device: str = "meta") -> int:
    """The most bytes at once in a forward pass without gradients."""
    with torch.device(device):
        model, x = build(traced).eval(), torch.randn(batch, *traced.input_shape)
    with torch.no_grad(), Allocated() as allocated:
        allocated.add(*model.parameters(), *model.buffers(), x)
        allocated.peak = allocated.now
        model(x)
    return allocated.peak


def training_peak(
    traced: Trace, batch: int, device: str = "meta", dtype: torch.dtype | None = None
) -> int:
    """The most bytes at once in the second of two training steps with AdamW, which has made its
    state and is taken to need no more than that, as in its fused form."""
    with torch.device(device):
        model, x = build(traced).train(), torch.randn(batch, *traced.input_shape)
        labels = torch.zeros(batch, *traced.output_shape[1:], dtype=torch.int64)
    step = torch.optim.AdamW(model.parameters())
    lowered = torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)
    allocated = Allocated()
    for _ in range(2):
        with allocated:
            allocated.add(*model.parameters(), *model.buffers(), x)
            allocated.peak = allocated.now
            with lowered:
                loss = nn.functional.cross_entropy(model(x).float(), labels)
            loss.backward()
        step.step()
        for state in step.state.values():
            allocated.add(*(t for t in state.values() if isinstance(t, Tensor)))
        with allocated:
            step.zero_grad()
            del loss
    return allocated.peak
