"""One function for each kind: a row of the Trace to its module."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from shapecalc.builder.containers import Merge, Save
from shapecalc.builder.modules import Arctan, BinaryStep, DropPath, LayerScale, Permute
from shapecalc.layers import merge
from shapecalc.tracer import Row

Builder = Callable[[Row], nn.Module]


def _plain(module: type[nn.Module]) -> Builder:
    """For a module that is the same on any number of axes."""
    return lambda row: module(**row.arguments)


def _by_axes(*modules: type[nn.Module]) -> Builder:
    """For a module that torch has once for each number of spatial axes: 1, 2 and 3."""
    return lambda row: modules[len(row.input_shape) - 2](**row.arguments)


def _merge(row: Row) -> nn.Module:
    assert isinstance(row.layer, merge.Concat | merge.Add | merge.Multiply)
    return Merge(row.kind, row.layer.tensors)


def _fractional_max_pool(row: Row) -> nn.Module:
    modules = {3: nn.FractionalMaxPool2d, 4: nn.FractionalMaxPool3d}
    return modules[len(row.input_shape)](**row.arguments)


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
    "lp_pool": _by_axes(nn.LPPool1d, nn.LPPool2d, nn.LPPool3d),
    "fractional_max_pool": _fractional_max_pool,
    "unfold": _plain(nn.Unfold),
    "fold": _plain(nn.Fold),
    "linear": _plain(nn.Linear),
    "flatten": _plain(nn.Flatten),
    "unflatten": _plain(nn.Unflatten),
    "permute": _plain(Permute),
    "identity": _plain(nn.Identity),
    "batch_norm": _batch_norm,
    "group_norm": _plain(nn.GroupNorm),
    "layer_norm": _plain(nn.LayerNorm),
    "instance_norm": _by_axes(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    "rms_norm": _plain(nn.RMSNorm),
    "local_response_norm": _plain(nn.LocalResponseNorm),
    "layer_scale": _plain(LayerScale),
    "dropout": _plain(nn.Dropout),
    "channel_dropout": _by_axes(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    "alpha_dropout": _plain(nn.AlphaDropout),
    "drop_path": _plain(DropPath),
    "constant_pad": _by_axes(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    "reflection_pad": _by_axes(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    "replication_pad": _by_axes(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    "circular_pad": _by_axes(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
    "upsample": _plain(nn.Upsample),
    "pixel_shuffle": _plain(nn.PixelShuffle),
    "pixel_unshuffle": _plain(nn.PixelUnshuffle),
    "channel_shuffle": _plain(nn.ChannelShuffle),
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
    "glu": _plain(nn.GLU),
    "save": _plain(Save),
    "concat": _merge,
    "add": _merge,
    "multiply": _merge,
}
