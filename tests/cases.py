"""One table of layers, shared by every generic test: a kind, its arguments and an input."""

from __future__ import annotations

from collections.abc import Iterator
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

_SAME = {"conv": {"out_channels": 4, "kernel_size": 3, "padding": 1}}
_HALF = {"conv": {"out_channels": 2, "kernel_size": 3, "padding": 1}}
_GATE = ({"adaptive_avg_pool": 1}, {"conv": {"out_channels": 4, "kernel_size": 1}}, "sigmoid")


def _structures() -> Iterator[Case]:
    """Layers made of layers, on every rank."""
    for shape in SPATIAL:
        half = {"conv": {"out_channels": 4, "kernel_size": 1, "stride": 2}}
        down = {"conv": {"out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1}}
        for kind, arguments in (
            ("repeat", {"times": 3, "layers": (_SAME,)}),
            ("repeat", {"times": 2, "index": "i", "layers": (_SAME, "tanh")}),
            ("repeat", {"times": 0, "layers": (_SAME,)}),
            ("residual", {"layers": (_SAME, "batch_norm")}),
            ("residual", {"layers": (down, "relu", _SAME), "shortcut": (half,)}),
            ("residual", {"layers": (_HALF,), "shortcut": False}),
            ("branches", {"layers": ((_SAME,), (), (_HALF, "relu"))}),
            ("branches", {"merge": "add", "layers": ((_SAME,), (_SAME, _SAME))}),
            ("branches", {"merge": "multiply", "layers": ((), _GATE)}),
            ("branches", {"split": 2, "layers": ((), (_HALF,))}),
            ("sequential", {"layers": ({"save": "a"}, _HALF, {"concat": "a"}, _SAME)}),
            ("sequential", {"layers": (_SAME, {"save": "a"}, "tanh", {"add": "a"})}),
            ("sequential", {"layers": ({"save": "a"}, *_GATE, {"multiply": "a"})}),
            (
                "sequential",
                {
                    "layers": (
                        {"sequential": ({"save": "a"}, _HALF, {"save": "b"})},
                        {"residual": (_HALF, {"concat": ("a", "b")}, _HALF)},
                    )
                },
            ),
        ):
            yield Case(kind, arguments, shape)


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
    *_on(
        SPATIAL,
        "lp_pool",
        {"kernel_size": 2, "norm_type": 2.0},
        {"kernel_size": 3, "stride": 2, "norm_type": 2.0, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3, "norm_type": float("inf")},
    ),
    Case("lp_pool", {"kernel_size": (3,), "norm_type": 2.0}, LINE),
    Case("lp_pool", {"kernel_size": (1, 2), "stride": (2, 1), "norm_type": 2.0}, PLANE),
    *_on(
        SPATIAL[1:],
        "fractional_max_pool",
        {"kernel_size": 2, "output_size": 3},
        {"kernel_size": 3, "output_ratio": 0.4},
    ),
    Case("fractional_max_pool", {"kernel_size": (2, 3), "output_ratio": (0.9, 0.25)}, PLANE),
    Case("fractional_max_pool", {"kernel_size": (2, 1, 3), "output_size": (4, 6, 1)}, SPACE),
    *_on(
        (PLANE,),
        "unfold",
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 1), "dilation": (3, 1)},
    ),
    Case("fold", {"output_size": (4, 5), "kernel_size": (2, 3)}, (12, 9)),
    Case(
        "fold",
        {"output_size": 5, "kernel_size": 3, "padding": 1, "stride": 2, "dilation": (1, 2)},
        (18, 6),
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
    Case("unflatten", {"dim": 1, "unflattened_size": (7, 1, -1)}, FEATURES),
    *_on(SPATIAL, "unflatten", {"dim": 1, "unflattened_size": (2, -1)}),
    *_on(SPATIAL[1:], "unflatten", {"dim": -1, "unflattened_size": (2, 4)}),
    Case("permute", {"dims": (0, 1)}, FEATURES),
    Case("permute", {"dims": (0, 2, 1)}, LINE),
    Case("permute", {"dims": (0, -1, 1, 2)}, PLANE),
    Case("permute", {"dims": (-5, 3, 1, 4, 2)}, SPACE),
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
        "instance_norm",
        {},
        {"affine": True},
        {"affine": True, "track_running_stats": True, "eps": 1e-3, "momentum": None},
    ),
    Case("instance_norm", {"num_features": 4}, PLANE),
    *_on(ANY, "rms_norm", {}, {"elementwise_affine": False, "eps": 1e-3}),
    Case("rms_norm", {"normalized_shape": 8}, PLANE),
    Case("rms_norm", {"normalized_shape": (7, 8)}, SPACE),
    *_on(
        SPATIAL,
        "local_response_norm",
        {"size": 2},
        {"size": 9, "alpha": 1e-2, "beta": 0.5, "k": 2.0},
    ),
    *_on(ANY, "layer_scale", {}, {"init": 0.1}),
    *_on(
        SPATIAL,
        "group_norm",
        {"num_groups": 2},
        {"num_groups": 1, "affine": False},
        {"num_groups": 4, "num_channels": 4},
    ),
    Case("group_norm", {"num_groups": 1}, FEATURES),
    *_on(ANY, "layer_norm", {}, {"bias": False}, {"elementwise_affine": False}),
    Case("layer_norm", {"normalized_shape": 8}, PLANE),
    Case("layer_norm", {"normalized_shape": (7, 8), "eps": 1e-3}, SPACE),
    *_on(ANY, "dropout", {}, {"p": 0.0}, {"p": 0.2, "inplace": True}),
    *_on(SPATIAL, "channel_dropout", {}, {"p": 0.2}),
    *_on(ANY, "alpha_dropout", {}, {"p": 0.2, "inplace": True}),
    *_on(ANY, "drop_path", {"p": 0.2}, {"p": 1.0}),
    *(
        case
        for kind in FAMILIES["pad"]
        for case in (
            *_on(SPATIAL, kind, {"padding": 2}, {"padding": -1}, {"padding": 0}),
            Case(kind, {"padding": (1, 8 if kind != "reflection_pad" else 7)}, LINE),
            Case(kind, {"padding": (-3, 2, 1, 0)}, PLANE),
            Case(kind, {"padding": (1, 2, -3, 3, 0, -1)}, SPACE),
        )
    ),
    Case("constant_pad", {"padding": (9, 20), "value": -1.5}, LINE),
    Case("constant_pad", {"padding": 1, "value": float("-inf")}, PLANE),
    *_on(
        SPATIAL,
        "upsample",
        {"scale_factor": 2.0},
        {"scale_factor": 1.3, "mode": "nearest-exact"},
        {"size": 5},
        {"scale_factor": 0.5, "mode": "area"},
        {"scale_factor": 1.7, "recompute_scale_factor": True},
    ),
    *(
        Case("upsample", {"mode": mode, **arguments}, shape)
        for mode, shape in (
            ("linear", LINE),
            ("bilinear", PLANE),
            ("bicubic", PLANE),
            ("trilinear", SPACE),
        )
        for arguments in (
            {"scale_factor": 2.0},
            {"scale_factor": 0.6, "align_corners": False},
            {"size": 6, "align_corners": True},
        )
    ),
    Case("upsample", {"size": (4, 20)}, PLANE),
    Case("upsample", {"scale_factor": (1.0, 2.5, 0.4)}, SPACE),
    Case("pixel_shuffle", {"upscale_factor": 2}, PLANE),
    Case("pixel_unshuffle", {"downscale_factor": 3}, (2, 9, 6)),
    *_on(SPATIAL, "channel_shuffle", {"groups": 2}),
    *(
        case
        for family in ("rectifier", "smooth", "hard", "softmax")
        for kind in FAMILIES[family]
        if kind not in ("threshold", "glu")
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
    Case("glu", {}, (6,)),
    *(Case("glu", {"dim": 1}, shape) for shape in SPATIAL),
    *(Case("glu", {}, shape) for shape in (PLANE, SPACE)),
    *(Case(kind, {"dim": -1}, PLANE) for kind in ("softmax", "softmin", "log_softmax")),
    *_structures(),
    Case("sequential", {"layers": ()}, PLANE),
    Case("sequential", {"layers": ("relu", {"conv": _K3}, {"flatten": None})}, PLANE),
)  # fmt: skip
