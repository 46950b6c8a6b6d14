"""One table of layers, shared by every generic test: a kind, its arguments and an input."""

from __future__ import annotations

from typing import Any, NamedTuple

from shapecalc.layers import FAMILIES

Shape = tuple[int, ...]


class Case(NamedTuple):
    kind: str
    arguments: dict[str, Any]
    shape: Shape
    """One sample, without the batch axis."""

    def __str__(self) -> str:
        given = ",".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.kind}({given})-{'x'.join(map(str, self.shape))}".replace(" ", "")


FEATURES, LINE, PLANE, SPACE = (7,), (4, 9), (4, 9, 8), (4, 6, 7, 8)
SPATIAL = (LINE, PLANE, SPACE)
ANY = (FEATURES, *SPATIAL)


def _on(shapes: tuple[Shape, ...], kind: str, *variants: dict[str, Any]) -> list[Case]:
    return [Case(kind, arguments, shape) for shape in shapes for arguments in variants or ({},)]


_K3 = {"out_channels": 6, "kernel_size": 3}
_UP = {"out_channels": 4, "kernel_size": 3}

CASES: tuple[Case, ...] = (
    *_on(
        SPATIAL,
        "conv",
        _K3,
        {**_K3, "in_channels": 4, "bias": False},
        {**_K3, "stride": 2, "padding": 1},
        {**_K3, "dilation": 2, "padding": 2, "groups": 2},
        {"out_channels": 8, "kernel_size": 1, "groups": 4},
        {"out_channels": 3, "kernel_size": 4, "padding": "same"},
        {"out_channels": 3, "kernel_size": 2, "padding": "same", "dilation": 3},
        {**_K3, "padding": "valid", "stride": 3},
        {**_K3, "padding": 2, "padding_mode": "reflect"},
        {**_K3, "padding": 4, "padding_mode": "replicate"},
        {**_K3, "padding": 6, "padding_mode": "circular"},
        {**_K3, "padding": "same", "padding_mode": "circular", "kernel_size": 4},
    ),
    Case("conv", {**_K3, "kernel_size": (1, 3), "padding": (0, 1), "stride": (2, 1)}, PLANE),
    Case("conv", {**_K3, "kernel_size": (1, 3, 2), "dilation": (2, 1, 3)}, SPACE),
    Case("conv", {"out_channels": 2, "kernel_size": (9,)}, LINE),
    *_on(
        SPATIAL,
        "conv_transpose",
        _UP,
        {**_UP, "in_channels": 4, "bias": False},
        {**_UP, "stride": 2, "padding": 1, "output_padding": 1},
        {**_UP, "stride": 3, "dilation": 2, "output_padding": 2},
        {**_UP, "dilation": 3, "output_padding": 2},
        {**_UP, "groups": 2, "stride": 2},
    ),
    Case("conv_transpose", {**_UP, "stride": (1, 2), "output_padding": (0, 1)}, PLANE),
    *_on(
        SPATIAL,
        "max_pool",
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 2, "dilation": 3},
        {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    ),
    Case("max_pool", {"kernel_size": (3, 2), "stride": (1, 2), "dilation": (2, 1)}, PLANE),
    *_on(
        SPATIAL,
        "avg_pool",
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    ),
    *_on(SPATIAL[1:], "avg_pool", {"kernel_size": 2, "divisor_override": 3}),
    Case("avg_pool", {"kernel_size": (1, 2, 3), "stride": (1, 2, 2)}, SPACE),
    *(
        case
        for kind in ("adaptive_avg_pool", "adaptive_max_pool")
        for case in (
            *_on(SPATIAL, kind, {"output_size": 1}, {"output_size": 4}, {"output_size": None}),
            Case(kind, {"output_size": (5,)}, LINE),
            Case(kind, {"output_size": (None, 3)}, PLANE),
            Case(kind, {"output_size": (12, 2)}, PLANE),
            Case(kind, {"output_size": (2, None, 5)}, SPACE),
        )
    ),
    *_on(ANY, "linear", {"out_features": 5}, {"out_features": 3, "bias": False}),
    Case("linear", {"out_features": 2, "in_features": 7}, FEATURES),
    *_on(ANY, "flatten"),
    *_on(
        SPATIAL[1:],
        "flatten",
        {"start_dim": 2},
        {"end_dim": -2},
        {"start_dim": -2},
        {"start_dim": 2, "end_dim": 2},
    ),
    *_on(ANY, "identity"),
    *_on(
        ANY,
        "batch_norm",
        {},
        {"affine": False},
        {"track_running_stats": False, "eps": 1e-3},
        {"momentum": None},
    ),
    Case("batch_norm", {"num_features": 4}, PLANE),
    *_on(
        SPATIAL,
        "group_norm",
        {"num_groups": 2},
        {"num_groups": 1, "affine": False},
        {"num_groups": 4, "num_channels": 4},
    ),
    Case("group_norm", {"num_groups": 7}, FEATURES),
    *_on(ANY, "layer_norm", {}, {"bias": False}, {"elementwise_affine": False}),
    Case("layer_norm", {"normalized_shape": 8}, PLANE),
    Case("layer_norm", {"normalized_shape": (7, 8), "eps": 1e-3}, SPACE),
    *_on(ANY, "dropout", {}, {"p": 0.0}, {"p": 0.2, "inplace": True}),
    *_on(SPATIAL, "channel_dropout", {}, {"p": 0.2}),
    *(
        case
        for family in ("rectifier", "smooth", "hard", "softmax")
        for kind in FAMILIES[family]
        if kind != "threshold"
        for case in _on(ANY, kind)
    ),
    Case("threshold", {"threshold": 0.1, "value": -2.0}, PLANE),
    Case("leaky_relu", {"negative_slope": 0.3, "inplace": True}, PLANE),
    Case("prelu", {"num_parameters": 4}, PLANE),
    Case("prelu", {"num_parameters": 7, "init": 0.5}, FEATURES),
    Case("rrelu", {"lower": 0.1, "upper": 0.2}, PLANE),
    Case("elu", {"alpha": 2.0}, PLANE),
    Case("celu", {"alpha": 0.5}, PLANE),
    Case("gelu", {"approximate": "tanh"}, PLANE),
    Case("softplus", {"beta": 2.0, "threshold": 5.0}, PLANE),
    Case("softshrink", {"lambd": 0.1}, PLANE),
    Case("hardshrink", {"lambd": 0.1}, PLANE),
    Case("hardtanh", {"min_val": -0.5, "max_val": 2.0}, PLANE),
    *(Case(kind, {"dim": -1}, PLANE) for kind in ("softmax", "softmin", "log_softmax")),
    Case("sequential", {"layers": ()}, PLANE),
    Case("sequential", {"layers": ("relu", {"conv": _K3}, {"flatten": None})}, PLANE),
)  # fmt: skip
