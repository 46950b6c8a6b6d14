"""The integer rules by themselves: exact at any size, and quick."""

from __future__ import annotations

import pytest
from clock import within
from hypothesis import given
from hypothesis import strategies as st
from strategies import FUZZ

from shapecalc import geometry

HUGE = 10**30


def test_sizes_are_exact_beyond_floating_point() -> None:
    assert geometry.conv_size(HUGE + 1, 3, 2, 2) == (HUGE + 1 + 2 - 3) // 2 + 1
    assert geometry.pool_size(HUGE + 1, 2, 2, 0, True) == HUGE // 2 + 1
    assert geometry.conv_transpose_size(HUGE, 3, 2, 1, 1) == 2 * HUGE


@pytest.mark.parametrize(("extent", "pads"), [(1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (6, (2, 3))])
def test_same_padding_puts_the_odd_pixel_on_the_right(extent: int, pads: tuple[int, int]) -> None:
    assert geometry.same_padding(extent) == pads


@FUZZ
@given(*[st.integers(1, 40)] * 2, *[st.integers(0, 5)] * 2)
def test_transposed_convolution_undoes_the_size_of_a_convolution(
    size: int, stride: int, kernel: int, padding: int
) -> None:
    extent = kernel + 2 * padding + 1
    small = geometry.conv_size(size + extent, extent, stride, 2 * padding)
    rest = (size + 2 * padding) % stride
    back = geometry.conv_transpose_size(small, extent, stride, padding, rest)
    assert back == size + extent


@FUZZ
@given(st.integers(1, 60), st.integers(1, 60))
def test_widest_part_is_the_widest_of_all_parts(size: int, parts: int) -> None:
    windows = [-(-(n + 1) * size // parts) - n * size // parts for n in range(parts)]
    assert geometry.widest_part(size, parts) == max(windows)


@pytest.mark.parametrize(
    "window",
    [(HUGE, 1, 1, 0), (HUGE, 7, HUGE, 5), (3, HUGE, 2, HUGE), (HUGE, 1, HUGE, 0)],
)
def test_field_of_a_huge_window_is_found_at_once(window: geometry.Window) -> None:
    with within(1):
        kernel, dilation, _, _ = window
        field = geometry.see(geometry.POINT, window)
        assert geometry.receptive_field(field) == geometry.extent(kernel, dilation)
        for step in (geometry.see_transposed, geometry.see, geometry.see_transposed):
            field = step(field, window)
        assert geometry.receptive_field(geometry.see_parts(field, HUGE, HUGE - 1)) >= 1


def test_field_of_the_union_covers_both() -> None:
    wide = geometry.see(geometry.POINT, (5, 1, 1, 2))
    up = geometry.see_transposed(geometry.see(geometry.POINT, (4, 1, 2, 1)), (2, 1, 2, 0))
    assert geometry.receptive_field(geometry.union(geometry.POINT, wide, 9)) == 5
    both = geometry.union(wide, up, 9)
    assert geometry.receptive_field(both) >= 5
    assert both[2] == 1
