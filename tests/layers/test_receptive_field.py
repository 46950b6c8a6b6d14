"""What the calculator says a position sees is what changes it in a network of positive weights."""

from __future__ import annotations

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
    hits = [column.nonzero() for column in out.flatten(1, -2)[:, 0].T]
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
