"""Where in a picture a network looks: Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shapecalc.tracer import Row, Trace

_PLACES = 4
"""Places along an axis of which a map can tell more than in which corner something is."""


def last_convolution(trace: Trace) -> Row | None:
    """The last convolution of a network on pictures whose output has at least 4x4 places, else the
    last one with more than a single place; None where there is no such one."""
    for least in (_PLACES, 2):
        for row in reversed(list(trace.leaves)):
            convolves = row.kind in ("conv", "conv_transpose") and len(row.output_shape) == 3
            if convolves and min(row.output_shape[1:]) >= least:
                return row
    return None


def grad_cam(model: nn.Module, layer: nn.Module, inputs: Tensor, classes: Sequence[int]) -> Tensor:
    """What speaks for a class at each place of `layer`'s output [N, K, h, w]: [N, h, w], from 0 to
    1 at the strongest place of each picture; 0 all over where nothing does.

    `inputs` are N pictures as the model takes them, `classes` one class for each. A channel counts
    by the mean of its gradient over all places, and what is left below zero counts for nothing:
    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization, 2017 (arXiv:1610.02391), equations 1 and 2. The model is to be in evaluation mode,
    so that pictures do not depend on one another.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may write over it

    hook = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            outputs = model(inputs.detach().requires_grad_())
            scores = outputs[torch.arange(len(classes)), list(classes)]
            (activations,) = kept
            (gradients,) = torch.autograd.grad(scores.sum(), activations)
    finally:
        hook.remove()
    weights = gradients.mean((2, 3), keepdim=True)
    maps = (weights * activations).sum(1).relu().detach()
    strongest = maps.amax((1, 2), keepdim=True)
    return torch.where(strongest > 0, maps / strongest, torch.zeros_like(maps))
