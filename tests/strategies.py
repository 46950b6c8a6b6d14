"""Hypothesis strategies: single layers near the edge of what torch takes, and whole specs."""

from __future__ import annotations

import os
from typing import Any

from cases import Case
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ = settings(
    max_examples=int(os.environ.get("SHAPECALC_FUZZ_EXAMPLES", "300")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""A fixed sample of a fixed size; SHAPECALC_FUZZ_EXAMPLES makes it larger."""

ints = st.integers
channels = ints(1, 6)
axes = ints(1, 3)
off_by_one = ints(-1, 1)
edge = ints(0, 2).map(lambda n: n == 0)
"""A third of the draws go to the edge of what is valid."""

MAX_SIZE = 9


def sizes(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[ints(1, MAX_SIZE)] * count)


def per_axis(value: st.SearchStrategy[int], count: int) -> st.SearchStrategy[Any]:
    """One number, or one for each axis; seldom a wrong number of them."""
    counts = st.sampled_from([count] * 12 + [count + 1])
    return value | counts.flatmap(lambda n: st.tuples(*[value] * n))


def spread(value: Any, count: int) -> tuple[int, ...]:
    """An argument on each axis, a wrong number of them cut or repeated."""
    return (value,) * count if isinstance(value, int) else (*value, *[value[-1]] * 2)[:count]


@st.composite
def _at_edge(draw: Any, kernel: Any, dilation: Any, padding: Any, count: int) -> tuple[int, ...]:
    """Sizes that the padded window just fits into, give or take one."""
    every = zip(*(spread(v, count) for v in (kernel, dilation, padding)), strict=True)
    return tuple(max(1, d * (k - 1) + 1 - 2 * p + draw(off_by_one)) for k, d, p in every)


@st.composite
def convs(draw: Any) -> Case:
    n, c = draw(axes), draw(channels)
    kernel, dilation = draw(per_axis(ints(1, 4), n)), draw(per_axis(ints(1, 3), n))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    words = st.sampled_from(["same", "valid"])
    padding = draw(per_axis(ints(0, 3), n) | words)
    stride = draw(st.sampled_from([1, 1, 2, 3]) if padding == "same" else per_axis(ints(0, 3), n))
    shape = draw(sizes(n))
    if draw(edge):
        numeric = 0 if isinstance(padding, str) else padding
        if mode in ("reflect", "circular"):
            pads = spread(numeric, n)
            if padding == "same":
                kernels, dilations = spread(kernel, n), spread(dilation, n)
                pads = [(d * (k - 1) + 1) // 2 for k, d in zip(kernels, dilations, strict=True)]
            shape = tuple(max(1, p + draw(ints(-1, 2))) for p in pads)
        else:
            shape = draw(_at_edge(kernel, dilation, numeric, n))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, c]))
    out = groups * draw(ints(1, 2)) + draw(st.sampled_from([0, 0, 0, 1]))
    c = draw(st.sampled_from([c, groups, 2 * groups]))
    given_channels = draw(st.sampled_from([{}, {}, {"in_channels": c}, {"in_channels": c + 1}]))
    arguments = {
        "out_channels": out,
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
        "bias": draw(st.booleans()),
        **given_channels,
    }
    return Case("conv", arguments, (c, *shape))


@st.composite
def conv_transposes(draw: Any) -> Case:
    n = draw(axes)
    kernel, dilation = draw(per_axis(ints(1, 4), n)), draw(per_axis(ints(1, 3), n))
    stride, padding = draw(per_axis(ints(1, 4), n)), draw(per_axis(ints(0, 3), n))
    output_padding = draw(per_axis(ints(0, 4), n))
    shape = draw(sizes(n))
    if draw(edge):
        output_padding = tuple(
            max(0, max(s, d) - 1 + draw(off_by_one))
            for s, d in zip(spread(stride, n), spread(dilation, n), strict=True)
        )
        shape = draw(st.tuples(*[ints(1, 2)] * n))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    arguments = {
        "out_channels": groups * draw(ints(1, 2)) + draw(st.sampled_from([0, 0, 0, 1])),
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "dilation": dilation,
        "groups": groups,
    }
    return Case("conv_transpose", arguments, (groups * draw(ints(1, 2)), *shape))


@st.composite
def pools(draw: Any, kind: str) -> Case:
    n = draw(axes)
    kernel = draw(per_axis(ints(1, 5), n))
    dilation = draw(per_axis(ints(1, 3), n)) if kind == "max_pool" else 1
    arguments: dict[str, Any] = {"kernel_size": kernel}
    padding: Any = draw(per_axis(ints(0, 2), n))
    shape = draw(sizes(n))
    if draw(edge):
        padding = tuple(max(0, k // 2 + draw(off_by_one)) for k in spread(kernel, n))
        if draw(st.booleans()):
            padding = tuple(min(p, k // 2) for p, k in zip(padding, spread(kernel, n), strict=True))
        shape = draw(_at_edge(kernel, dilation, padding, n))
    arguments["padding"] = padding
    if draw(st.booleans()):
        arguments["stride"] = draw(per_axis(ints(0, 6), n))
    if kind == "max_pool":
        arguments["dilation"] = dilation
    else:
        arguments["count_include_pad"] = draw(st.booleans())
        if n > 1 and draw(st.booleans()):
            arguments["divisor_override"] = draw(ints(1, 5))
    arguments["ceil_mode"] = draw(st.booleans())
    return Case(kind, arguments, (draw(channels), *shape))


@st.composite
def adaptive_pools(draw: Any) -> Case:
    n = draw(axes)
    size = st.none() | ints(1, 12)
    counts = st.sampled_from([n] * 6 + [n + 1])
    output = draw(ints(1, 12) | st.none() | counts.flatmap(lambda m: st.tuples(*[size] * m)))
    kind = draw(st.sampled_from(["adaptive_avg_pool", "adaptive_max_pool"]))
    return Case(kind, {"output_size": output}, (draw(channels), *draw(sizes(n))))


any_shape = ints(0, 3).flatmap(lambda n: st.tuples(channels, *[ints(1, 5)] * n))


@st.composite
def linears(draw: Any) -> Case:
    shape = draw(any_shape)
    arguments = {"out_features": draw(ints(1, 6)), "bias": draw(st.booleans())}
    if draw(edge):
        arguments["in_features"] = max(1, shape[-1] + draw(off_by_one))
    return Case("linear", arguments, shape)


@st.composite
def flattens(draw: Any) -> Case:
    shape = draw(any_shape)
    dim = ints(-len(shape) - 2, len(shape) + 1)
    return Case("flatten", {"start_dim": draw(dim), "end_dim": draw(dim)}, shape)


@st.composite
def norms(draw: Any) -> Case:
    shape = draw(any_shape)
    kind = draw(st.sampled_from(["batch_norm", "group_norm", "layer_norm"]))
    arguments: dict[str, Any] = {}
    if kind == "group_norm":
        arguments = {"num_groups": draw(ints(1, 6)), "affine": draw(st.booleans())}
        if draw(edge):
            arguments["num_channels"] = max(1, shape[0] + draw(off_by_one))
    elif kind == "batch_norm":
        arguments = {"affine": draw(st.booleans()), "track_running_stats": draw(st.booleans())}
        if draw(edge):
            arguments["num_features"] = max(1, shape[0] + draw(off_by_one))
    else:
        arguments = {"bias": draw(st.booleans()), "elementwise_affine": draw(st.booleans())}
        last = shape[draw(ints(0, len(shape) - 1)) :]
        given = draw(st.sampled_from([None, last, last, shape[-1], (*last, 3), (3, *shape)]))
        if given is not None:
            arguments["normalized_shape"] = given
    return Case(kind, arguments, shape)


@st.composite
def axis_activations(draw: Any) -> Case:
    shape = draw(any_shape)
    kind = draw(st.sampled_from(["prelu", "softmax", "softmin", "log_softmax"]))
    if kind == "prelu":
        near = max(1, shape[0] + draw(off_by_one))
        return Case(kind, {"num_parameters": draw(st.sampled_from([1, near]))}, shape)
    return Case(kind, {"dim": draw(ints(-len(shape) - 2, len(shape) + 1))}, shape)


FAMILIES: dict[str, st.SearchStrategy[Case]] = {
    "conv": convs(),
    "conv_transpose": conv_transposes(),
    "max_pool": pools("max_pool"),
    "avg_pool": pools("avg_pool"),
    "adaptive_pool": adaptive_pools(),
    "linear": linears(),
    "flatten": flattens(),
    "norm": norms(),
    "axis_activation": axis_activations(),
}


@st.composite
def chains(draw: Any) -> list[dict[str, Any]]:
    """Up to four 1-D layers of one channel, without padding."""
    layers = []
    for _ in range(draw(ints(1, 4))):
        kind = draw(st.sampled_from(["conv", "avg_pool", "max_pool", "conv_transpose"]))
        arguments = {"kernel_size": draw(ints(1, 4)), "stride": draw(ints(1, 3))}
        if kind != "avg_pool":
            arguments["dilation"] = draw(ints(1, 2))
        if kind.startswith("conv"):
            arguments |= {"out_channels": 1, "bias": False}
        layers.append({kind: arguments})
    return layers
