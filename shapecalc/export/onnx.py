"""A network as ONNX, by torch's own exporter."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import nn

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Shape

_LARGEST = 2**31 - 2**20
"""Bytes of weights that fit into the file itself: protobuf ends at 2 GiB."""


def save(model: nn.Module, shape: Shape, path: Path) -> None:
    """Write a module that takes [N, *shape] for any N, in eval mode, with `input` and `output` as
    names. Weights beyond 2 GiB lie in a file beside it. Raises Fault where torch cannot."""
    lacking = [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]
    if lacking:
        raise Fault(
            "E601",
            f"ONNX needs the package{'s' * (len(lacking) > 1)} {' and '.join(lacking)}",
            help="pip install 'shapecalc[onnx]'",
        )
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        try:
            torch.onnx.export(
                model.eval(),
                (torch.zeros(2, *shape),),
                str(path),
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
                external_data=size > _LARGEST,
            )
        except OSError:
            raise
        except Exception as error:  # torch raises whatever it trips over
            raise Fault("E601", f"torch cannot write this as ONNX: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What is at the bottom of an exporter's error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
