"""The network as a run computes it: from pixels, in a precision, and rewritten where that pays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shapecalc.analysis.rewrites import Names, plan
from shapecalc.analysis.rewrites.draft import AMX, CORE, GPU, Target
from shapecalc.builder.native import has_tiles, library
from shapecalc.builder.rewrites import rewritten
from shapecalc.tracer import Trace
from shapecalc.training.augment import Normalize
from shapecalc.training.device import Precision, cpu_flags


class Computed(nn.Module):
    """A network that takes pixels from 0 to 255, of any type, and gives its output in fp32.

    Its parameters are those of the network that it was made of.
    """

    def __init__(
        self, network: nn.Module, prepare: Callable[[Tensor], Tensor], precision: Precision
    ) -> None:
        super().__init__()
        self.network, self.prepare, self.precision = network, prepare, precision

    def forward(self, pixels: Tensor) -> Tensor:
        kind, low = pixels.device.type, self.precision
        with torch.autocast(kind, low.dtype, enabled=low.lowered):
            output: Tensor = self.network(self.prepare(pixels))
        return output.float()


class Way(NamedTuple):
    """How a network is computed."""

    normalize: Normalize
    precision: Precision
    names: Names = "auto"
    """The rewrites that may be made."""
    compile: bool = False
    """Whether torch.compile has the last word, which sees into no kernel of ours."""

    def of(
        self, model: nn.Module, trace: Trace, *, training: bool, batch: int
    ) -> tuple[Computed, str]:
        """The network that was built of a Trace, for batches of a size, and what of it is
        rewritten, in words."""
        device = next(model.parameters(), torch.empty(0)).device
        target = _target(device, self.precision, kernels=not self.compile)
        made = plan(trace, training=training, batch=batch, names=self.names, target=target)
        prepare: Callable[[Tensor], Tensor] = self.normalize
        if made.normalizes:
            own = "stem" in made.places  # which takes bytes as they are
            prepare = _as_it_is if own else partial(Tensor.to, dtype=self.precision.dtype)
        if made.places:
            model = rewritten(model, made, self.normalize.factors(trace.input_shape[0], device))
        if self.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        return Computed(model, prepare, self.precision), made.said


def _target(device: torch.device, precision: Precision, *, kernels: bool) -> Target:
    if device.type == "cuda":
        return Target(GPU, gpu=True)
    amx = precision.dtype == torch.bfloat16 and "amx_bf16" in cpu_flags()
    kernels = kernels and library() is not None
    return Target(AMX if amx else CORE, kernels=kernels, tiles=amx and kernels and has_tiles())


def _as_it_is(pixels: Tensor) -> Tensor:
    return pixels
