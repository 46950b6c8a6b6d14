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
    from shapecalc.layers.conv import Conv as Conv
    from shapecalc.layers.conv import ConvTranspose as ConvTranspose
    from shapecalc.layers.dropout import AlphaDropout as AlphaDropout
    from shapecalc.layers.dropout import ChannelDropout as ChannelDropout
    from shapecalc.layers.dropout import Dropout as Dropout
    from shapecalc.layers.dropout import DropPath as DropPath
    from shapecalc.layers.hard import BinaryStep as BinaryStep
    from shapecalc.layers.hard import Hardshrink as Hardshrink
    from shapecalc.layers.hard import Hardsigmoid as Hardsigmoid
    from shapecalc.layers.hard import Hardswish as Hardswish
    from shapecalc.layers.hard import Hardtanh as Hardtanh
    from shapecalc.layers.hard import Softshrink as Softshrink
    from shapecalc.layers.linear import Linear as Linear
    from shapecalc.layers.norm import BatchNorm as BatchNorm
    from shapecalc.layers.norm import GroupNorm as GroupNorm
    from shapecalc.layers.norm import InstanceNorm as InstanceNorm
    from shapecalc.layers.norm import LayerNorm as LayerNorm
    from shapecalc.layers.norm import LayerScale as LayerScale
    from shapecalc.layers.norm import LocalResponseNorm as LocalResponseNorm
    from shapecalc.layers.norm import RmsNorm as RmsNorm
    from shapecalc.layers.pad import CircularPad as CircularPad
    from shapecalc.layers.pad import ConstantPad as ConstantPad
    from shapecalc.layers.pad import ReflectionPad as ReflectionPad
    from shapecalc.layers.pad import ReplicationPad as ReplicationPad
    from shapecalc.layers.pool import AdaptiveAvgPool as AdaptiveAvgPool
    from shapecalc.layers.pool import AdaptiveMaxPool as AdaptiveMaxPool
    from shapecalc.layers.pool import AvgPool as AvgPool
    from shapecalc.layers.pool import FractionalMaxPool as FractionalMaxPool
    from shapecalc.layers.pool import LpPool as LpPool
    from shapecalc.layers.pool import MaxPool as MaxPool
    from shapecalc.layers.rectifier import LeakyRelu as LeakyRelu
    from shapecalc.layers.rectifier import Prelu as Prelu
    from shapecalc.layers.rectifier import Relu as Relu
    from shapecalc.layers.rectifier import Relu6 as Relu6
    from shapecalc.layers.rectifier import Rrelu as Rrelu
    from shapecalc.layers.rectifier import Threshold as Threshold
    from shapecalc.layers.resample import ChannelShuffle as ChannelShuffle
    from shapecalc.layers.resample import PixelShuffle as PixelShuffle
    from shapecalc.layers.resample import PixelUnshuffle as PixelUnshuffle
    from shapecalc.layers.resample import Upsample as Upsample
    from shapecalc.layers.shape import Flatten as Flatten
    from shapecalc.layers.shape import Identity as Identity
    from shapecalc.layers.shape import Permute as Permute
    from shapecalc.layers.shape import Unflatten as Unflatten
    from shapecalc.layers.smooth import Arctan as Arctan
    from shapecalc.layers.smooth import Celu as Celu
    from shapecalc.layers.smooth import Elu as Elu
    from shapecalc.layers.smooth import Gelu as Gelu
    from shapecalc.layers.smooth import LogSigmoid as LogSigmoid
    from shapecalc.layers.smooth import Mish as Mish
    from shapecalc.layers.smooth import Selu as Selu
    from shapecalc.layers.smooth import Sigmoid as Sigmoid
    from shapecalc.layers.smooth import Silu as Silu
    from shapecalc.layers.smooth import Softplus as Softplus
    from shapecalc.layers.smooth import Softsign as Softsign
    from shapecalc.layers.smooth import Tanh as Tanh
    from shapecalc.layers.smooth import Tanhshrink as Tanhshrink
    from shapecalc.layers.softmax import Glu as Glu
    from shapecalc.layers.softmax import LogSoftmax as LogSoftmax
    from shapecalc.layers.softmax import Softmax as Softmax
    from shapecalc.layers.softmax import Softmin as Softmin
    from shapecalc.layers.structure import Add as Add
    from shapecalc.layers.structure import Block as Block
    from shapecalc.layers.structure import Branches as Branches
    from shapecalc.layers.structure import Call as Call
    from shapecalc.layers.structure import Concat as Concat
    from shapecalc.layers.structure import Multiply as Multiply
    from shapecalc.layers.structure import Repeat as Repeat
    from shapecalc.layers.structure import Residual as Residual
    from shapecalc.layers.structure import Save as Save
    from shapecalc.layers.structure import Sequential as Sequential
    from shapecalc.layers.window import Fold as Fold
    from shapecalc.layers.window import Unfold as Unfold
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
