"""Every kind of layer, one module a family; a module is imported when a kind of it is met."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from shapecalc.layers.base import Layer as Layer

FAMILIES: dict[str, tuple[str, ...]] = {
    "conv": ("conv", "conv_transpose"),
    "window": ("unfold", "fold"),
    "pool": (
        *("max_pool", "avg_pool", "lp_pool", "fractional_max_pool"),
        *("adaptive_avg_pool", "adaptive_max_pool"),
    ),
    "linear": ("linear",),
    "shape": ("flatten", "unflatten", "permute", "identity"),
    "norm": (
        *("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"),
        *("local_response_norm", "layer_scale"),
    ),
    "dropout": ("dropout", "channel_dropout", "alpha_dropout", "drop_path"),
    "pad": ("constant_pad", "reflection_pad", "replication_pad", "circular_pad"),
    "resample": ("upsample", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    "rectifier": ("relu", "relu6", "leaky_relu", "prelu", "rrelu", "threshold"),
    "smooth": (
        "elu",
        "celu",
        "selu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "softsign",
        "tanh",
        "tanhshrink",
        "sigmoid",
        "log_sigmoid",
        "arctan",
    ),
    "hard": ("hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "binary_step"),
    "softmax": ("softmax", "softmin", "log_softmax", "glu"),
    "group": ("sequential", "repeat"),
    "merge": ("residual", "branches", "save", "concat", "add", "multiply"),
}
"""The kinds of each module of this package."""

STRUCTURE = ("group", "merge")
"""The families whose layers hold others, or meet them."""

KINDS: dict[str, str] = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}
"""The family of each kind."""


def class_name(kind: str) -> str:
    """The Python name of a kind: `max_pool` is `MaxPool`."""
    return "".join(word.capitalize() for word in kind.split("_"))


CLASSES: dict[str, str] = {class_name(kind): kind for kind in KINDS}
"""The kind of each Python name."""


@cache
def layer_class(kind: str) -> type[Layer]:
    """The class of a kind. Raises KeyError for an unknown one."""
    module = import_module(f"{__name__}.{KINDS[kind]}")
    found: type[Layer] = getattr(module, class_name(kind))
    return found
