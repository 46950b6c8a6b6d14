"""The calculator takes what torch takes, and gives its shapes: torch run eagerly is the judge."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from math import prod
from random import Random
from typing import Any

import pytest
import torch
import torchvision
from cases import Case, Shape
from hypothesis import event, given
from strategies import FAMILIES, FUZZ, INF, drawn
from torch import nn

from shapecalc import Spec, SpecError, trace

SAMPLE = 2_000
"""Cases of each family; `make fuzz` runs fifty times as many."""

NAMES = {
    "conv": "Conv{}d",
    "conv_transpose": "ConvTranspose{}d",
    "max_pool": "MaxPool{}d",
    "avg_pool": "AvgPool{}d",
    "lp_pool": "LPPool{}d",
    "fractional_max_pool": "FractionalMaxPool{}d",
    "adaptive_avg_pool": "AdaptiveAvgPool{}d",
    "adaptive_max_pool": "AdaptiveMaxPool{}d",
    "linear": "Linear",
    "flatten": "Flatten",
    "unflatten": "Unflatten",
    "unfold": "Unfold",
    "fold": "Fold",
    "constant_pad": "ConstantPad{}d",
    "reflection_pad": "ReflectionPad{}d",
    "replication_pad": "ReplicationPad{}d",
    "circular_pad": "CircularPad{}d",
    "upsample": "Upsample",
    "pixel_shuffle": "PixelShuffle",
    "pixel_unshuffle": "PixelUnshuffle",
    "channel_shuffle": "ChannelShuffle",
    "dropout": "Dropout",
    "channel_dropout": "Dropout{}d",
    "alpha_dropout": "AlphaDropout",
    "instance_norm": "InstanceNorm{}d",
    "local_response_norm": "LocalResponseNorm",
    "rms_norm": "RMSNorm",
    "glu": "GLU",
    "batch_norm": "BatchNorm{}d",
    "group_norm": "GroupNorm",
    "layer_norm": "LayerNorm",
    "prelu": "PReLU",
    "softmax": "Softmax",
    "softmin": "Softmin",
    "log_softmax": "LogSoftmax",
}


FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "permute": torch.permute,
    "drop_path": lambda x, p: torchvision.ops.stochastic_depth(x, p, "row"),
    "layer_scale": lambda x, init: x * torch.full((x.shape[1], *(1 for _ in x.shape[2:])), init),
}
"""What stands for the kinds that torch.nn has no module of."""

RANKS = {
    "unfold": (2,),
    "fold": (1,),
    "pixel_shuffle": (2,),
    "pixel_unshuffle": (2,),
    "fractional_max_pool": (2, 3),
    **dict.fromkeys(("instance_norm", "channel_dropout"), (1, 2, 3)),
}
"""The numbers of spatial axes that a kind is for; on others torch takes the batch for channels."""


def calculated(case: Case) -> Shape | None:
    """The shape that the calculator gives; None where it refuses."""
    try:
        return trace(Spec(input=case.shape, layers=[{case.kind: case.arguments}])).output_shape
    except SpecError:
        return None


def inferred(case: Case) -> dict[str, Any]:
    """What the language infers and torch wants to be told."""
    first, *rest = case.shape
    match case.kind:
        case "conv" | "conv_transpose":
            return {"in_channels": first}
        case "linear":
            return {"in_features": case.shape[-1]}
        case "batch_norm" | "instance_norm":
            return {"num_features": first}
        case "group_norm":
            return {"num_channels": first}
        case "layer_norm" | "rms_norm":
            return {"normalized_shape": case.shape}
        case "adaptive_avg_pool" | "adaptive_max_pool" if case.arguments["output_size"] in (
            None,
            (None,),
        ):
            return {"output_size": tuple(rest)}
        case "constant_pad":
            return {"value": 0.0}
    return {}


def run(case: Case) -> Shape | None:
    """The shape that comes out of torch for a batch of two; None where torch refuses, and where
    nothing is left of a sample or samples are mixed, which the language never takes."""
    axes = len(case.shape) - 1
    arguments = {**inferred(case), **case.arguments}
    if case.kind == "lp_pool" and axes == 1:  # torch takes no tuples there
        arguments = {
            name: value[0] if isinstance(value, tuple) and len(value) == 1 else value
            for name, value in arguments.items()
        }
    if case.kind.startswith("adaptive"):
        arguments |= inferred(case)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            x = torch.zeros(2, *case.shape)
            if case.kind in FUNCTIONS:
                batch, *sample = FUNCTIONS[case.kind](x, **arguments).shape
            else:
                module = getattr(nn, NAMES[case.kind].format(max(1, axes)))
                batch, *sample = module(**arguments)(x).shape
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError):
        return None
    return tuple(sample) if batch == 2 and sample and min(sample) > 0 else None


def refused_by_design(case: Case) -> bool:
    """Whether the language is stricter than torch, which would mix samples, or take the batch for
    channels; which does not look at a claimed input size where it has no weights of that size, nor
    at whether paddings or output_ratios are of fewer axes or more; which takes a circular padding
    wider than what the crop on the other side leaves, and then copies memory over itself; and to
    which a scale_factor of 0 is none."""
    axes = len(case.shape) - 1
    if axes not in RANKS.get(case.kind, (axes,)) or case.arguments.get("scale_factor") == 0:
        return True
    dims = [case.arguments.get(name, 1) for name in ("start_dim", "end_dim", "dim")]
    dims += case.arguments.get("dims", (0,))[1:]
    if any(dim in (0, -len(case.shape) - 1) for dim in dims):
        return True
    if case.kind == "group_norm" and prod(case.shape) == case.arguments["num_groups"]:
        return True  # torch takes it only in batches of several samples
    if case.kind.endswith("_pad"):
        padding = case.arguments["padding"]
        if isinstance(padding, int):
            padding = (padding,) * (2 * axes)
        if len(padding) != 2 * axes:
            return True
        if case.kind == "circular_pad":
            sides = zip(padding[::2], padding[1::2], reversed(case.shape[1:]), strict=True)
            return any(max(a, b) > size + min(a, 0) + min(b, 0) for a, b, size in sides)
    beyond = ["output_ratio"]
    if case.arguments.get("padding_mode", "zeros") != "zeros":
        beyond.append("padding")
    for value in map(case.arguments.get, beyond):
        if isinstance(value, tuple) and len(value) != axes:
            return True
    claims = {"in_channels", "in_features", "num_features", "num_channels"}
    real = {name: size for name, size in inferred(case).items() if name in claims}
    return any(case.arguments.get(name, size) != size for name, size in real.items())


def judged(case: Case) -> Shape | None:
    """What torch makes of a case; None where it refuses, or it is refused on purpose."""
    return None if refused_by_design(case) else run(case)


@pytest.mark.parametrize("family", FAMILIES)
def test_calculator_takes_what_torch_takes_and_gives_its_shape(family: str) -> None:
    random = Random(family)
    for _ in range(SAMPLE):
        case = drawn(FAMILIES[family], random)
        assert calculated(case) == judged(case), case

    @FUZZ
    @given(FAMILIES[family])
    def agree(case: Case) -> None:  # again, by hypothesis, which finds the smallest that differs
        real = judged(case)
        event("taken" if real else "refused")
        assert calculated(case) == real, case

    agree()


def _case(kind: str, shape: Shape, **arguments: Any) -> Case:
    return Case(kind, arguments, shape)


COUNTER_EXAMPLES = {
    "a 3-D mean of less than a window": _case(
        "lp_pool", (1, 2, 2, 2), norm_type=2.0, kernel_size=3, ceil_mode=True
    ),
    "an infinite norm is a max pool": _case(
        "lp_pool", (1, 2, 2, 2), norm_type=INF, kernel_size=3, ceil_mode=True
    ),
    "norm 0": _case("lp_pool", (1, 9), norm_type=0.0, kernel_size=3),
    "random windows fill a plane": _case(
        "fractional_max_pool", (1, 4, 4), kernel_size=2, output_size=3
    ),
    "but not a volume": _case("fractional_max_pool", (1, 4, 4, 4), kernel_size=2, output_size=3),
    "a single window as large as the volume": _case(
        "fractional_max_pool", (1, 2, 2, 2), kernel_size=2, output_size=1
    ),
    "a ratio that leaves nothing": _case(
        "fractional_max_pool", (1, 3, 3), kernel_size=2, output_ratio=0.3
    ),
    "a mirror of a second axis on one": _case(
        "conv", (2, 8), out_channels=1, kernel_size=3, padding=(0, 1), padding_mode="reflect"
    ),
    "a ratio of a fourth axis": _case(
        "fractional_max_pool", (1, 5, 7, 3), kernel_size=1, output_ratio=(0.5, 0.5, 0.5, 0.5)
    ),
    "negative counts of windows multiply to 1": _case("fold", (9, 1), output_size=1, kernel_size=3),
    "a line is no plane to unfold": _case("unfold", (2, 4), kernel_size=1),
    "a line is no plane to shuffle": _case("pixel_shuffle", (2, 4), upscale_factor=1),
    "a volume is no plane to shuffle": _case("pixel_shuffle", (2, 4, 3, 3), upscale_factor=2),
    "a batch is no channels": _case("instance_norm", (4,)),
    "one pixel has no variance": _case("instance_norm", (4, 1, 1), track_running_stats=True),
    "a crop of more than there is": _case("constant_pad", (1, 5), padding=(2, -6)),
    "a crop of all": _case("constant_pad", (1, 5), padding=(-5, 1)),
    "a mirror cropped away": _case("reflection_pad", (1, 5), padding=(2, -6)),
    "a mirror as wide as the input": _case("reflection_pad", (1, 5), padding=(5, -3)),
    "a repeat of what was cropped": _case("replication_pad", (1, 5), padding=(-6, 8)),
    "a circle through a crop": _case("circular_pad", (1, 5), padding=(-4, 4)),
    "a circle round a crop": _case("circular_pad", (1, 5), padding=(2, -6)),
    "a circle of exactly the input": _case("circular_pad", (1, 5), padding=(5, 5)),
    "paddings of one axis on two": _case("constant_pad", (1, 5, 5), padding=(1, 1)),
    "paddings of two axes on one": _case("constant_pad", (1, 5), padding=(1, 1, 1, 1)),
    "a factor of 0 beside a size": _case("upsample", (1, 1), size=1, scale_factor=0.0),
    "a product just below a whole number": _case(
        "upsample", (1, 3), scale_factor=math.nextafter(2, 0)
    ),
    "a product of less than 1": _case("upsample", (1, 4), scale_factor=0.2),
    "a size that was to be computed again": _case(
        "upsample", (1, 4), size=5, recompute_scale_factor=True
    ),
    "sizes of which two are left open": _case("unflatten", (6,), dim=1, unflattened_size=(-1, -1)),
    "no sizes": _case("unflatten", (1, 3), dim=1, unflattened_size=()),
    "the batch axis counted from the end": _case("permute", (3, 4), dims=(-3, -1, 1)),
    "a gate of the batch axis": _case("glu", (4,), dim=0),
    "a gate of an odd axis": _case("glu", (4, 3)),
}
"""What was once wrong, or was expected to go wrong, in words."""


@pytest.mark.parametrize("case", COUNTER_EXAMPLES.values(), ids=COUNTER_EXAMPLES)
def test_counter_example_is_still_taken_as_by_torch(case: Case) -> None:
    assert calculated(case) == (None if refused_by_design(case) else run(case))


def exhaustive_pools(
    kinds: Iterable[str] = ("max_pool", "avg_pool", "lp_pool"),
    *,
    sizes: Iterable[int] = range(1, 25),
    kernels: Iterable[int] = range(1, 8),
    strides: Iterable[int] = range(1, 8),
    paddings: Iterable[int] = range(5),
    dilations: Iterable[int] = range(1, 4),
) -> Iterator[Case]:
    """Every 1-D pool of these ranges, rounded down and up; a kind takes what it has of them."""
    for kind, kernel, size, stride, ceil in product(kinds, kernels, sizes, strides, (False, True)):
        arguments = {"kernel_size": kernel, "stride": stride, "ceil_mode": ceil}
        if kind == "lp_pool":
            yield Case(kind, {**arguments, "norm_type": 2.0}, (1, size))
            continue
        for padding in paddings:
            arguments = {**arguments, "padding": padding}
            if kind == "avg_pool":
                yield Case(kind, arguments, (1, size))
                continue
            for dilation in dilations:
                yield Case(kind, {**arguments, "dilation": dilation}, (1, size))


def differing(cases: Iterable[Case]) -> list[Case]:
    """The cases in which the calculator and torch do not say the same."""
    return [case for case in cases if calculated(case) != run(case)]


@pytest.mark.parametrize("kernel", range(1, 6))
def test_every_small_pool_is_taken_as_by_torch(kernel: int) -> None:
    assert not differing(
        exhaustive_pools(
            sizes=range(1, 10), kernels=[kernel], strides=range(1, 6), paddings=range(3)
        )
    )
