"""Hypothesis strategies: single layers near the edge of what torch takes, and whole specs."""

from __future__ import annotations

import math
import os
from random import Random
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
INF = math.inf


def sizes(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[ints(1, MAX_SIZE)] * count)


def per_axis(value: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[Any]:
    """One number, or one for each axis; seldom a wrong number of them."""
    counts = st.sampled_from([count] * 12 + [count + 1])
    return value | counts.flatmap(lambda n: st.tuples(*[value] * n))


def spread(value: Any, count: int) -> tuple[int, ...]:
    """An argument on each axis, a wrong number of them cut or repeated."""
    single = isinstance(value, int | float)
    return (value,) * count if single else (*value, *[value[-1]] * 2)[:count]


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
        shape = draw(_at_edge(kernel, dilation, 0 if kind == "lp_pool" else padding, n))
    arguments["padding"] = padding
    if draw(st.booleans()):
        arguments["stride"] = draw(per_axis(ints(0, 6), n))
    if kind == "max_pool":
        arguments["dilation"] = dilation
    elif kind == "lp_pool":
        del arguments["padding"]
        arguments["norm_type"] = draw(st.sampled_from([0.0, 1.0, 2.0, 2.0, -1.0, INF, -INF]))
    else:
        arguments["count_include_pad"] = draw(st.booleans())
        if n > 1 and draw(st.booleans()):
            arguments["divisor_override"] = draw(ints(1, 5))
    arguments["ceil_mode"] = draw(st.booleans())
    return Case(kind, arguments, (draw(channels), *shape))


@st.composite
def fractional_pools(draw: Any) -> Case:
    n = draw(st.sampled_from([2, 2, 2, 3, 3, 3, 1]))
    kernel, shape = draw(per_axis(ints(1, 4), n)), draw(sizes(n))
    ratio = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.99, 1.0, 1 / 3]) | st.floats(0, 1)
    size: Any = draw(per_axis(ints(0, 5), n))
    if draw(edge):
        both = zip(spread(size, n), spread(kernel, n), strict=True)
        shape = tuple(max(1, o + k - 1 + draw(ints(-1, 2))) for o, k in both)
    arguments = {"kernel_size": kernel, "output_size": size}
    match draw(ints(0, 9)):
        case 0:
            arguments["output_ratio"] = draw(ratio)
        case 1:
            del arguments["output_size"]
        case 2 | 3 | 4:
            arguments = {"kernel_size": kernel, "output_ratio": draw(per_axis(ratio, n))}
    return Case("fractional_max_pool", arguments, (draw(channels), *shape))


@st.composite
def windows(draw: Any) -> Case:
    """Unfold, and fold of what an unfold could have made, give or take one."""
    arguments = {
        "kernel_size": draw(per_axis(ints(0, 3), 2)),
        "dilation": draw(per_axis(st.sampled_from([1, 1, 2, 0]), 2)),
        "padding": draw(per_axis(st.sampled_from([0, 0, 1, 2, -1]), 2)),
        "stride": draw(per_axis(st.sampled_from([1, 1, 2, 3, 0]), 2)),
    }
    kernel, dilation, padding, stride = (spread(value, 2) for value in arguments.values())
    plane = draw(sizes(2))
    if draw(edge):
        plane = draw(_at_edge(kernel, dilation, padding, 2))
    if draw(st.booleans()):
        n = draw(st.sampled_from([2] * 8 + [0, 1, 3]))
        return Case("unfold", arguments, (draw(channels), *(*plane, 2)[:n]))
    arguments["output_size"] = plane if draw(st.booleans()) else plane[0]
    counts = [
        (i + 2 * p - d * (k - 1) - 1) // max(1, s) + 1
        for i, k, d, p, s in zip(
            spread(arguments["output_size"], 2), kernel, dilation, padding, stride, strict=True
        )
    ]
    rows, columns = kernel[0] * kernel[1] * draw(ints(1, 2)), counts[0] * counts[1]
    if draw(edge):
        rows, columns = rows + draw(off_by_one), columns + draw(off_by_one)
    shape = max(1, rows), max(1, columns)
    return Case("fold", arguments, draw(st.sampled_from([shape] * 8 + [shape[:1], (*shape, 2)])))


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
def unflattens(draw: Any) -> Case:
    shape = draw(any_shape)
    dim = draw(ints(-len(shape) - 2, len(shape) + 1) | ints(1, len(shape)))
    sizes = draw(st.lists(ints(-2, 4) | ints(1, 3), max_size=4))
    if draw(edge) and sizes and 1 <= dim <= len(shape):
        sizes = [max(1, abs(size)) for size in sizes]
        size = math.prod(sizes) + draw(st.sampled_from([0, 0, 0, 1]))
        shape = *shape[: dim - 1], size, *shape[dim:]
        if draw(st.booleans()):
            sizes[draw(ints(0, len(sizes) - 1))] = -1
    return Case("unflatten", {"dim": dim, "unflattened_size": tuple(sizes)}, shape)


@st.composite
def permutes(draw: Any) -> Case:
    shape = draw(any_shape)
    count = len(shape) + 1
    dims = (0, *draw(st.permutations(range(1, count))))
    if draw(edge):
        dims = draw(
            st.permutations(range(count)).map(tuple)
            | st.tuples(*[ints(-count - 1, count)] * draw(ints(count - 1, count + 1)))
        )
    dims = tuple(dim - count if draw(edge) and 0 <= dim < count else dim for dim in dims)
    return Case("permute", {"dims": dims}, shape)


@st.composite
def pads(draw: Any, kind: str) -> Case:
    n = draw(axes)
    shape = draw(sizes(n))
    side = ints(-3, 4)
    padding = draw(side | st.tuples(*[side] * (2 * n)))
    if draw(edge):
        ends = [
            draw(
                st.sampled_from([(size, 0), (-size, 0), (-size, 1), (-1, 1 - size), (size, -1)])
                | st.sampled_from([(size, -size), (1 - size, size), (1, -1 - size), (0, size - 1)])
            )
            for size in reversed(shape)
        ]
        padding = tuple(number + draw(st.sampled_from([0, 0, 1, -1])) for e in ends for number in e)
    if draw(ints(0, 12)) == 0:
        padding = draw(st.lists(side, max_size=7).map(tuple))
    return Case(kind, {"padding": padding}, (draw(channels), *shape))


MODES = ("nearest", "nearest-exact", "area", "linear", "bilinear", "bicubic", "trilinear")


@st.composite
def upsamples(draw: Any) -> Case:
    n = draw(st.sampled_from([1, 1, 2, 2, 2, 3, 3, 0]))
    shape = draw(sizes(n))
    fitting = {1: MODES[:4], 2: (*MODES[:3], *MODES[4:6]), 3: (*MODES[:3], MODES[6])}
    mode = draw(st.sampled_from([*fitting.get(n, MODES)] * 3 + [*MODES]))
    arguments: dict[str, Any] = {"mode": mode}
    which = draw(ints(0, 9))
    factor = st.sampled_from([1.0, 2.0, 0.5, 1 / 3, 0.1, 1.1, 2.5, 0.0, -1.0]) | st.floats(0.1, 3)
    if draw(edge) and n:  # the product is a whole number, or just not
        exact = ints(0, 9).map(lambda out: out / shape[0])
        near = st.sampled_from([0, 9])
        factor = exact | st.builds(math.nextafter, exact, near)
    if which in (0, 1, 2, 3):
        arguments["size"] = draw(per_axis(ints(0, 12), max(1, n)))
    if which in (0, 5, 6, 7, 8, 9):
        arguments["scale_factor"] = draw(per_axis(factor, max(1, n)))
    if draw(edge) or mode not in MODES[:3]:
        arguments["align_corners"] = draw(st.none() | st.booleans())
    if draw(edge):
        arguments["recompute_scale_factor"] = draw(st.none() | st.booleans())
    return Case("upsample", arguments, (draw(channels), *shape))


@st.composite
def shuffles(draw: Any) -> Case:
    kind = draw(st.sampled_from(["pixel_shuffle", "pixel_unshuffle", "channel_shuffle"]))
    n = draw(st.sampled_from([2] * 6 + [0, 1, 3]))
    factor = draw(ints(0, 4))
    c, rest = draw(ints(1, 6)), draw(sizes(n))
    if draw(edge):
        c = max(1, (factor if kind == "channel_shuffle" else factor**2) * c + draw(off_by_one))
    if draw(edge):
        off = st.sampled_from([0, 0, 0, 1, -1])
        rest = tuple(max(1, factor * size + draw(off)) for size in rest)
    name = {"pixel_shuffle": "upscale_factor", "pixel_unshuffle": "downscale_factor"}
    return Case(kind, {name.get(kind, "groups"): factor}, (c, *rest))


@st.composite
def leave_outs(draw: Any) -> Case:
    kind = draw(st.sampled_from(["dropout", "channel_dropout", "alpha_dropout", "drop_path"]))
    p = draw(st.sampled_from([0.0, 1.0, 0.5, -0.1, 1.1, math.nextafter(1, 2), INF]))
    return Case(kind, {"p": p}, draw(any_shape))


@st.composite
def norms(draw: Any) -> Case:
    shape = draw(any_shape)
    kinds = ["batch_norm", "group_norm", "layer_norm", "rms_norm", "instance_norm"]
    kind = draw(st.sampled_from([*kinds, "local_response_norm", "layer_scale"]))
    arguments: dict[str, Any] = {}
    if kind == "group_norm":
        arguments = {"num_groups": draw(ints(1, 6)), "affine": draw(st.booleans())}
        if draw(edge):
            arguments["num_channels"] = max(1, shape[0] + draw(off_by_one))
    elif kind == "local_response_norm":
        arguments = {"size": draw(ints(0, 9)), "alpha": draw(st.floats(-1, 1))}
    elif kind == "layer_scale":
        arguments = {"init": draw(st.floats(-1, 1))}
    elif kind in ("batch_norm", "instance_norm"):
        arguments = {"affine": draw(st.booleans()), "track_running_stats": draw(st.booleans())}
        if draw(edge):
            arguments["num_features"] = max(1, shape[0] + draw(off_by_one))
    else:
        arguments = {"elementwise_affine": draw(st.booleans())}
        if kind == "layer_norm":
            arguments["bias"] = draw(st.booleans())
        last = shape[draw(ints(0, len(shape) - 1)) :]
        given = draw(st.sampled_from([None, last, last, shape[-1], (*last, 3), (3, *shape)]))
        if given is not None:
            arguments["normalized_shape"] = given
    return Case(kind, arguments, shape)


@st.composite
def axis_activations(draw: Any) -> Case:
    shape = draw(any_shape)
    kind = draw(st.sampled_from(["prelu", "softmax", "softmin", "log_softmax", "glu", "glu"]))
    if kind == "prelu":
        near = max(1, shape[0] + draw(off_by_one))
        return Case(kind, {"num_parameters": draw(st.sampled_from([1, near]))}, shape)
    return Case(kind, {"dim": draw(ints(-len(shape) - 2, len(shape) + 1))}, shape)


FAMILIES: dict[str, st.SearchStrategy[Case]] = {
    "conv": convs(),
    "conv_transpose": conv_transposes(),
    "max_pool": pools("max_pool"),
    "avg_pool": pools("avg_pool"),
    "lp_pool": pools("lp_pool"),
    "fractional_max_pool": fractional_pools(),
    "adaptive_pool": adaptive_pools(),
    "window": windows(),
    "linear": linears(),
    "flatten": flattens(),
    "unflatten": unflattens(),
    "permute": permutes(),
    "constant_pad": pads("constant_pad"),
    "reflection_pad": pads("reflection_pad"),
    "replication_pad": pads("replication_pad"),
    "circular_pad": pads("circular_pad"),
    "upsample": upsamples(),
    "shuffle": shuffles(),
    "dropout": leave_outs(),
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


@st.composite
def towers(draw: Any) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """The sizes of an input of 1 to 3 axes, and convolutions and pools over it, most of which it is
    too small for or just large enough."""
    count = draw(axes)

    def each(low: int, high: int) -> Any:
        return draw(ints(low, high) | st.tuples(*[ints(low, high)] * count))

    layers: list[dict[str, Any]] = []
    for _ in range(draw(ints(1, 5))):
        window: dict[str, Any] = {"kernel_size": each(1, 5), "stride": each(1, 3)}
        kind = draw(st.sampled_from(["conv", "conv", "max_pool", "avg_pool"]))
        if kind == "conv":
            window |= {"out_channels": 2, "dilation": each(1, 3), "padding": each(0, 3)}
        else:
            window["padding"] = draw(ints(0, min(spread(window["kernel_size"], count)) // 2))
        layers.append({kind: window})
    return draw(st.tuples(*[ints(1, 12)] * count)), layers


def drawn(strategy: Any, random: Random) -> Any:
    """A value of a hypothesis strategy, each choice at random with equal chances.

    A tenth of the time that hypothesis takes to draw one, which keeps a record of every choice for
    shrinking; the strategies themselves send a third of the cases to the edge of what is valid.
    """
    match type(strategy).__name__:
        case "LazyStrategy":
            return drawn(strategy.wrapped_strategy, random)
        case "CompositeStrategy":
            return strategy.definition(
                lambda inner, label=None: drawn(inner, random), *strategy.args, **strategy.kwargs
            )
        case "IntegersStrategy":
            return random.randint(strategy.start, strategy.end)
        case "BooleansStrategy":
            return random.random() < 0.5
        case "JustStrategy":
            return strategy.value
        case "SampledFromStrategy":
            value = random.choice(strategy.elements)
            for kind, function in strategy._transformations:
                assert kind == "map"
                value = function(value)
            return value
        case "TupleStrategy":
            return tuple(drawn(part, random) for part in strategy.element_strategies)
        case "OneOfStrategy":
            return drawn(random.choice(strategy.element_strategies), random)
        case "MappedStrategy":
            return strategy.pack(drawn(strategy.mapped_strategy, random))
        case "FlatMapStrategy" | "FlatMappedStrategy":
            name = "base" if hasattr(strategy, "base") else "flatmapped_strategy"
            base = getattr(strategy, name)
            return drawn(strategy.expand(drawn(base, random)), random)
        case "FloatStrategy":
            return random.uniform(strategy.min_value, strategy.max_value)
        case "ListStrategy":
            most = min(strategy.max_size, strategy.min_size + 8)
            count = random.randint(strategy.min_size, int(most))
            return [drawn(strategy.element_strategy, random) for _ in range(count)]
        case "PermutationStrategy":
            return random.sample(strategy.values, len(strategy.values))
        case "BuildsStrategy":
            return strategy.target(*(drawn(part, random) for part in strategy.args))
    raise TypeError(f"no way to draw from {strategy!r} of {type(strategy).__name__}")
