"""One function for each kind: a row of the Trace to its module."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from shapecalc.builder.modules import Arctan, BinaryStep
from shapecalc.tracer import Row

Builder = Callable[[Row], nn.Module]


def _plain(module: type[nn.Module]) -> Builder:
    """For a module that is the same on any number of axes."""
    return lambda row: module(**row.arguments)


def _by_axes(*modules: type[nn.Module]) -> Builder:
    """For a module that torch has once for each number of spatial axes: 1, 2 and 3."""
    return lambda row: modules[len(row.input_shape) - 2](**row.arguments)


def _batch_norm(row: Row) -> nn.Module:
    modules = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return modules[len(row.input_shape) - 1](**row.arguments)


BUILDERS: dict[str, Builder] = {
    "conv": _by_axes(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "conv_transpose": _by_axes(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    "max_pool": _by_axes(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avg_pool": _by_axes(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    "adaptive_avg_pool": _by_axes(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    "adaptive_max_pool": _by_axes(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    "linear": _plain(nn.Linear),
    "flatten": _plain(nn.Flatten),
    "identity": _plain(nn.Identity),
    "batch_norm": _batch_norm,
    "group_norm": _plain(nn.GroupNorm),
    "layer_norm": _plain(nn.LayerNorm),
    "dropout": _plain(nn.Dropout),
    "channel_dropout": _by_axes(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    "relu": _plain(nn.ReLU),
    "relu6": _plain(nn.ReLU6),
    "leaky_relu": _plain(nn.LeakyReLU),
    "prelu": _plain(nn.PReLU),
    "rrelu": _plain(nn.RReLU),
    "elu": _plain(nn.ELU),
    "celu": _plain(nn.CELU),
    "selu": _plain(nn.SELU),
    "gelu": _plain(nn.GELU),
    "silu": _plain(nn.SiLU),
    "mish": _plain(nn.Mish),
    "softplus": _plain(nn.Softplus),
    "softsign": _plain(nn.Softsign),
    "softshrink": _plain(nn.Softshrink),
    "hardshrink": _plain(nn.Hardshrink),
    "tanh": _plain(nn.Tanh),
    "tanhshrink": _plain(nn.Tanhshrink),
    "hardtanh": _plain(nn.Hardtanh),
    "sigmoid": _plain(nn.Sigmoid),
    "log_sigmoid": _plain(nn.LogSigmoid),
    "hardsigmoid": _plain(nn.Hardsigmoid),
    "hardswish": _plain(nn.Hardswish),
    "threshold": _plain(nn.Threshold),
    "binary_step": _plain(BinaryStep),
    "arctan": _plain(Arctan),
    "softmax": _plain(nn.Softmax),
    "softmin": _plain(nn.Softmin),
    "log_softmax": _plain(nn.LogSoftmax),
}
