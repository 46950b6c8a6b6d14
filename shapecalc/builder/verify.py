"""The calculator against torch: every row by a hook on its module, the totals by torchinfo."""

from __future__ import annotations

from typing import Any

import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shapecalc.builder.network import build
from shapecalc.diagnostics import Diagnostic, SpecError
from shapecalc.tracer import Trace


def verify(traced: Trace) -> str:
    """Build the model, run one sample and compare; a sentence on what was compared.

    The builder has compared each row's counts already. Raises SpecError with every number that
    differs.
    """
    model = build(traced).eval()
    sample = torch.zeros(1, *traced.input_shape)
    shapes, macs = _run(model, traced, sample)
    wrong = [
        Diagnostic(
            "E301",
            f"{row.kind}: output is {row.output_shape}, but torch has {shapes.get(row.path)}",
            row.place,
            row.path,
        )
        for row in traced.rows
        if shapes.get(row.path) != row.output_shape
    ]
    info = torchinfo.summary(
        model, input_data=sample, verbose=0, depth=99, col_names=("output_size", "num_params")
    )
    totals = (
        ("params", traced.params, info.total_params, "torchinfo"),
        ("MACs", traced.macs, macs, "torch's FlopCounterMode, halved,"),
        ("rows", len(traced.rows), len(shapes), "the forward pass"),
    )
    wrong += [
        Diagnostic("E301", f"{ours:,} {what} are counted, but {who} has {theirs:,}")
        for what, ours, theirs, who in totals
        if ours != theirs
    ]
    if wrong:
        raise SpecError(wrong)
    return (
        f"verified: {len(traced.rows)} rows by torch {torch.__version__}, "
        f"{info.total_params:,} params by torchinfo {torchinfo.__version__}, "
        f"{macs:,} MACs by FlopCounterMode"
    )


def _run(
    model: nn.Module, traced: Trace, sample: torch.Tensor
) -> tuple[dict[str, tuple[int, ...]], int]:
    """The output shape at each row's module, and the multiply-accumulates of one sample."""
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(path: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            shapes[path] = tuple(output.shape[1:])

        return note

    handles = [
        model.get_submodule(row.path).register_forward_hook(hook(row.path)) for row in traced.rows
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(sample)
    for handle in handles:
        handle.remove()
    return shapes, counter.get_total_flops() // 2
