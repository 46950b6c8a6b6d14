"""The calculator takes what torch takes, and gives its shapes: torch run eagerly is the judge."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from cases import Case, Shape
from hypothesis import event, given
from strategies import FAMILIES, FUZZ
from torch import nn

from shapecalc import Spec, SpecError, trace

NAMES = {
    "conv": "Conv{}d",
    "conv_transpose": "ConvTranspose{}d",
    "max_pool": "MaxPool{}d",
    "avg_pool": "AvgPool{}d",
    "adaptive_avg_pool": "AdaptiveAvgPool{}d",
    "adaptive_max_pool": "AdaptiveMaxPool{}d",
    "linear": "Linear",
    "flatten": "Flatten",
    "batch_norm": "BatchNorm{}d",
    "group_norm": "GroupNorm",
    "layer_norm": "LayerNorm",
    "prelu": "PReLU",
    "softmax": "Softmax",
    "softmin": "Softmin",
    "log_softmax": "LogSoftmax",
}


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
        case "batch_norm":
            return {"num_features": first}
        case "group_norm":
            return {"num_channels": first}
        case "layer_norm":
            return {"normalized_shape": case.shape}
        case "adaptive_avg_pool" | "adaptive_max_pool" if case.arguments["output_size"] in (
            None,
            (None,),
        ):
            return {"output_size": tuple(rest)}
    return {}


def run(case: Case) -> Shape | None:
    """The shape that comes out of torch for a batch of two; None where torch refuses, and where
    nothing is left of a sample or samples are mixed, which the language never takes."""
    axes = len(case.shape) - 1
    module = getattr(nn, NAMES[case.kind].format(max(1, axes)))
    arguments = {**inferred(case), **case.arguments}
    if case.kind.startswith("adaptive"):
        arguments |= inferred(case)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            batch, *sample = module(**arguments)(torch.zeros(2, *case.shape)).shape
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return None
    return tuple(sample) if batch == 2 and sample and min(sample) > 0 else None


def refused_by_design(case: Case) -> bool:
    """Whether the case mixes samples, or claims an input size that is not the real one: torch does
    not look at the claim where it has no weights of that size."""
    dims = (case.arguments.get(name, 1) for name in ("start_dim", "end_dim", "dim"))
    mixed = any(dim in (0, -len(case.shape) - 1) for dim in dims)
    real = {k: v for k, v in inferred(case).items() if k not in ("output_size", "normalized_shape")}
    return mixed or any(case.arguments.get(name, size) != size for name, size in real.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_calculator_takes_what_torch_takes_and_gives_its_shape(family: str) -> None:
    @FUZZ
    @given(FAMILIES[family])
    def agree(case: Case) -> None:
        ours = calculated(case)
        real = None if refused_by_design(case) else run(case)
        event("taken" if real else "refused")
        assert ours == real, case

    agree()


def exhaustive_pools(kernel: int) -> Iterator[Case]:
    """Every 1-D pool of a kernel over inputs, strides, paddings, dilations and roundings."""
    for size, stride, padding, dilation, ceil in product(
        range(1, 10), range(1, 6), range(3), range(1, 4), (False, True)
    ):
        arguments = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}
        if dilation == 1:
            yield Case("avg_pool", arguments, (1, size))
        yield Case("max_pool", {**arguments, "dilation": dilation}, (1, size))


@pytest.mark.parametrize("kernel", range(1, 6))
def test_every_small_pool_is_taken_as_by_torch(kernel: int) -> None:
    wrong = [case for case in exhaustive_pools(kernel) if calculated(case) != run(case)]
    assert not wrong
