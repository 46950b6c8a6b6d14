"""shapecalc: a convolutional network as a short spec, counted, explained, built and trained.

Names are imported when they are first used; nothing but `build`, `train`, `resume` and
`load_run` imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from shapecalc.analysis.check import check as check
    from shapecalc.analysis.sizes import sizes as sizes
    from shapecalc.analysis.solve import Solution as Solution
    from shapecalc.analysis.solve import solve as solve
    from shapecalc.builder import build as build
    from shapecalc.diagnostics import DataError as DataError
    from shapecalc.diagnostics import Diagnostic as Diagnostic
    from shapecalc.diagnostics import RunError as RunError
    from shapecalc.diagnostics import ShapecalcError as ShapecalcError
    from shapecalc.diagnostics import SpecError as SpecError
    from shapecalc.language.recipe import Recipe as Recipe
    from shapecalc.language.spec import Spec as Spec
    from shapecalc.language.spec import load as load
    from shapecalc.language.spec import loads as loads
    from shapecalc.layers.base import Layer as Layer
    from shapecalc.layers.conv import *  # noqa: F403
    from shapecalc.layers.dropout import *  # noqa: F403
    from shapecalc.layers.group import *  # noqa: F403
    from shapecalc.layers.hard import *  # noqa: F403
    from shapecalc.layers.linear import *  # noqa: F403
    from shapecalc.layers.merge import *  # noqa: F403
    from shapecalc.layers.norm import *  # noqa: F403
    from shapecalc.layers.pad import *  # noqa: F403
    from shapecalc.layers.pool import *  # noqa: F403
    from shapecalc.layers.rectifier import *  # noqa: F403
    from shapecalc.layers.resample import *  # noqa: F403
    from shapecalc.layers.shape import *  # noqa: F403
    from shapecalc.layers.smooth import *  # noqa: F403
    from shapecalc.layers.softmax import *  # noqa: F403
    from shapecalc.layers.structure import Block as Block
    from shapecalc.layers.structure import Call as Call
    from shapecalc.layers.window import *  # noqa: F403
    from shapecalc.tracer import Row as Row
    from shapecalc.tracer import Trace as Trace
    from shapecalc.tracer import trace as trace
    from shapecalc.training.loop import resume as resume
    from shapecalc.training.loop import train as train
    from shapecalc.training.run import Run as Run
    from shapecalc.training.run import load_run as load_run

_NAMES = {
    "analysis.check": ("check",),
    "analysis.sizes": ("sizes",),
    "analysis.solve": ("Solution", "solve"),
    "builder.network": ("build",),
    "diagnostics": ("DataError", "Diagnostic", "RunError", "ShapecalcError", "SpecError"),
    "language.recipe": ("Recipe",),
    "language.spec": ("Spec", "load", "loads"),
    "layers.base": ("Layer",),
    "layers.structure": ("Block", "Call"),
    "tracer": ("Row", "Trace", "trace"),
    "training.loop": ("resume", "train"),
    "training.run": ("Run", "load_run"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        found: Any = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name[:1].isupper():
        from shapecalc.layers import CLASSES, layer_class

        if name not in CLASSES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = layer_class(CLASSES[name])
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    from shapecalc.layers import CLASSES

    return sorted({*globals(), *_MODULES, *CLASSES})
