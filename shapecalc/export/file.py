"""A spec or a run to a file for others."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from shapecalc.builder import build
from shapecalc.diagnostics import Diagnostic, Fault, RunError, SpecError
from shapecalc.export import onnx, pt2, python
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
from shapecalc.layers.base import times
from shapecalc.tracer import trace
from shapecalc.training.checkpoint import reason
from shapecalc.training.reporter import Reporter
from shapecalc.training.run import Run
from shapecalc.training.seeds import mix
from shapecalc.training.start import start_weights

SUFFIXES = {"python": ".py", "onnx": ".onnx", "pt2": ".pt2"}
"""The forms, with the suffixes of their files."""


def write(
    network: Spec | Run, to: str, out: Path | None = None, *, force: bool = False
) -> tuple[Path, list[str]]:
    """Write a network in the form `to`, into `out` or a file of its name; the file, and what to
    know of it. Only with `force` is a file replaced that is there.

    A spec has the weights that `init:` gives it, a run its best ones. Raises SpecError and
    RunError.
    """
    spec = network.spec if isinstance(network, Run) else network
    path = out or Path("".join(c if c.isalnum() or c in "._-" else "_" for c in spec.name))
    if out is None:
        path = path.with_name(path.name + SUFFIXES[to])
    if path.exists() and not force:
        help = "--force replaces it, --out names another file"
        raise RunError([Diagnostic("E601", f"{path} is there already", help=help)])
    about = _about(network) if isinstance(network, Run) else []
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write(network, spec, to, beside, about)
        os.replace(beside, path)
    except Fault as fault:
        raise RunError([fault.at(None)]) from None
    except OSError as error:
        message = f"{path} cannot be written: {reason(error)}"
        raise RunError([Diagnostic("E601", message)]) from None
    finally:
        beside.unlink(missing_ok=True)
    return path, about


def _write(network: Spec | Run, spec: Spec, to: str, path: Path, about: list[str]) -> None:
    if to == "python":
        constants: dict[str, object] = {}
        if isinstance(network, Run):
            pre = network.preprocessing
            constants = {"CLASSES": network.classes, "MEAN": pre.mean, "STD": pre.std}
        path.write_text(python.source(trace(spec), about=about, **constants), encoding="utf-8")
        return
    model = network.model if isinstance(network, Run) else _with_weights(network)
    {"onnx": onnx.save, "pt2": pt2.save}[to](model, spec.input_shape(), path)


def _with_weights(spec: Spec) -> nn.Module:
    recipe = spec.recipe()
    torch.manual_seed(mix(recipe.seed, "weights"))
    model = build(spec)
    try:
        start_weights(model, recipe.init, Reporter())
    except Fault as fault:
        raise SpecError([locate(fault, spec.source, ("train",))]) from None
    return model


def _about(run: Run) -> list[str]:
    """What has to be known to use a trained network."""
    pre = run.preprocessing
    size = times(run.input_shape[1:])
    how = {
        "squish": f"resized to {size}",
        "crop": f"resized and cut to {size}",
        "pad": f"resized and filled up to {size}",
    }[pre.resize]
    lines = [f"Pictures are {how}, with values from 0 to 1."]
    if pre.mean is not None:
        lines.append(
            f"From each channel {list(pre.mean)} is taken, then it is divided by {pre.std}."
        )
    lines.append(f"Weights are in {run.path}: load_state_dict(safetensors.torch.load_file(...)).")
    return lines
