"""What the calculator says a position sees is what changes it in a network of positive weights."""

from __future__ import annotations

from fractions import Fraction
from operator import ge
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from strategies import FUZZ, chains
from torch import nn

from shapecalc import Spec, build, trace

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
LENGTH = 160


def seen(layers: list[Any], axes: int, size: int) -> list[tuple[int, int]]:
    """First and last input pixel along the last axis that each output position sees.

    Every weight is 1 and nothing is negative, so an input of zeros with a single 1 gives more than
    0 at just those positions that see the 1.
    """
    shape = (1,) * (axes - 1) + (size,)
    model = build(Spec(input=(1, *shape), layers=layers)).double()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    with torch.no_grad():
        out = model(torch.eye(size, dtype=torch.float64).view(size, 1, *shape))
    hits = [(column > 1e-9).nonzero() for column in out.flatten(1, -2)[:, 0].T]
    return [(int(hit.min()), int(hit.max())) for hit in hits if len(hit)]


def conv(kernel: int, **arguments: Any) -> dict[str, Any]:
    return {"conv": {"out_channels": 1, "kernel_size": kernel, "bias": False, **arguments}}


def up(kernel: int, **arguments: Any) -> dict[str, Any]:
    given = {"out_channels": 1, "kernel_size": kernel, "bias": False, **arguments}
    return {"conv_transpose": given}


CHAINS = [
    ([conv(3)], 3, 1),
    ([conv(3), conv(3), {"max_pool": 2}], 6, 2),
    ([conv(3, dilation=2, padding=2), conv(3, dilation=4, padding=4)], 13, 1),
    ([conv(7, stride=2, padding=3), {"max_pool": {"kernel_size": 3, "stride": 2}}], 11, 4),
    ([conv(4, padding="same"), {"avg_pool": 3}, "relu", up(1)], 6, 3),
    ([{"max_pool": {"kernel_size": 2, "dilation": 3}}, conv(2, stride=3)], 6, 6),
    ([up(2, stride=2)], 1, None),
    ([up(3, stride=2, padding=1, output_padding=1), conv(3)], 3, None),
    ([conv(2, stride=2), up(2, stride=2)], 2, None),
    ([conv(3, stride=2), conv(3, stride=2), up(4, stride=2, padding=1), up(2, stride=2)], 11, None),
    ([up(3, stride=3, dilation=2), conv(2, stride=3)], None, None),
    ([up(2, stride=2, dilation=3)], 1, None),
    ([up(1, stride=3), conv(3)], 1, None),
    ([{"adaptive_avg_pool": 40}], 4, 4),
    ([{"adaptive_max_pool": 7}], 24, None),
    ([{"adaptive_max_pool": 119}, conv(2)], 4, None),
    ([{"adaptive_max_pool": 3}, {"adaptive_max_pool": 7}], 107, None),
    ([up(3, stride=2), {"adaptive_avg_pool": 48}, conv(3, stride=2)], None, None),
    ([{"lp_pool": {"kernel_size": 3, "norm_type": 2}}, conv(2)], 6, 3),
    ([conv(3), {"constant_pad": (5, -7)}, conv(2)], 4, 1),
    ([conv(3), {"reflection_pad": (3, 2)}, conv(3)], 5, 1),
    ([conv(3), {"replication_pad": (-4, 9)}, conv(3)], 5, 1),
    ([{"upsample": 2}, conv(3)], 2, None),
    ([{"upsample": 3.0}, conv(4, stride=2)], 2, None),
    ([{"upsample": 1.5}, conv(3)], 3, None),
    ([{"upsample": 0.5}, conv(3)], 5, 2),
    ([{"upsample": 1 / 3}, conv(2)], 4, 3),
    ([{"upsample": {"size": 36}}, conv(2)], 6, None),
    ([{"upsample": {"size": 120}}], 1, None),
    ([conv(2, stride=2), {"upsample": 2}, conv(3)], 4, None),
    ([{"upsample": {"scale_factor": 0.75, "mode": "nearest-exact"}}, conv(2)], 3, None),
    ([{"upsample": {"scale_factor": 1.5, "mode": "area"}}, conv(2)], 2, None),
    ([{"upsample": {"scale_factor": 1.7, "recompute_scale_factor": True}}, conv(3)], 3, None),
    ([{"upsample": {"scale_factor": 2, "mode": "linear"}}], 2, None),
    ([{"upsample": {"scale_factor": 2, "mode": "linear"}}, conv(3)], 3, None),
    ([{"upsample": {"scale_factor": 1 / 3, "mode": "linear"}}, conv(2)], 4, 3),
    ([{"upsample": {"scale_factor": 0.5, "mode": "linear"}}, conv(2)], 4, 2),
    ([{"upsample": {"size": 319, "mode": "linear", "align_corners": True}}], 2, None),
    ([{"upsample": {"size": 54, "mode": "linear", "align_corners": True}}, conv(2)], 4, 3),
    ([{"upsample": {"scale_factor": 1.001, "mode": "linear"}}, conv(2)], 2, 1),
    ([conv(3, stride=2), {"upsample": {"scale_factor": 4, "mode": "linear"}}, conv(3)], 7, None),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "field", "jump"), CHAINS)
def test_field_and_jump_of_a_chain_are_those_of_the_network(
    layers: list[Any], field: int | None, jump: int | None
) -> None:
    row = trace(Spec(input=(1, LENGTH), layers=layers)).rows[-1]
    spans = seen(layers, 1, LENGTH)
    assert row.receptive_field == max(high - low + 1 for low, high in spans)
    assert field in (None, row.receptive_field)
    if jump is not None:
        middle = len(spans) // 2
        assert row.jump == jump == spans[middle + 1][0] - spans[middle][0]


@FUZZ
@given(chains())
def test_field_of_any_chain_is_that_of_the_network(layers: list[Any]) -> None:
    row = trace(Spec(input=(1, LENGTH), layers=layers)).rows[-1]
    assume(row.receptive_field and row.receptive_field * 2 < LENGTH)
    assert row.receptive_field == max(high - low + 1 for low, high in seen(layers, 1, LENGTH)), (
        row.fields
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_field_is_counted_on_each_axis_by_itself(axes: int) -> None:
    kernels = (5, 3, 2)[-axes:]
    layers = [{"conv": {"out_channels": 1, "kernel_size": kernels}}, {"max_pool": 2}]
    row = trace(Spec(input=(1, *(12,) * axes), layers=layers)).rows[-1]
    assert row.receptive_fields == tuple(kernel + 1 for kernel in kernels)
    assert row.jumps == (2,) * axes
    assert row.receptive_field == max(row.receptive_fields)


@pytest.mark.parametrize(
    ("last", "field"),
    [
        ([], 4),
        (["flatten"], 4),
        (["flatten", {"linear": 3}], 26),  # the padding's two pixels included
        (["flatten", {"linear": 3}, {"linear": 2}], 26),
        ([{"adaptive_avg_pool": 1}], 26),
        ([{"conv": {"out_channels": 1, "kernel_size": 12}}], 26),
    ],
)
def test_field_after_all_positions_are_joined_is_the_whole_input(
    last: list[Any], field: int
) -> None:
    layers = [{"conv": {"out_channels": 2, "kernel_size": 3, "padding": 1}}, {"max_pool": 2}]
    row = trace(Spec(input=(1, 24, 24), layers=[*layers, *last, "relu"])).rows[-1]
    assert row.receptive_fields == (field, field)


def test_field_too_fine_to_keep_by_position_is_never_too_small() -> None:
    for layers in ([up(200, stride=151), conv(3)], [{"adaptive_max_pool": 159}, conv(2)]):
        real = max(high - low + 1 for low, high in seen(layers, 1, LENGTH))
        told = trace(Spec(input=(1, LENGTH), layers=layers)).rows[-1].receptive_field
        assert told is not None
        assert real <= told <= real + 1


PLANES = [
    [{"pixel_unshuffle": 2}, conv(2), {"pixel_shuffle": 1}],
    [{"conv": {"out_channels": 4, "kernel_size": 3, "stride": 2}}, {"pixel_shuffle": 2}, conv(2)],
    [conv((3, 2)), {"permute": [0, 1, 3, 2]}, conv((2, 4)), {"permute": [0, 1, -1, -2]}, conv(2)],
    [conv((3, 2)), {"permute": [0, 1, 3, 2]}, {"max_pool": (1, 3)}, {"permute": [0, 1, 3, 2]}],
    [conv(2), {"permute": [0, 2, 1, 3]}, conv((1, 3))],
    [conv(2), {"permute": [0, 3, 2, 1]}, {"linear": 2}, {"permute": [0, 3, 1, 2]}],
    [conv(2), {"unfold": {"kernel_size": (3, 2), "stride": 2}}, conv(1)],
    [{"unfold": {"kernel_size": 3, "padding": 5}}, conv(2)],
    [{"unfold": {"kernel_size": 2, "stride": 2}}, {"linear": 3}],
    [{"unfold": 2}, {"fold": {"output_size": 12, "kernel_size": 2}}],
    [
        conv(2),
        {"flatten": {"start_dim": 2}},
        {"unflatten": {"dim": 2, "unflattened_size": [11, 11]}},
    ],
    [
        {"flatten": {"end_dim": 2}},
        {"permute": [0, 2, 1]},
        conv(2),
    ],
    [{"flatten": {"start_dim": 2}}, {"glu": 2}, conv(2)],
    [conv(3), {"glu": -1}],
    [{"conv": {"out_channels": 4, "kernel_size": 2}}, {"glu": 1}, conv(2)],
    [{"conv": {"out_channels": 4, "kernel_size": 2}}, {"channel_shuffle": 2}, conv(2)],
    [conv(2), {"permute": [0, 2, 1, 3]}, {"channel_shuffle": 11}],
    [{"upsample": {"scale_factor": [2, 0.5]}}, conv(2)],
    [{"upsample": {"scale_factor": 2, "mode": "bilinear"}}, conv(2)],
    [{"constant_pad": (0, 3, 2, -1)}, conv((2, 3))],
    [{"layer_scale": 1.0}, {"drop_path": 0.5}, {"alpha_dropout": 0.5}, conv(2)],
]


LOOSE = {"unfold", "fold", "flatten", "glu", "channel_shuffle"}
"""After these a field may be told that is too large."""


def touched(layers: list[Any], side: int) -> list[list[tuple[int, int]]]:
    """For each axis of a square input the first and the last pixel that each position sees."""
    model = build(Spec(input=(1, side, side), layers=layers)).double().eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    with torch.no_grad():
        pixels = torch.eye(side * side, dtype=torch.float64).view(-1, 1, side, side)
        change = (model(pixels) - model(torch.zeros_like(pixels))).abs() > 1e-9
    seen = [pixel.nonzero() for pixel in change.flatten(1).T]
    rows = [(int(s.min()) // side, int(s.max()) // side) for s in seen if len(s)]
    columns = [(int((s % side).min()), int((s % side).max())) for s in seen if len(s)]
    return [rows, columns]


@pytest.mark.parametrize("layers", PLANES)
def test_field_of_axes_that_move_is_that_of_the_network(layers: list[Any]) -> None:
    real = tuple(max(b - a + 1 for a, b in spans) for spans in touched(layers, 12))
    told = trace(Spec(input=(1, 12, 12), layers=layers)).rows[-1].receptive_fields
    assert all(map(ge, told, real))
    if not LOOSE & {kind for layer in layers for kind in layer}:
        assert told == real


@pytest.mark.parametrize("factor", [2.0, 0.5, 1 / 3, 1.5, 3.0])
def test_bicubic_meets_two_on_both_sides_or_the_pixel_itself(factor: float) -> None:
    layers = [{"upsample": {"scale_factor": factor, "mode": "bicubic"}}]
    real = max(b - a + 1 for a, b in touched(layers, 12)[1])
    row = trace(Spec(input=(1, 12, 12), layers=layers)).rows[-1]
    assert row.receptive_fields == (real, real)


def test_field_of_windows_at_random_steps_covers_every_draw() -> None:
    layers = [{"fractional_max_pool": {"kernel_size": 2, "output_size": 5}}]
    low, high = [12] * 5, [0] * 5
    module = build(Spec(input=(1, 12, 12), layers=layers)).get_submodule("layers.0")
    for seed in range(200):
        torch.manual_seed(seed)
        columns = torch.rand(1, 1, 12, 12).argsort().double().requires_grad_()
        for n, out in enumerate(module(columns)[0, 0, 0]):
            (found,) = torch.autograd.grad(out, columns, retain_graph=True)
            at = int(found.sum((0, 1, 2)).nonzero())
            low[n], high[n] = min(low[n], at), max(high[n], at)
    assert max(b - a + 1 for a, b in zip(low, high, strict=True)) == 3
    row = trace(Spec(input=(1, 12, 12), layers=layers)).rows[-1]
    assert row.receptive_fields == (3, 3)
    assert row.jumps == (Fraction(5, 2),) * 2


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "area"])
@pytest.mark.parametrize("factor", [41.0, 1.2345678, 0.123456, 100 / 151, 1.0000001, 0.34])
def test_field_of_any_factor_is_never_too_small(mode: str, factor: float) -> None:
    layers = [{"upsample": {"scale_factor": factor, "mode": mode}}, conv(3)]
    real = max(high - low + 1 for low, high in seen(layers, 1, LENGTH))
    told = trace(Spec(input=(1, LENGTH), layers=layers)).rows[-1].receptive_field
    assert told is not None
    assert real <= told <= real + 2


@pytest.mark.parametrize(
    ("mode", "size", "out"),
    [("nearest", 3, 123), ("nearest-exact", 8, 115), ("nearest", 5, 7), ("area", 9, 7)],
)
def test_pixels_that_torch_takes_in_single_precision_are_within_the_field(
    mode: str, size: int, out: int
) -> None:
    pixels = torch.eye(size).view(size, 1, size)
    real = nn.Upsample(size=out, mode=mode)(pixels)[:, 0].T
    row = trace(Spec(input=(1, size), layers=[{"upsample": {"size": out, "mode": mode}}])).rows[-1]
    spans, _, _ = row.fields[0]
    for span, pixel in zip(spans, real, strict=False):
        assert span is not None
        assert span[0] <= int(pixel.nonzero().min())
        assert int(pixel.nonzero().max()) <= span[1]
