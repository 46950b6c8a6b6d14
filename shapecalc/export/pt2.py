"""A network as a program of torch.export, which torch loads without the code that made it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from shapecalc.diagnostics import Fault
from shapecalc.layers.base import Shape


def save(model: nn.Module, shape: Shape, path: Path) -> None:
    """Write a module that takes [N, *shape] for any N, in eval mode; `torch.export.load(path)
    .module()` gives it back. Raises Fault where torch cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about itself
        try:
            program = torch.export.export(
                model.eval(),
                (torch.zeros(2, *shape),),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            torch.export.save(program, str(path))
        except OSError:
            raise
        except Exception as error:  # torch raises whatever it trips over
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise Fault("E601", f"torch cannot export this: {reason[0]}") from error
